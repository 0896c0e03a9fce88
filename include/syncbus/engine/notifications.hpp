// Notifications to the user besides events: ended awaits, changes of health, lines for the log.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>

#include <syncbus/base/unlocked.hpp>
#include <syncbus/core/quorum/await_table.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/line_limiter.hpp>
#include <syncbus/local/subscribers.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: none, the owner locks.
class AwaitCalls {
 public:
  void add(core::AwaitId await_id, const std::shared_ptr<AwaitCall>& call) {
    call->await_id = await_id;
    calls_.emplace(await_id, call);
  }

  /// An await ended. A caller that waits is woken here; a completion waits for next_completion(). Returns whether there
  /// is one. Allocates nothing. A caller for whom add() found no memory does not wait.
  bool end(core::AwaitCompletion&& completion) noexcept {
    auto call = calls_.extract(completion.await_id);
    if (!call) return false;
    call.mapped()->end({completion.error, std::move(completion.replicas)});
    if (!call.mapped()->has_completion()) return false;
    std::shared_ptr<AwaitCall>& place = last_ == nullptr ? first_ : last_->next;
    place = std::move(call.mapped());
    last_ = place.get();
    ++completions_;
    return true;
  }

  /// Open ones, and those whose completion is still to be called.
  [[nodiscard]] std::size_t size() const noexcept { return calls_.size() + completions_; }

  [[nodiscard]] bool has_completions() const noexcept { return completions_ != 0; }

  /// Precondition: has_completions(). To be called and destroyed without the owner's lock: what it waits for may want
  /// that.
  [[nodiscard]] std::shared_ptr<AwaitCall> next_completion() noexcept {
    assert(has_completions());
    auto call = std::move(first_);
    first_ = std::move(call->next);
    if (--completions_ == 0) last_ = nullptr;
    return call;
  }

 private:
  std::unordered_map<core::AwaitId, std::shared_ptr<AwaitCall>> calls_;
  std::shared_ptr<AwaitCall> first_;  ///< of those whose completion is still to be called, linked by their `next`
  AwaitCall* last_ = nullptr;
  std::size_t completions_ = 0;
};

/// A ring of at most `capacity` lines. Thread safety: none, the owner locks.
class BoundedLog {
 public:
  static constexpr std::size_t capacity = 64;

  void add(std::string_view line) noexcept try {
    if (size_ == capacity) return leave_one_out();
    lines_[(first_ + size_) % capacity] = line;
    ++size_;
  } catch (...) {
    leave_one_out();
  }

  void leave_one_out() noexcept { ++left_out_; }

  /// The oldest line; behind the last one, once, a line that says how many were left out.
  [[nodiscard]] std::optional<std::string> take() {
    if (size_ == 0) {
      if (left_out_ == 0) return std::nullopt;
      return std::to_string(std::exchange(left_out_, 0)) + " more messages were left out";
    }
    std::string line = std::move(lines_[first_]);
    first_ = (first_ + 1) % capacity;
    --size_;
    return line;
  }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0 && left_out_ == 0; }

 private:
  std::array<std::string, capacity> lines_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  std::uint64_t left_out_ = 0;
};

/// Collected under the owner's lock, told by the dispatcher with that lock released. Of a health only the latest is
/// told.
class Notifications {
 public:
  Notifications(const BusOptions& options, std::shared_ptr<Subscribers> subscribers)
      : on_health_{options.on_health}, subscribers_{std::move(subscribers)} {}

  [[nodiscard]] AwaitCalls& awaits() noexcept { return awaits_; }
  void health_changed() noexcept { health_due_ = static_cast<bool>(on_health_); }

  /// A problem of the transport; without a code, a line that the user has asked for.
  void log(const std::error_code& code, std::string_view sentence) noexcept {
    log(kind_of_problem(code), [sentence] { return std::string{sentence}; });
  }
  /// `line()` makes its words.
  template <class Line>
  void log(LineKind kind, const Line& line) noexcept try {
    if (!subscribers_->log()) return;
    if (const auto told = subscribers_->log().admit(kind, line())) log_.add(*told);
  } catch (const std::bad_alloc&) {
    log_.leave_one_out();
  }

  /// To be called now and then: takes in the lines that were left out and have waited long enough.
  void look_at_log() noexcept try {
    if (!subscribers_->log()) return;
    while (const auto line = subscribers_->log().overdue()) log_.add(*line);
  } catch (const std::bad_alloc&) {
    log_.leave_one_out();
  }

  /// Nothing more will come, and nobody needs to know the health any more: what is left are completions, the lines that
  /// wait, and the last of those that were left out.
  void end() noexcept {
    ended_ = true;
    health_due_ = false;
  }

  [[nodiscard]] bool empty() const noexcept { return !health_due_ && !awaits_.has_completions() && !has_lines(); }
  [[nodiscard]] bool has_lines() const noexcept {
    return !log_.empty() || (ended_ && subscribers_->log() && subscribers_->log().any_left_out());
  }

  /// Tells the most urgent: completions, so that no await waits for a log; then the latest health; then lines.
  /// `health()` is how it is now. False: there is nothing.
  template <class HealthNow>
  bool deliver_one(const HealthNow& health, std::unique_lock<std::mutex>& lock) noexcept {
    if (awaits_.has_completions()) {
      complete_one(lock);
    } else if (std::exchange(health_due_, false)) {
      unlocked(lock, [&, now = health()] { subscribers_->run_hook([&] { on_health_(now); }); });
    } else if (const auto line = take_line()) {
      unlocked(lock, [&] { subscribers_->report(*line); });
    } else {
      return false;
    }
    return true;
  }

  /// Calls every completion that is due.
  void complete_all(std::unique_lock<std::mutex>& lock) noexcept {
    while (awaits_.has_completions()) complete_one(lock);
  }

 private:
  [[nodiscard]] std::optional<std::string> take_line() {
    if (!log_.empty()) return log_.take();
    return ended_ && subscribers_->log() ? subscribers_->log().overdue(true) : std::nullopt;
  }

  void complete_one(std::unique_lock<std::mutex>& lock) noexcept {
    auto call = awaits_.next_completion();
    unlocked(lock, [&] {
      subscribers_->run_hook([&] {
        const auto ended =
            std::move(call);  // ends inside the hook: it may be the last owner of what the user captured
        ended->complete();
      });
    });
  }

  const std::function<void(const Health&)>& on_health_;
  const std::shared_ptr<Subscribers> subscribers_;
  AwaitCalls awaits_;
  BoundedLog log_;
  bool health_due_ = false;
  bool ended_ = false;
};

}  // namespace syncbus::inline v1::detail
