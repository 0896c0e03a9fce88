// A fuzzer of a node's machine, for libFuzzer (clang++ -fsanitize=fuzzer,address,undefined). Its corpus is
// corpus/protocol, which the unit test hostile_frames_test replays without libFuzzer.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "fuzz/protocol_check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string problem = support::HauntedMachine{std::as_bytes(std::span{data, size})}.run();
  if (!problem.empty()) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    std::abort();
  }
  return 0;
}
