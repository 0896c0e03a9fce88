// A fuzzer of the codec, for libFuzzer (clang++ -fsanitize=fuzzer,address,undefined). Its corpus is corpus/codec, which
// the unit test codec_corpus_test replays without libFuzzer.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "fuzz/codec_check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (const char* const found = support::contradiction(std::as_bytes(std::span{data, size}))) {
    std::fprintf(stderr, "%s\n", found);
    std::abort();
  }
  return 0;
}
