// main() of every test program, compiled once: with Catch2 2.13 this file also compiles the framework itself.
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

int main(int argc, char* argv[]) { return Catch::Session().run(argc, argv); }
