// How many descriptors and threads this process has, what a test must give back; and how many it may have.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

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

/// While it lives, the process gets `more` descriptors at most.
class FewDescriptors {
 public:
  explicit FewDescriptors(int more) {
    for (int& fd : held_) fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // poll() takes no more than the limit, either
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(held_.back() + 1 + more);
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;
  ~FewDescriptors() {
    ::setrlimit(RLIMIT_NOFILE, &before_);
    for (const int fd : held_) ::close(fd);
  }

 private:
  std::array<int, 8> held_{};
  rlimit before_{};
};

/// What is thrown while the process gets no descriptor, one, two …, until there are enough.
template <class Make>
[[nodiscard]] std::vector<std::string> refusals_without_descriptors(const Make& make) {
  for (std::vector<std::string> sentences;;) {
    try {
      const FewDescriptors few{static_cast<int>(sentences.size())};
      make();
      return sentences;
    } catch (const std::exception& error) {
      sentences.emplace_back(error.what());
    }
    if (sentences.size() > 100) return sentences;
  }
}

}  // namespace support
