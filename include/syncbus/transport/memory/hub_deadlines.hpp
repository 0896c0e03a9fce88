// The deadlines of calls that wait on a hub: virtual time must not run past one of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/transport/memory/hub_node.hpp>

namespace syncbus::inline v1::detail {

/// Not thread safe: the hub's lock guards it.
class HubDeadlines {
 public:
  /// One waiting call. It lives on that call's stack.
  struct Call {
    TimePoint deadline;
    bool passed = false;  ///< everything up to the deadline has happened: the call ends
  };

  void add(Call& call) { calls_.push_back(&call); }
  void remove(const Call& call) noexcept { std::erase(calls_, &call); }

  /// `never` when nobody waits.
  [[nodiscard]] TimePoint earliest() const noexcept {
    TimePoint time = never;
    for (const Call* const call : calls_) time = (std::min)(time, call->deadline);
    return time;
  }

  /// Everything up to `now` has happened.
  void pass(TimePoint now) noexcept {
    for (Call* const call : calls_) call->passed = call->passed || call->deadline <= now;
  }

  /// Whether a call whose deadline has passed has yet to end.
  [[nodiscard]] bool any_passed() const noexcept {
    return std::any_of(calls_.begin(), calls_.end(), [](const Call* call) { return call->passed; });
  }

 private:
  std::vector<Call*> calls_;
};

}  // namespace syncbus::inline v1::detail
