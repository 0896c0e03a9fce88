// expect: syncbus needs a 64-bit target
// As -m32 has it.
#undef __SIZEOF_INT128__
#include <syncbus/event.hpp>

int main() {}
