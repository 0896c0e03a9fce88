// What a bus has to tell its user besides events: how awaits ended, its health, lines for the log.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include <syncbus/detail/await_call.hpp>
#include <syncbus/detail/await_calls.hpp>
#include <syncbus/detail/bounded_log.hpp>
#include <syncbus/detail/local_dispatch.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

/// Collected under the owner's lock, told by the dispatcher with that lock released. Of a health only the latest is
/// told.
class News {
 public:
  News(const BusOptions& options, std::shared_ptr<LocalDispatch> subscribers)
      : on_health_{options.on_health}, logs_{static_cast<bool>(options.on_log)}, subscribers_{std::move(subscribers)} {}

  [[nodiscard]] AwaitCalls& awaits() noexcept { return awaits_; }
  void health_changed() noexcept { health_due_ = static_cast<bool>(on_health_); }
  void log(std::string_view sentence) noexcept {
    if (logs_) log_.add(sentence);
  }

  [[nodiscard]] bool empty() const noexcept { return !health_due_ && log_.empty() && !awaits_.has_completions(); }

  /// Tells the most urgent; `health()` is how it is now. False: there is nothing.
  template <class HealthNow>
  bool tell_one(const HealthNow& health, std::unique_lock<std::mutex>& lock) noexcept {
    if (awaits_.has_completions()) {
      complete_one(lock);
    } else if (std::exchange(health_due_, false)) {
      unlocked(lock, [&, now = health()] { subscribers_->run_hook([&] { on_health_(now); }); });
    } else if (const auto line = log_.take()) {
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
  void complete_one(std::unique_lock<std::mutex>& lock) noexcept {
    auto call = awaits_.next_completion();
    unlocked(lock, [&] {
      subscribers_->run_hook([&] {
        const auto ended =
            std::move(call);  // ends inside the hook: it may be the last that keeps something of the user's
        ended->complete();
      });
    });
  }

  template <class Tell>
  static void unlocked(std::unique_lock<std::mutex>& lock, const Tell& tell) noexcept {
    lock.unlock();
    tell();
    lock.lock();
  }

  const std::function<void(const Health&)>& on_health_;
  const bool logs_;
  const std::shared_ptr<LocalDispatch> subscribers_;
  AwaitCalls awaits_;
  BoundedLog log_;
  bool health_due_ = false;
};

}  // namespace syncbus::inline v1::detail
