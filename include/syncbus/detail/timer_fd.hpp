// Wakes a thread that waits in poll(), some time from now: a timerfd (Linux).
#pragma once

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <system_error>

namespace syncbus::inline v1::detail {

class TimerFd {
 public:
  TimerFd() : fd_{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)} {
    if (fd_ < 0) throw std::system_error{errno, std::system_category(), "timerfd_create"};
  }
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
