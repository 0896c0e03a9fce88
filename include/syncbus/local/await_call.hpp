// One await under way, shared by the thread that waits and the code that ends it.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <utility>

#include <syncbus/local/completion.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::detail {

/// Either a caller waits on it, or it has a completion, which the bus calls where it calls handlers. Shared by the bus,
/// until the await has ended, and the caller.
class AwaitCall {
 public:
  /// A caller will wait().
  AwaitCall() = default;
  explicit AwaitCall(Completion completion) : completion_{std::move(completion)} {}
  AwaitCall(const AwaitCall&) = delete;
  AwaitCall& operator=(const AwaitCall&) = delete;
  ~AwaitCall() = default;

  [[nodiscard]] bool has_completion() const noexcept { return static_cast<bool>(completion_); }

  /// How it ended, published. Once. Without a completion the caller is woken; with one, complete() is to be called
  /// where handlers are.
  void end(AwaitOutcome outcome) {
    outcome.published = true;
    set(std::move(outcome));
  }

  /// Ends it in the place of end(): nothing was published.
  void refuse(std::error_code error) { set({.error = error}); }

  /// Calls the completion, and destroys it. May throw what it throws.
  void complete() {
    Completion completion{std::move(completion_)};
    completion(take());
  }

  [[nodiscard]] bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }

  void wait() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return ended(); });
  }

  [[nodiscard]] AwaitOutcome take() {
    const std::lock_guard lock{mutex_};
    return std::move(outcome_);
  }

  /// Names it at the bus; set before anybody can ask to cancel it.
  std::uint64_t await_id = 0;

  /// Used by the bus: the call that is to be completed after this one.
  std::shared_ptr<AwaitCall> next{};

  /// Calls `cancel` when a stop is requested, until this object ends: perhaps when the bus is gone.
  void cancel_on(std::stop_token stop, std::function<void()> cancel) {
    on_stop_.emplace(std::move(stop), std::move(cancel));
  }

 private:
  void set(AwaitOutcome outcome) {
    const std::lock_guard lock{mutex_};
    outcome_ = std::move(outcome);
    ended_.store(true, std::memory_order_release);
    changed_.notify_all();
  }

  Completion completion_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> ended_{false};
  AwaitOutcome outcome_{};
  std::optional<std::stop_callback<std::function<void()>>> on_stop_;  // last: its callback may use everything above
};

}  // namespace syncbus::inline v1::detail
