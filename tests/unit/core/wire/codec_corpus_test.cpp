// Replays the corpus of the codec's fuzzer.
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include "fuzz/codec_check.hpp"
#include "support/catch.hpp"

TEST_CASE("no input of the fuzzer's corpus makes the codec contradict itself", "[codec]") {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator{SYNCBUS_FUZZ_CORPUS "/codec"}) {
    INFO(entry.path().filename().string());
    std::ifstream file{entry.path(), std::ios::binary};
    const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
    const char* const found = support::contradiction(std::as_bytes(std::span{bytes}));
    CHECK(std::string{found == nullptr ? "" : found}.empty());
    ++files;
  }
  CHECK(files > 50);
}
