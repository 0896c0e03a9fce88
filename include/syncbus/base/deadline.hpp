// Deadlines by the steady clock: from now, and how long poll() is to wait for one.
#pragma once

#include <chrono>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// The time `timeout` from now; a negative timeout is none, a huge one is never.
[[nodiscard]] inline TimePoint deadline_after(Duration timeout) noexcept {
  return deadline_after(std::chrono::steady_clock::now(), timeout);
}

/// Milliseconds until then, rounded up, so that what is due at the deadline is due when poll() returns.
[[nodiscard]] inline int poll_timeout(TimePoint deadline) noexcept {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return left <= 0 ? 0 : left > 60'000 ? 60'000 : static_cast<int>(left);
}

}  // namespace syncbus::inline v1::detail
