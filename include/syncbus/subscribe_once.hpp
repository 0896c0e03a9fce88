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

#include <syncbus/base/is_null.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1 {

namespace detail {

/// Stands between the Subscription that the caller holds and the one on the bus, which may end it before the caller has
/// it. Thread safety: all of it.
class Once final : public SubscriptionHome {
 public:
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

  void end() noexcept { take().unsubscribe(); }

  void detach(void*, bool wait) noexcept override {
    if (wait) return end();
    const std::lock_guard lock{mutex_};
    ended_ = true;
    subscription_.request_unsubscribe();  // runs no user code, and waits for nobody
  }

 private:
  [[nodiscard]] Subscription take() noexcept {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    return std::exchange(subscription_, {});
  }

  std::mutex mutex_;
  Subscription subscription_;
  bool ended_ = false;
};

/// What the bus calls, and owns: so the handler is destroyed where those of other subscriptions are.
template <class H>
class OnceHandler {
 public:
  template <class Handler>
  OnceHandler(Handler&& handler, std::weak_ptr<Once> once)
      : handler_{std::in_place, std::forward<Handler>(handler)}, once_{std::move(once)} {}

  /// Of several threads that have an event for it, one calls the handler.
  void hear(const Event& event) {
    if (called_.exchange(true)) return;
    const Ending ending{*this};
    std::invoke(*handler_, event);
  }

 private:
  /// The handler is destroyed before the subscription is given up: a thread that finds no subscription need not wait
  /// for the handler.
  struct Ending {
    OnceHandler& self;

    ~Ending() {
      self.handler_.reset();
      if (const auto once = self.once_.lock()) once->end();
    }
  };

  std::atomic<bool> called_{false};
  std::optional<H> handler_;
  const std::weak_ptr<Once> once_;  // the caller's: it keeps the subscription, and with it this
};

/// `subscribe(handler)` subscribes on the bus.
template <class H, class Subscribe>
[[nodiscard]] Subscription subscribe_once(H&& handler, const Subscribe& subscribe) {
  using Handler = std::decay_t<H>;
  if (is_null<Handler>(handler)) throw std::system_error{Errc::invalid_argument, "subscribe_once: the handler is null"};
  auto once = std::make_shared<Once>();
  auto on_bus = std::make_unique<OnceHandler<Handler>>(std::forward<H>(handler), once);
  once->hold(subscribe([on_bus = std::move(on_bus)](const Event& event) { on_bus->hear(event); }));
  Once* const place = once.get();
  return {std::move(once), place};
}

}  // namespace detail

/// Calls `handler(const Event&)` for the first event of `key` that there is from now on, or for a loss that may have
/// hidden it (type resync), and for no other. The handler runs where those of subscribe() do, is destroyed there when
/// it has returned, and may hear its event before this returns. To hear no more before that, end the Subscription as
/// any other. There is no such form for a prefix: the first of many keys is rarely what one waits for, and a
/// subscription of subscribe_prefix that ends when its owner sees fit is as short.
///
/// Instead of a handler that ends its own subscription: that may run on another thread before the assignment of what
/// subscribe() returns, and would end nothing, or race with it.
///
/// Does not block, but for a handler that hears its event on another thread meanwhile: outside handlers it waits until
/// that has returned. Throws as subscribe() does, and bad_alloc.
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
