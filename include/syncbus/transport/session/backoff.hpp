// How long to wait before the next attempt: doubling, with jitter, so that a cluster does not come back as one. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include <syncbus/base/split_mix64.hpp>
#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// From `least` up to `most`; from `most`, if that is less.
class Doubling {
 public:
  Doubling(Duration least, Duration most) noexcept
      : most_{std::clamp(most, Duration{1}, longest_time)}, least_{std::clamp(least, Duration{1}, most_)} {}

  [[nodiscard]] Duration next() noexcept {
    const Duration value = next_;
    next_ = next_ > most_ / 2 ? most_ : next_ * 2;
    return value;
  }

  /// It begins again at `least`.
  void reset() noexcept { next_ = least_; }

 private:
  Duration most_;
  Duration least_;
  Duration next_ = least_;
};

class Backoff {
 public:
  Backoff(Duration least, Duration most, std::uint64_t seed) noexcept
      : whole_{least, (std::max)(least, most)}, random_{seed} {}

  /// The next delay: between half and all of a value that begins at `least` and doubles up to `most`.
  [[nodiscard]] Duration next() noexcept {
    const Duration whole = whole_.next();
    const Duration half = whole / 2;
    const auto spread = static_cast<std::uint64_t>((whole - half).count());
    return half + Duration{static_cast<Duration::rep>(random_.next() % (spread + 1))};
  }

  /// What was attempted works.
  void reset() noexcept { whole_.reset(); }

 private:
  Doubling whole_;
  SplitMix64 random_;
};

}  // namespace syncbus::inline v1::detail
