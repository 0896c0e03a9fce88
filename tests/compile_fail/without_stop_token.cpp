// expect: syncbus needs std::stop_token
// A standard library without it, as libc++ before 20.
#include <version>
#undef __cpp_lib_jthread
#include <syncbus/mailbox.hpp>

int main() {}
