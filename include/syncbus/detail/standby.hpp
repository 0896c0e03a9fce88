// Where a thread waits that may be needed: now, or in a moment if nobody else does the work by then (Linux).
#pragma once

#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <system_error>

#include <syncbus/detail/wake_fd.hpp>

namespace syncbus::inline v1::detail {

/// A condition variable can only wake a thread at once, which costs the caller microseconds and takes a processor from
/// whoever would have been ready first. Here the kernel's timer does it, only if that is late.
///
/// Thread safety: wait() needs no lock; everything else is called under one lock of the owner's. Spurious returns
/// happen; no call is lost between the owner's look at its state and wait().
class Standby {
 public:
  Standby() : timer_{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)} {
    if (timer_ < 0) throw std::system_error{errno, std::system_category(), "timerfd_create"};
  }
  Standby(const Standby&) = delete;
  Standby& operator=(const Standby&) = delete;
  ~Standby() { ::close(timer_); }

  /// Wakes all who wait.
  void call_now() noexcept { now_.signal(); }

  /// Wakes all who wait then, or when an earlier call_in() said, if that is still to come.
  void call_in(std::chrono::microseconds delay) noexcept {
    if (called_) return;
    itimerspec at{};
    at.it_value.tv_nsec = static_cast<long>(std::chrono::nanoseconds{delay}.count());  // below a second
    called_ = ::timerfd_settime(timer_, 0, &at, nullptr) == 0;
    if (!called_) call_now();
  }

  /// Blocks until there is a call that nobody has answered.
  void wait() const noexcept {
    std::array<pollfd, 2> polled{{{now_.fd(), POLLIN, 0}, {timer_, POLLIN, 0}}};
    ::poll(polled.data(), polled.size(), -1);
  }

  /// Who looks at the owner's state from here on answers all calls made so far; one whose time has not come still will.
  void answer() noexcept {
    now_.drain();
    std::uint64_t expirations = 0;
    if (::read(timer_, &expirations, sizeof expirations) > 0) called_ = false;
  }

 private:
  WakeFd now_;
  int timer_;
  bool called_ = false;  ///< the timer runs, or has run out unanswered
};

}  // namespace syncbus::inline v1::detail
