// The version of the library, and its requirements of a compiler: included first, so that a wrong one gets one
// sentence. The inline namespace v1 holds everything, so that two versions can live in one program.
#pragma once

#include <version>

#define SYNCBUS_VERSION_MAJOR 0
#define SYNCBUS_VERSION_MINOR 1
#define SYNCBUS_VERSION_PATCH 0

#if __cplusplus < 202002L
#error "syncbus needs C++20: compile with -std=c++20 or newer."
#elif !defined(__cpp_exceptions)
#error "syncbus needs exceptions, with which constructors and handlers report: compile without -fno-exceptions."
#elif !defined(__SIZEOF_INT128__)
#error "syncbus needs a 64-bit target: it multiplies to 128 bits, and is not tested on any other."
#elif !defined(__cpp_lib_jthread)
#error "syncbus needs std::stop_token, which this standard library lacks: use libstdc++, or a libc++ that has it."
#endif
