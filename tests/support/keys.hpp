// Keys that are long, and differ by their numbers.
#pragma once

#include <cstddef>
#include <string>

namespace support {

inline constexpr std::size_t kib = 1'024;

[[nodiscard]] inline std::string key_of_size(std::size_t size, int number) {
  std::string key = std::to_string(number);
  key.resize(size, '.');
  return key;
}

/// Ten of them fill a kilobyte.
[[nodiscard]] inline std::string wide_key(int number) { return key_of_size(100, number); }

}  // namespace support
