// expect: syncbus needs C\+\+20
// As -std=c++17 has it.
#undef __cplusplus
#define __cplusplus 201703L
#include <syncbus/fill_guard.hpp>

int main() {}
