// How long poll() is to wait for a deadline.
#pragma once

#include <chrono>

#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

/// Milliseconds, rounded up, so that what is due at the deadline is due when poll returns.
[[nodiscard]] inline int poll_timeout(TimePoint deadline) noexcept {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return left <= 0 ? 0 : left > 60'000 ? 60'000 : static_cast<int>(left);
}

}  // namespace syncbus::inline v1::detail
