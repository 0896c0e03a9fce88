// A thread that calls back at a given time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include <syncbus/base/start_thread.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/base/uptime_clock.hpp>

namespace syncbus::inline v1::detail {

/// It keeps one time, by the uptime clock; setting another replaces it. A time that falls into a suspend of the machine
/// rings late: when as much time has passed awake. Thread safety: set() from any thread, also from inside the callback;
/// start() and stop() once each, by the owner.
class TimerThread {
 public:
  TimerThread() = default;
  TimerThread(const TimerThread&) = delete;
  TimerThread& operator=(const TimerThread&) = delete;
  ~TimerThread() { stop(); }

  /// `ring` is called without a lock held, one call at a time, for each time that was set and not replaced before it
  /// came.
  void start(std::function<void()> ring) {
    thread_ = start_thread([this, ring = std::move(ring)] { run(ring); });
  }

  /// The thread is only woken when the new time is the earlier one.
  void set(TimePoint at) noexcept {
    const std::lock_guard lock{mutex_};
    at_ = at;
    if (at < sleeps_until_) changed_.notify_one();
  }

  /// Waits for a call that is running.
  void stop() noexcept {
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:

  void run(const std::function<void()>& ring) noexcept {
    std::unique_lock lock{mutex_};
    while (!stopping_) {
      if (at_ <= UptimeClock::now()) {
        at_ = never;
        lock.unlock();
        ring();
        lock.lock();
      } else {
        sleep(lock);
      }
    }
  }

  void sleep(std::unique_lock<std::mutex>& lock) noexcept {
    sleeps_until_ = at_;
    if (at_ == never) {
      changed_.wait(lock);
    } else {
      changed_.wait_for(lock, at_ - UptimeClock::now());
    }
    sleeps_until_ = TimePoint{};
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  TimePoint at_ = never;
  TimePoint sleeps_until_{};  ///< of the thread; in the past while it is awake
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace syncbus::inline v1::detail
