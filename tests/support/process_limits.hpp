// How many descriptors and threads this process has: what a test must give back.
#pragma once

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <thread>

#include "support/eventually.hpp"

namespace support {

/// As many as there are when it is made.
class ProcessLimits {
 public:
  ProcessLimits() {
    std::thread{[] {}}.join();  // a sanitizer starts a thread of its own with the first
    descriptors_ = count("/proc/self/fd");
    threads_ = count("/proc/self/task");
  }

  /// Whether there are no more now. A thread that has been joined may still be listed for a moment.
  [[nodiscard]] bool hold() const {
    return support::eventually(
        [this] { return count("/proc/self/fd") <= descriptors_ && count("/proc/self/task") <= threads_; });
  }

 private:
  [[nodiscard]] static std::size_t count(const char* folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder}, {}));
  }

  std::size_t descriptors_ = 0;
  std::size_t threads_ = 0;
};

}  // namespace support
