// Since when a thread is in calls that may block.
#pragma once

#include <atomic>
#include <chrono>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// While it lives, its thread may be in such a call. Other threads read `since`, on the steady clock; 0: it is in none.
class Busy {
 public:
  explicit Busy(std::atomic<Duration::rep>& since) noexcept : since_{since} { goes_on(); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() { since_.store(0); }

  /// It has come back from one.
  void goes_on() noexcept { since_.store(std::chrono::steady_clock::now().time_since_epoch().count()); }

 private:
  std::atomic<Duration::rep>& since_;
};

}  // namespace syncbus::inline v1::detail
