// Parks a thread until it is needed: at once, or in a moment if nobody else does the work by then (Linux).
#pragma once

#include <poll.h>

#include <array>
#include <chrono>

#include <syncbus/base/timer_fd.hpp>
#include <syncbus/base/wake_fd.hpp>

namespace syncbus::inline v1::detail {

/// A condition variable can only wake a thread at once. That costs the caller microseconds, and the woken thread may
/// take the processor from the one that has work. Here the kernel's timer wakes it, and only if the work lasts.
///
/// Thread safety: wait() needs no lock; the owner calls everything else under one lock. Spurious returns happen; no
/// call is lost between the owner's look at its state and wait().
class Parking {
 public:
  /// Wakes all who wait.
  void unpark() noexcept { now_.signal(); }

  /// Wakes all who wait then, or when an earlier unpark_in() said, if that is still to come.
  void unpark_in(std::chrono::microseconds delay) noexcept {
    if (called_) return;
    called_ = timer_.set(delay);  // below a second
    if (!called_) unpark();
  }

  /// Blocks until there is a call that was not acknowledged.
  void wait() const noexcept {
    std::array<pollfd, 2> polled{{{now_.fd(), POLLIN, 0}, {timer_.fd(), POLLIN, 0}}};
    ::poll(polled.data(), polled.size(), -1);
  }

  /// The calling thread looks at the owner's state next: that answers all calls made so far. One for a later time still
  /// comes.
  void acknowledge() noexcept {
    now_.drain();
    if (timer_.drain()) called_ = false;
  }

 private:
  WakeFd now_;
  TimerFd timer_;
  bool called_ = false;  ///< the timer runs, or has run out unanswered
};

}  // namespace syncbus::inline v1::detail
