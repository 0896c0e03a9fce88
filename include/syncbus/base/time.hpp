// Durations and points in time, and their arithmetic. Reads no clock.
#pragma once

#include <chrono>

namespace syncbus::inline v1 {

using Duration = std::chrono::steady_clock::duration;
using TimePoint = std::chrono::steady_clock::time_point;

namespace detail {

/// The time of what does not come.
inline constexpr TimePoint never = (TimePoint::max)();

/// A wait of this length is for ever. Longer ones are cut to it where sums of times must not overflow.
inline constexpr Duration longest_time = std::chrono::hours{24 * 365};

/// The time `timeout` after `start`; a negative timeout is none, a huge one is never.
[[nodiscard]] constexpr TimePoint deadline_after(TimePoint start, Duration timeout) noexcept {
  if (timeout <= Duration::zero()) return start;
  return timeout > never - start ? never : start + timeout;
}

}  // namespace detail
}  // namespace syncbus::inline v1
