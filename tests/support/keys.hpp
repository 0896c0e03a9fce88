// Keys that are long, and differ by their numbers.
#pragma once

#include <cstddef>
#include <string>

namespace support {

[[nodiscard]] inline std::string key_of_size(std::size_t size, int number) {
  std::string key = std::to_string(number);
  key.resize(size, '.');
  return key;
}

}  // namespace support
