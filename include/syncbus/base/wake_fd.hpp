// Wakes a thread that waits in poll(): an eventfd (Linux).
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include <syncbus/base/descriptors.hpp>

namespace syncbus::inline v1::detail {

class WakeFd {
 public:
  /// Throws std::system_error without a descriptor.
  WakeFd() : fd_{require_descriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd")} {}
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
