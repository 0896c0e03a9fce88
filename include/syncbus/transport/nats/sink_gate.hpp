// Lets a transport's threads call its sink until it is closed, also threads that were left behind.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: everything but open() may be called from any thread.
class SinkGate {
 public:
  /// Before anything is told.
  void open(TransportSink& sink) noexcept { sink_ = &sink; }

  /// Calls `call(sink)`, without a lock, unless the gate is closed. Returns whether it did.
  template <class Call>
  bool tell(const Call& call) noexcept {
    {
      const std::lock_guard lock{mutex_};
      if (closed_) return false;
      ++running_;
    }
    call(*sink_);
    const std::lock_guard lock{mutex_};
    if (--running_ == 0 && closed_) ended_.notify_all();
    return true;
  }

  /// Returns when no call is running; none will come.
  void close() noexcept {
    std::unique_lock lock{mutex_};
    closed_ = true;
    ended_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  TransportSink* sink_ = nullptr;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t running_ = 0;
  bool closed_ = false;
};

}  // namespace syncbus::inline v1::detail
