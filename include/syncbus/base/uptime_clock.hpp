// The clock of a bus over a broker: it also counts the time for which the machine is suspended.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// On Linux the steady clock stands still in a suspend, and a node that wakes would take itself for fresh. Where there
/// is no CLOCK_BOOTTIME it is the steady clock (which goes on in a suspend on macOS). A virtual machine that is stopped
/// as a whole has this clock stopped, too.
struct UptimeClock {
  [[nodiscard]] static TimePoint now() noexcept {
#ifdef CLOCK_BOOTTIME
    timespec time{};
    if (::clock_gettime(CLOCK_BOOTTIME, &time) == 0) {
      return TimePoint{std::chrono::duration_cast<Duration>(std::chrono::seconds{time.tv_sec} +
                                                            std::chrono::nanoseconds{time.tv_nsec})};
    }
#endif
    return std::chrono::steady_clock::now();
  }
};

/// Notices that the machine was suspended: the uptime has moved on, and the steady clock has not. Thread safety: none.
class SuspendWatch {
 public:
  static constexpr Duration noticed = std::chrono::seconds{1};  ///< a shorter one is a pause like any other

  SuspendWatch() noexcept {
    for (int i = 0; i != 3; ++i) asleep_ = (std::max)(asleep_, asleep());  // a pause between the clocks makes it less
  }
  /// As of this reading of both clocks.
  SuspendWatch(TimePoint uptime, TimePoint steady) noexcept : asleep_{uptime - steady} {}

  /// Whether it was suspended since the last call that said so, or since the beginning.
  [[nodiscard]] bool suspended() noexcept { return rose_to(asleep()); }
  /// The uptime is read first: whatever passes between the two readings makes the difference less, never more.
  [[nodiscard]] bool suspended(TimePoint uptime, TimePoint steady) noexcept { return rose_to(uptime - steady); }

 private:
  [[nodiscard]] static Duration asleep() noexcept {
    const TimePoint uptime = UptimeClock::now();
    return uptime - std::chrono::steady_clock::now();
  }

  [[nodiscard]] bool rose_to(Duration asleep) noexcept {
    if (asleep - asleep_ < noticed) return false;
    asleep_ = asleep;
    return true;
  }

  Duration asleep_ = (Duration::min)() / 2;  // that the machine was, in all; not more than the truth
};

}  // namespace syncbus::inline v1::detail
