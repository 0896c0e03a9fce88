// A condition variable that counts its waiters: notifying nobody costs nothing.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// Everything is called under the lock that the waits release.
class CountedCondition {
 public:
  void notify_all() noexcept {
    if (waiting_ != 0) changed_.notify_all();
  }

  std::cv_status wait_until(std::unique_lock<std::mutex>& lock, TimePoint deadline) noexcept {
    ++waiting_;
    const auto status = changed_.wait_until(lock, deadline);
    --waiting_;
    return status;
  }

  /// Returns done().
  template <class Done>
  bool wait_until(std::unique_lock<std::mutex>& lock, TimePoint deadline, const Done& done) noexcept {
    while (!done()) {
      if (wait_until(lock, deadline) == std::cv_status::timeout) return done();
    }
    return true;
  }

 private:
  std::condition_variable changed_;
  std::size_t waiting_ = 0;
};

}  // namespace syncbus::inline v1::detail
