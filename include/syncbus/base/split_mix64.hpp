// SplitMix64, a small random generator: for delays and faults, not for secrets.
#pragma once

#include <cstdint>

namespace syncbus::inline v1::detail {

/// SplitMix64 (Steele, Lea, Flood, 2014). One seed, one sequence.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) noexcept : state_{seed} {}

  [[nodiscard]] std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t bits = state_;
    bits = (bits ^ (bits >> 30U)) * 0xbf58476d1ce4e5b9U;
    bits = (bits ^ (bits >> 27U)) * 0x94d049bb133111ebU;
    return bits ^ (bits >> 31U);
  }

 private:
  std::uint64_t state_;
};

}  // namespace syncbus::inline v1::detail
