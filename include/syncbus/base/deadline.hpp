// Deadlines on the steady clock that do not overflow, however long the timeout.
#pragma once

#include <chrono>

#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

/// For ever, for a time that somebody waits: longer ones are cut to it where sums of times must not overflow.
inline constexpr Duration longest_time = std::chrono::hours{24 * 365};

/// The time `timeout` after `start`; a negative timeout is none, a huge one saturates.
[[nodiscard]] constexpr TimePoint deadline_after(TimePoint start, Duration timeout) noexcept {
  if (timeout <= Duration::zero()) return start;
  return timeout > (TimePoint::max)() - start ? (TimePoint::max)() : start + timeout;
}

/// The same from now.
[[nodiscard]] inline TimePoint deadline_after(Duration timeout) noexcept {
  return deadline_after(std::chrono::steady_clock::now(), timeout);
}

}  // namespace syncbus::inline v1::detail
