// A subscription as a value: it ends when the value does.
#pragma once

#include <memory>
#include <utility>

namespace syncbus::inline v1 {

namespace detail {

/// Where subscriptions end. Implemented by Subscribers, which subscriptions keep alive, so they may outlive their
/// bus.
class SubscriptionHome {
 public:
  /// Takes the subscriber out. With `wait`, and outside handlers, returns when its handler is not running any more.
  virtual void detach(void* place, bool wait) noexcept = 0;

 protected:
  ~SubscriptionHome() = default;
};

}  // namespace detail

/// Holds one subscriber on a bus; move-only. It may outlive the bus, and is then without effect. A handler must not end
/// the very object that subscribe() is assigned to: it may run on another thread before that assignment. To hear one
/// event is what subscribe_once is for.
/// Thread safety: distinct objects are independent; one object is one thread's at a time.
class [[nodiscard]] Subscription {
 public:
  /// Of nothing.
  Subscription() noexcept = default;

  Subscription(std::shared_ptr<detail::SubscriptionHome> home, void* place) noexcept
      : home_{std::move(home)}, place_{place} {}

  Subscription(Subscription&& other) noexcept
      : home_{std::move(other.home_)}, place_{std::exchange(other.place_, nullptr)} {}

  Subscription& operator=(Subscription&& other) noexcept {
    if (this != &other) {
      unsubscribe();
      home_ = std::move(other.home_);
      place_ = std::exchange(other.place_, nullptr);
    }
    return *this;
  }

  /// As unsubscribe().
  ~Subscription() { unsubscribe(); }

  /// Ends the subscription. Outside handlers it blocks while the handler runs on another thread: when it returns the
  /// handler is not running, never will be again, and its callable is destroyed. Inside any handler of this library,
  /// also its own, it does not wait; the callable lives until its last call has returned.
  void unsubscribe() noexcept {
    const auto home = std::exchange(home_, nullptr);
    if (void* const place = std::exchange(place_, nullptr)) home->detach(place, true);
  }

  /// The same without ever waiting, for those who hold a lock that the handler takes: a call that has begun goes on.
  /// The callable is destroyed after it, never in here: by a thread that publishes, subscribes or unsubscribes on the
  /// same bus; when the bus is gone, at the latest as this object ends or holds another subscription.
  void request_unsubscribe() noexcept {
    if (void* const place = std::exchange(place_, nullptr)) home_->detach(place, false);
  }

  /// Whether it holds a subscriber.
  [[nodiscard]] bool active() const noexcept { return place_ != nullptr; }
  [[nodiscard]] explicit operator bool() const noexcept { return active(); }

 private:
  std::shared_ptr<detail::SubscriptionHome> home_;  ///< also behind request_unsubscribe(): it may have the callable
  void* place_ = nullptr;
};

}  // namespace syncbus::inline v1
