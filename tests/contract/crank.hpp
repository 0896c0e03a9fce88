// An executor that a test cranks by hand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace contract {

/// Outlives the nodes that post to it. On a hub in virtual time the clock stands still while a task waits.
/// Thread safety: everything may be called from any thread.
class Crank {
 public:
  /// For BusOptions::executor.
  [[nodiscard]] auto post() {
    return [this](std::function<void()> task) {
      const std::lock_guard lock{mutex_};
      tasks_.push_back(std::move(task));
      most_ = (std::max)(most_, tasks_.size());
    };
  }

  /// Runs one task if there is one.
  bool turn() {
    std::function<void()> task;
    {
      const std::lock_guard lock{mutex_};
      if (tasks_.empty()) return false;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
    return true;
  }

  [[nodiscard]] std::size_t waiting() const {
    const std::lock_guard lock{mutex_};
    return tasks_.size();
  }
  [[nodiscard]] std::size_t most() const {
    const std::lock_guard lock{mutex_};
    return most_;
  }

 private:
  mutable std::mutex mutex_;
  std::deque<std::function<void()>> tasks_;
  std::size_t most_ = 0;
};

}  // namespace contract
