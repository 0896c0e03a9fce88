// Catch2's header under one name: <catch2/catch_all.hpp> of 3.x, <catch2/catch.hpp> of 2.13.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
