// The tasks that virtual time waits for, and how long a call waits for an executor that does not run its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <syncbus/base/time.hpp>
#include <syncbus/transport/memory/hub_node.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: all of it.
class HubTasks {
 public:
  /// An executor was given one.
  void began() noexcept {
    waiting_.fetch_add(1);
    unfinished_.fetch_add(1);
  }
  /// It runs it, or has dropped it.
  void runs() noexcept {
    waiting_.fetch_sub(1);
    run_.fetch_add(1);
  }
  void ended() noexcept { unfinished_.fetch_sub(1); }

  [[nodiscard]] bool none() const noexcept { return unfinished_.load() == 0; }

  /// Whether there are some, of which nobody runs any.
  [[nodiscard]] bool all_wait() const noexcept {
    const std::size_t unfinished = unfinished_.load();
    return unfinished != 0 && waiting_.load() >= unfinished;
  }

  /// A number that grows with every task that is run.
  [[nodiscard]] std::uint64_t run() const noexcept { return run_.load(); }

 private:
  std::atomic<std::size_t> unfinished_{0};
  std::atomic<std::size_t> waiting_{0};
  std::atomic<std::uint64_t> run_{0};
};

/// Of one call that waits in virtual time. While an executor sits on its tasks that time stands still: perhaps they
/// wait for the very thread that made the call. So the call gives up when the steady clock has gone on for its timeout,
/// but not before `least`, for who runs the tasks may be slow, and not after `most`, for virtual timeouts are cheap.
class HubPatience {
 public:
  static constexpr Duration least = std::chrono::seconds{1};
  static constexpr Duration most = std::chrono::seconds{10};

  HubPatience(const HubTasks& tasks, Duration timeout) noexcept
      : tasks_{tasks}, timeout_{std::clamp(timeout, least, most)} {}

  /// When it ends, on the steady clock, if no task is run until then; `never` while one runs or there is none.
  [[nodiscard]] TimePoint end() noexcept {
    if (!tasks_.all_wait()) {
      since_ = never;
      return never;
    }
    if (since_ == never || run_ != tasks_.run()) {
      since_ = std::chrono::steady_clock::now();
      run_ = tasks_.run();
    }
    return since_ + timeout_;
  }

 private:
  const HubTasks& tasks_;
  const Duration timeout_;
  TimePoint since_ = never;  ///< since when all tasks wait
  std::uint64_t run_ = 0;
};

}  // namespace syncbus::inline v1::detail
