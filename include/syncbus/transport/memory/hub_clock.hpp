// The time on a hub: virtual, moved by hand, or the steady clock.
#pragma once

#include <atomic>
#include <chrono>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: now() from any thread, under any lock; move_to by one thread at a time.
class HubClock {
 public:
  explicit HubClock(bool real_time) noexcept : real_time_{real_time} {}

  [[nodiscard]] bool real_time() const noexcept { return real_time_; }

  [[nodiscard]] TimePoint now() const noexcept {
    return real_time_ ? std::chrono::steady_clock::now() : TimePoint{Duration{now_.load(std::memory_order_acquire)}};
  }

  /// Never back; and a real clock moves by itself.
  void move_to(TimePoint time) noexcept {
    if (!real_time_ && time > now()) now_.store(time.time_since_epoch().count(), std::memory_order_release);
  }

 private:
  const bool real_time_;
  std::atomic<Duration::rep> now_{Duration{std::chrono::hours{1}}.count()};  // room for times before the first
};

}  // namespace syncbus::inline v1::detail
