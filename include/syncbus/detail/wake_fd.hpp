// Wakes a thread that waits in poll(): an eventfd (Linux).
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace syncbus::inline v1::detail {

class WakeFd {
 public:
  WakeFd() : fd_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {
    if (fd_ < 0) throw std::system_error{errno, std::system_category(), "eventfd"};
  }
  WakeFd(const WakeFd&) = delete;
  WakeFd& operator=(const WakeFd&) = delete;
  ~WakeFd() { ::close(fd_); }

  /// Readable from signal() until drain().
  [[nodiscard]] int fd() const noexcept { return fd_; }

  /// From any thread.
  void signal() noexcept {
    const std::uint64_t one = 1;
    // It can only fail because the counter is full, and then the descriptor is readable already.
    [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
  }

  void drain() noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(fd_, &count, sizeof count);
  }

 private:
  int fd_;
};

}  // namespace syncbus::inline v1::detail
