// Wakes a thread that waits in poll(), some time from now: a timerfd (Linux).
#pragma once

#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>

#include <syncbus/base/descriptors.hpp>

namespace syncbus::inline v1::detail {

class TimerFd {
 public:
  /// Throws std::system_error without a descriptor.
  TimerFd()
      : fd_{require_descriptor(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create")} {}
  TimerFd(const TimerFd&) = delete;
  TimerFd& operator=(const TimerFd&) = delete;
  ~TimerFd() { ::close(fd_); }

  /// Readable from the time that was set until drain().
  [[nodiscard]] int fd() const noexcept { return fd_; }

  /// `delay`, above zero and below a second, from now; a later call replaces an earlier one. False if the kernel does
  /// not take it. From any thread.
  [[nodiscard]] bool set(std::chrono::nanoseconds delay) noexcept {
    itimerspec at{};
    at.it_value.tv_nsec = static_cast<long>(delay.count());
    return ::timerfd_settime(fd_, 0, &at, nullptr) == 0;
  }

  /// Whether the time had come.
  bool drain() noexcept {
    std::uint64_t expirations = 0;
    return ::read(fd_, &expirations, sizeof expirations) > 0;
  }

 private:
  int fd_;
};

}  // namespace syncbus::inline v1::detail
