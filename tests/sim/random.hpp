// The one source of chance of a simulated world: everything that happens in it follows from a seed.
#pragma once

#include <cstddef>
#include <cstdint>

#include <syncbus/options.hpp>

namespace sim {

/// SplitMix64 (Steele et al. 2014). Ours, because the distributions of the standard library differ between compilers.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_{seed * 0xD1342543DE82EF95U + 1} {}

  std::uint64_t next() noexcept {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
    return mixed ^ (mixed >> 31U);
  }

  /// From 0 to `bound` - 1; `bound` is not 0.
  std::size_t below(std::size_t bound) noexcept { return static_cast<std::size_t>((next() >> 16U) % bound); }

  bool chance(double probability) noexcept {
    return probability > 0 && static_cast<double>(next() >> 11U) * 0x1p-53 < probability;
  }

  /// From `least` to `most`, both included.
  syncbus::Duration between(syncbus::Duration least, syncbus::Duration most) noexcept {
    if (most <= least) return least;
    const auto width = static_cast<std::uint64_t>((most - least).count()) + 1;
    return least + syncbus::Duration{static_cast<syncbus::Duration::rep>(next() % width)};
  }

  template <class Value, std::size_t n>
  const Value& pick(const Value (&values)[n]) noexcept {
    return values[below(n)];
  }

 private:
  std::uint64_t state_;
};

}  // namespace sim
