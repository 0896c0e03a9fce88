// BusFacade: the verbs of every bus, over a few primitives; and what handlers and ranges of keys may be.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <array>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <span>
#include <stop_token>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <syncbus/detail/await_call.hpp>
#include <syncbus/detail/handler_scope.hpp>
#include <syncbus/detail/local_dispatch.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/mailbox.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/submission.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1 {

template <class H>
concept EventHandler = std::invocable<std::decay_t<H>&, const Event&>;

template <class H>
concept ResyncHandler = std::invocable<std::decay_t<H>&, const Resync&>;

template <class F>
concept AwaitHandler = std::invocable<std::decay_t<F>&, AwaitOutcome>;

/// A range that can be walked twice and whose elements are views, or strings that live beyond the walk.
template <class R>
concept KeyRange =
    std::ranges::forward_range<R> && !std::convertible_to<R, std::string_view> &&
    !std::convertible_to<R, std::span<const std::string_view>> &&
    std::convertible_to<std::ranges::range_reference_t<R>, std::string_view> &&
    (std::is_lvalue_reference_v<std::ranges::range_reference_t<R>> ||
     std::same_as<std::remove_cvref_t<std::ranges::range_reference_t<R>>, std::string_view> ||
     std::is_pointer_v<std::remove_cvref_t<std::ranges::range_reference_t<R>>>);

/// The verbs of every bus, over these primitives of `Derived` (private, with BusFacade as a friend):
///
///     std::error_code submit(const Submission&) noexcept;  // keys not yet checked; all are taken, or none
///     std::shared_ptr<detail::LocalDispatch> dispatch(Scope);  // where subscribers are; throws when closed
///     std::size_t max_key_bytes() const noexcept;
///     bool in_handler() const noexcept;  // whether the calling thread is inside a handler or hook
///     std::error_code submit(const Submission&, Quorum, const AwaitOptions&, const std::shared_ptr<AwaitCall>&);
///                                        // no error: the call ends, once, perhaps before it returns
///     void wait(AwaitCall&);             // until it has ended
///     auto canceller(const AwaitCall&);  // a callable that ends it now; may be called when the bus is gone
///     void complete(AwaitCall&) noexcept;          // calls its completion, as handlers are called
///     std::shared_ptr<detail::Waiting> waiting();  // how mailboxes wait; null: on the steady clock
///
/// so that a decorator or a test double is short.
///
/// Thread safety: every verb may be called from any thread at any time, also inside handlers, except where it says
/// otherwise. Handlers of one bus may run on several threads at once: those of local events on the publishers' threads,
/// those of remote events on the bus's dispatch thread or the executor of its options, one at a time.
template <class Derived>
class BusFacade {
 public:
  /// Broadcasts that `key` changed. Local handlers have returned when it returns, but inside a handler they run when
  /// that handler's dispatch has ended, so perhaps behind what another thread has published since. What a handler
  /// publishes is kept until then without a bound: publish many keys elsewhere, or use publish_all. Never waits for a
  /// broker's answer; when the send ring is full and the broker is confirming it waits for room, at most `send_wait`.
  /// Accepted also while disconnected. Errors, after which nothing was published: closed, invalid_key,
  /// invalid_argument, frame_too_large.
  [[nodiscard]] std::error_code publish(std::string_view key, PublishOptions options = {}) noexcept {
    return submit_keys({&key, 1}, options);
  }

  /// Many keys at once, in their order; one invalid key and none is published. Keys need only live for the call.
  [[nodiscard]] std::error_code publish(std::span<const std::string_view> keys, PublishOptions options = {}) noexcept {
    return submit_keys(keys, options);
  }

  [[nodiscard]] std::error_code publish(std::initializer_list<std::string_view> keys,
                                        PublishOptions options = {}) noexcept {
    return submit_keys({keys.begin(), keys.size()}, options);
  }

  /// Any forward range of views or lvalue strings. Allocates for more than 128 keys.
  template <KeyRange Keys>
  [[nodiscard]] std::error_code publish(Keys&& keys, PublishOptions options = {}) {
    std::array<std::string_view, 128> few;
    std::vector<std::string_view> many;
    std::size_t used = 0;
    for (const std::string_view key : keys) {
      if (used != few.size()) {
        few[used++] = key;
      } else {
        if (many.empty()) many.assign(few.begin(), few.end());
        many.push_back(key);
      }
    }
    return submit_keys(many.empty() ? std::span<const std::string_view>{few.data(), used} : many, options);
  }

  std::error_code publish(std::nullptr_t, PublishOptions = {}) = delete;

  /// Everything is stale: every subscriber of every node hears a resync with cause `requested`. Of the options only
  /// `scope` counts. Blocks like publish. Errors: closed.
  [[nodiscard]] std::error_code publish_all(PublishOptions options = {}) noexcept {
    return derived().submit({.type = EventType::resync, .scope = options.scope});
  }

  /// Broadcasts that the lease `id` is revoked, to subscribers of leases only. Of the options `version` and `scope`
  /// count. Blocks like publish. Errors: closed, invalid_key, frame_too_large.
  [[nodiscard]] std::error_code revoke_lease(std::string_view id, PublishOptions options = {}) noexcept {
    return derived().submit(
        {.type = EventType::lease_revoked, .version = options.version, .scope = options.scope, .keys = {&id, 1}});
  }
  std::error_code revoke_lease(std::nullptr_t, PublishOptions = {}) = delete;

  /// Broadcasts that `key` changed and waits for replicas: nodes whose matching handlers have all returned for this
  /// very event (for a mailbox: it is in it), or for one that covers it and began later. This node counts when it has a
  /// matching subscriber and the scope includes it. Blocks until the quorum is satisfied, for at most
  /// `options.timeout`, to which local handlers and a wait for room add what they take. Ends early when the quorum has
  /// become impossible. Errors after which nothing was broadcast: closed, canceled (stop requested before the call),
  /// invalid_key, invalid_argument (also a negative quorum), frame_too_large, would_deadlock (inside a handler),
  /// quorum_unsupported (publish_only), too_many_awaits. After these it was: quorum_not_satisfied, canceled, closed.
  [[nodiscard]] AwaitOutcome publish_and_await(std::string_view key, Quorum quorum, AwaitOptions options = {}) {
    return await_keys({&key, 1}, quorum, options);
  }

  /// Many keys at once. A node is a replica when it has a matching subscriber for at least one of them and every
  /// matching handler of every one has returned; it counts once.
  [[nodiscard]] AwaitOutcome publish_and_await(std::span<const std::string_view> keys, Quorum quorum,
                                               AwaitOptions options = {}) {
    return await_keys(keys, quorum, options);
  }
  [[nodiscard]] AwaitOutcome publish_and_await(std::initializer_list<std::string_view> keys, Quorum quorum,
                                               AwaitOptions options = {}) {
    return await_keys({keys.begin(), keys.size()}, quorum, options);
  }
  template <KeyRange Keys>
  [[nodiscard]] AwaitOutcome publish_and_await(Keys&& keys, Quorum quorum, AwaitOptions options = {}) {
    std::vector<std::string_view> views;
    for (const std::string_view key : keys) views.push_back(key);
    return await_keys(views, quorum, options);
  }
  AwaitOutcome publish_and_await(std::nullptr_t, Quorum, AwaitOptions = {}) = delete;

  /// The same without blocking, also inside handlers. `completion(AwaitOutcome)` is called exactly once: where handlers
  /// of remote events run (on an InMemoryBus, on the thread that ends the await, perhaps before this returns); for
  /// errors after which nothing was broadcast, before this returns; at the latest when the bus is closed. What it
  /// throws is counted as a handler's; what it captured must not wait for the bus either. Throws std::system_error
  /// (invalid_argument) for a null completion.
  template <AwaitHandler F>
  void async_publish_and_await(std::string_view key, Quorum quorum, AwaitOptions options, F&& completion) {
    async_await_keys({&key, 1}, quorum, options, detail::Completion{std::forward<F>(completion)});
  }
  template <AwaitHandler F>
  void async_publish_and_await(std::span<const std::string_view> keys, Quorum quorum, AwaitOptions options,
                               F&& completion) {
    async_await_keys(keys, quorum, options, detail::Completion{std::forward<F>(completion)});
  }
  template <AwaitHandler F>
  void async_publish_and_await(std::initializer_list<std::string_view> keys, Quorum quorum, AwaitOptions options,
                               F&& completion) {
    async_await_keys({keys.begin(), keys.size()}, quorum, options, detail::Completion{std::forward<F>(completion)});
  }
  template <AwaitHandler F>
  void async_publish_and_await(std::nullptr_t, Quorum, AwaitOptions, F&&) = delete;

  /// As publish_and_await, for a lease: replicas are nodes with a subscriber of the lease. The type of the options
  /// counts for nothing.
  [[nodiscard]] AwaitOutcome revoke_lease_and_await(std::string_view id, Quorum quorum, AwaitOptions options = {}) {
    return await({.type = EventType::lease_revoked,
                  .version = options.publish.version,
                  .scope = options.publish.scope,
                  .keys = {&id, 1}},
                 quorum, options);
  }
  AwaitOutcome revoke_lease_and_await(std::nullptr_t, Quorum, AwaitOptions = {}) = delete;

  /// Calls `handler(const Event&)` for every event of `key`, until the Subscription ends. After a loss the handler
  /// hears an event of its key with type resync, so erasing `event.key` is right without thinking. A subscriber added
  /// while an event is being dispatched does not hear that event. Throws std::system_error: invalid_key,
  /// invalid_argument (null handler; on a publish_only bus any scope but local), closed. Does not block.
  template <EventHandler H>
  [[nodiscard]] Subscription subscribe(std::string_view key, H&& handler, Scope from = Scope::all) {
    return attach(core::Space::key, key, detail::Subscriber{std::forward<H>(handler)}, from);
  }

  /// The pull form. Throws also invalid_argument when the capacity is 0.
  [[nodiscard]] Mailbox subscribe(std::string_view key, MailboxOptions options = {}) {
    return attach_mailbox(core::Space::key, key, options);
  }

  template <EventHandler H>
  Subscription subscribe(std::nullptr_t, H&&, Scope = Scope::all) = delete;
  Mailbox subscribe(std::nullptr_t, MailboxOptions = {}) = delete;

  /// Hears every event whose key begins with `prefix` (empty: every key), and every resync through `on_resync`. Throws
  /// as subscribe(key, handler) does; invalid_key only for a prefix above max_key_bytes.
  template <EventHandler H, ResyncHandler R>
  [[nodiscard]] Subscription subscribe_prefix(std::string_view prefix, H&& on_event, R&& on_resync,
                                              Scope from = Scope::all) {
    return attach(core::Space::prefix, prefix,
                  detail::Subscriber{std::forward<H>(on_event), std::forward<R>(on_resync)}, from);
  }

  [[nodiscard]] Mailbox subscribe_prefix(std::string_view prefix, MailboxOptions options = {}) {
    return attach_mailbox(core::Space::prefix, prefix, options);
  }

  /// What a whole cache uses: every event of every key, and every resync. Throws as subscribe(key, handler) does.
  template <EventHandler H, ResyncHandler R>
  [[nodiscard]] Subscription subscribe_all(H&& on_event, R&& on_resync, Scope from = Scope::all) {
    return subscribe_prefix({}, std::forward<H>(on_event), std::forward<R>(on_resync), from);
  }

  [[nodiscard]] Mailbox subscribe_all(MailboxOptions options = {}) { return subscribe_prefix({}, options); }

  /// Not to be had: a handler of many keys must say what a loss means.
  template <EventHandler H>
  Subscription subscribe_prefix(std::string_view, H&&) {
    static_assert(!EventHandler<H>, "subscribe_prefix needs a second callable, on_resync(const Resync&): "
                                    "say what a loss means, for a cache usually clear()");
    return {};
  }

  template <EventHandler H>
  Subscription subscribe_all(H&&) {
    static_assert(!EventHandler<H>, "subscribe_all needs a second callable, on_resync(const Resync&): "
                                    "say what a loss means, for a cache usually clear()");
    return {};
  }

  /// Calls `handler(const Event&)` when the lease `id` is revoked (type lease_revoked), or may have been (type resync).
  /// Throws as subscribe(key, handler) does.
  template <EventHandler H>
  [[nodiscard]] Subscription subscribe_lease(std::string_view id, H&& handler, Scope from = Scope::all) {
    return attach(core::Space::lease, id, detail::Subscriber{std::forward<H>(handler)}, from);
  }

  [[nodiscard]] Mailbox subscribe_lease(std::string_view id, MailboxOptions options = {}) {
    return attach_mailbox(core::Space::lease, id, options);
  }

 protected:
  BusFacade() = default;
  ~BusFacade() = default;

 private:
  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  [[nodiscard]] bool valid_key(std::string_view key) noexcept {
    return !key.empty() && key.size() <= derived().max_key_bytes();
  }

  [[nodiscard]] std::error_code submit_keys(std::span<const std::string_view> keys, PublishOptions options) noexcept {
    if (options.type > EventType::remove) return Errc::invalid_argument;
    return derived().submit(
        {.type = options.type, .version = options.version, .scope = options.scope, .keys = keys});
  }

  [[nodiscard]] static Submission awaited(std::span<const std::string_view> keys,
                                          const PublishOptions& options) noexcept {
    return {.type = options.type, .version = options.version, .scope = options.scope, .keys = keys};
  }

  [[nodiscard]] AwaitOutcome await_keys(std::span<const std::string_view> keys, Quorum quorum,
                                        const AwaitOptions& options) {
    if (options.publish.type > EventType::remove) return {Errc::invalid_argument, {}};
    return await(awaited(keys, options.publish), quorum, options);
  }

  [[nodiscard]] AwaitOutcome await(const Submission& submission, Quorum quorum, const AwaitOptions& options) {
    if (derived().in_handler()) return {Errc::would_deadlock, {}};
    const auto call = std::make_shared<detail::AwaitCall>();
    if (const auto error = derived().submit(submission, quorum, options, call)) return {error, {}};
    const std::stop_callback on_stop{options.stop_token, derived().canceller(*call)};
    derived().wait(*call);
    return call->take();
  }

  void async_await_keys(std::span<const std::string_view> keys, Quorum quorum, const AwaitOptions& options,
                        detail::Completion completion) {
    if (completion.null()) throw std::system_error{Errc::invalid_argument, "async_publish_and_await: no completion"};
    const auto call = std::make_shared<detail::AwaitCall>(std::move(completion));
    const bool publishable = options.publish.type <= EventType::remove;
    const auto error = publishable ? derived().submit(awaited(keys, options.publish), quorum, options, call)
                                   : make_error_code(Errc::invalid_argument);
    if (error) {
      call->end({error, {}});
      return derived().complete(*call);
    }
    if (options.stop_token.stop_possible()) call->cancel_on(options.stop_token, derived().canceller(*call));
  }

  [[nodiscard]] Subscription attach(core::Space space, std::string_view key, detail::Subscriber subscriber,
                                    Scope from) {
    if (subscriber.null()) throw std::system_error{Errc::invalid_argument, "subscribe: a handler is null"};
    auto dispatch = derived().dispatch(from);
    const bool every_key = space == core::Space::prefix && key.empty();
    if (!every_key && !valid_key(key)) throw std::system_error{Errc::invalid_key, "subscribe"};
    return dispatch->attach(space, key, std::move(subscriber), from);
  }

  [[nodiscard]] Mailbox attach_mailbox(core::Space space, std::string_view key, const MailboxOptions& options) {
    if (options.capacity == 0) throw std::system_error{Errc::invalid_argument, "a mailbox needs a capacity above 0"};
    auto state = std::make_shared<detail::MailboxState>(key, options, derived().waiting(),
                                                        derived().dispatch(options.scope)->fork_mark());
    auto subscription = attach(space, key, detail::Subscriber{state}, options.scope);
    return {std::move(state), std::move(subscription)};
  }
};

}  // namespace syncbus::inline v1
