// subscribe_once: a subscription that ends itself with its first event.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <syncbus/bus.hpp>
#include <syncbus/detail/is_null.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1 {

namespace detail {

/// Stands between the Subscription that the caller holds and the one on the bus, which may end it before the caller has
/// it. Thread safety: all of it.
template <class H>
class Once final : public SubscriptionHome {
 public:
  template <class Handler>
  explicit Once(Handler&& handler) : handler_{std::in_place, std::forward<Handler>(handler)} {}

  /// Of several threads that have an event for it, one calls the handler.
  void hear(const Event& event) {
    if (called_.exchange(true)) return;
    const Ending ending{*this};
    std::invoke(*handler_, event);
  }

  /// It is subscribed; perhaps it has heard its event by now.
  void hold(Subscription subscription) {
    {
      const std::lock_guard lock{mutex_};
      if (!ended_) {
        subscription_ = std::move(subscription);
        return;
      }
    }
    subscription.unsubscribe();
  }

  void detach(void*, bool wait) noexcept override {
    Subscription subscription = take();
    wait ? subscription.unsubscribe() : subscription.request_unsubscribe();
  }

 private:
  /// The handler is destroyed before the subscription is given up: who finds none any more need not wait for anything.
  struct Ending {
    Once& once;

    ~Ending() {
      once.handler_.reset();
      once.take().unsubscribe();
    }
  };

  [[nodiscard]] Subscription take() noexcept {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    return std::exchange(subscription_, {});
  }

  std::atomic<bool> called_{false};
  std::optional<H> handler_;
  std::mutex mutex_;
  Subscription subscription_;
  bool ended_ = false;
};

/// `subscribe(handler)` subscribes on the bus.
template <class H, class Subscribe>
[[nodiscard]] Subscription subscribe_once(H&& handler, const Subscribe& subscribe) {
  using Handler = std::decay_t<H>;
  if (is_null<Handler>(handler)) throw std::system_error{Errc::invalid_argument, "subscribe_once: the handler is null"};
  auto once = std::make_shared<Once<Handler>>(std::forward<H>(handler));
  once->hold(subscribe([once](const Event& event) { once->hear(event); }));
  Once<Handler>* const place = once.get();
  return {std::move(once), place};
}

}  // namespace detail

/// Calls `handler(const Event&)` for the first event of `key` that there is from now on, or for a loss that may have
/// hidden it (type resync), and for no other. The handler is destroyed when it has returned. Whoever wants to hear no
/// more before that ends the Subscription, or lets it end, as any other.
///
/// Instead of a handler that ends its own subscription: that may run on another thread before the assignment of what
/// subscribe() returns, and would end nothing, or race with it.
///
/// Throws as subscribe() does.
template <Bus B, EventHandler H>
[[nodiscard]] Subscription subscribe_once(B& bus, std::string_view key, H&& handler, Scope from = Scope::all) {
  return detail::subscribe_once(std::forward<H>(handler),
                                [&](auto hear) { return bus.subscribe(key, std::move(hear), from); });
}

/// The same for the lease `id`.
template <Bus B, EventHandler H>
[[nodiscard]] Subscription subscribe_lease_once(B& bus, std::string_view id, H&& handler, Scope from = Scope::all) {
  return detail::subscribe_once(std::forward<H>(handler),
                                [&](auto hear) { return bus.subscribe_lease(id, std::move(hear), from); });
}

}  // namespace syncbus::inline v1
