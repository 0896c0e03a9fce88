// expect: syncbus needs exceptions
// As -fno-exceptions has it.
#undef __cpp_exceptions
#include <syncbus/in_memory_bus.hpp>

int main() {}
