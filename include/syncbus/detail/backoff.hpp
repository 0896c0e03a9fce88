// How long to wait before the next attempt: doubling, with jitter, so that a cluster does not come back as one. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/split_mix64.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

class Backoff {
 public:
  Backoff(Duration least, Duration most, std::uint64_t seed) noexcept
      : least_{std::clamp(least, Duration{1}, longest_time)},
        most_{std::clamp(most, least_, longest_time)},
        delay_{least_},
        random_{seed} {}

  /// The next delay: between half and all of a value that begins at `least` and doubles up to `most`.
  [[nodiscard]] Duration next() noexcept {
    const Duration half = delay_ / 2;
    const auto spread = static_cast<std::uint64_t>((delay_ - half).count());
    const Duration delay = half + Duration{static_cast<Duration::rep>(random_.next() % (spread + 1))};
    delay_ = delay_ > most_ / 2 ? most_ : delay_ * 2;
    return delay;
  }

  /// What was attempted works.
  void reset() noexcept { delay_ = least_; }

 private:
  Duration least_;
  Duration most_;
  Duration delay_;
  SplitMix64 random_;
};

}  // namespace syncbus::inline v1::detail
