// Runs a call that may never return on a thread that can be left behind.
#pragma once

#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/start_thread.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/base/wake_fd.hpp>

namespace syncbus::inline v1::detail {

/// For calls without a time-out: a look-up of a name, the user's connector. The call owns all that it uses, so that it
/// may go on after the object, and after the bus. Thread safety: the object belongs to one thread.
template <class Result>
class DetachableCall {
 public:
  /// Begins `call()`, which returns a Result. Throws std::system_error without a thread or a descriptor.
  template <class Call>
  explicit DetachableCall(Call call) : outcome_{std::make_shared<Outcome>()} {
    start_thread([outcome = outcome_, call = std::move(call)]() mutable noexcept {
      try {
        outcome->result.emplace(call());
      } catch (...) {
        outcome->error = std::current_exception();
      }
      outcome->returned.store(true);
      outcome->wake.signal();
    }).detach();
  }

  [[nodiscard]] bool returned() const noexcept { return outcome_->returned.load(); }

  /// Blocks until the call has returned, the deadline, or until `wake_fd` is readable; returns returned(). May be
  /// called again.
  [[nodiscard]] bool wait(TimePoint deadline, int wake_fd = -1) const noexcept {
    std::array<pollfd, 2> polled{{{outcome_->wake.fd(), POLLIN, 0}, {wake_fd, POLLIN, 0}}};
    while (!returned() && polled[1].revents == 0 && std::chrono::steady_clock::now() < deadline) {
      ::poll(polled.data(), polled.size(), poll_timeout(deadline));
    }
    return returned();
  }

  /// What it returned; throws what it threw. Once, after it has returned.
  [[nodiscard]] Result take() {
    if (outcome_->error) std::rethrow_exception(std::exchange(outcome_->error, nullptr));
    return std::move(*outcome_->result);
  }

 private:
  struct Outcome {
    std::optional<Result> result;
    std::exception_ptr error;
    std::atomic<bool> returned = false;
    WakeFd wake;
  };

  std::shared_ptr<Outcome> outcome_;
};

}  // namespace syncbus::inline v1::detail
