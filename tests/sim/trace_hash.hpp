// A hash of all that a simulated world tells: two runs that tell the same have the same.
#pragma once

#include <cstdint>
#include <ostream>
#include <streambuf>

namespace sim {

/// FNV-1a, of what is written to out().
class TraceHash final : private std::streambuf {
 public:
  [[nodiscard]] std::ostream& out() noexcept { return out_; }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

 private:
  int_type overflow(int_type letter) override {
    value_ = (value_ ^ static_cast<unsigned char>(traits_type::to_char_type(letter))) * 0x100000001B3U;
    return traits_type::not_eof(letter);
  }

  std::uint64_t value_ = 0xCBF29CE484222325U;
  std::ostream out_{this};
};

}  // namespace sim
