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
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/completion.hpp>
#include <syncbus/local/subscriber.hpp>
#include <syncbus/mailbox.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/submission.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1 {

/// Hears events: a callable that takes `const Event&`, and is made from what is passed by a move or a copy.
template <class H>
concept EventHandler = std::constructible_from<std::decay_t<H>, H> && std::move_constructible<std::decay_t<H>> &&
                       std::invocable<std::decay_t<H>&, const Event&>;

/// Hears losses.
template <class H>
concept ResyncHandler = std::constructible_from<std::decay_t<H>, H> && std::move_constructible<std::decay_t<H>> &&
                        std::invocable<std::decay_t<H>&, const Resync&>;

/// Hears how an await ended.
template <class F>
concept AwaitHandler = std::constructible_from<std::decay_t<F>, F> && std::move_constructible<std::decay_t<F>> &&
                       std::invocable<std::decay_t<F>&, AwaitOutcome>;

/// A range that can be walked twice and whose elements are views, or strings that live beyond the walk.
template <class R>
concept KeyRange =
    std::ranges::forward_range<R> && !std::convertible_to<R, std::string_view> &&
    !std::convertible_to<R, std::span<const std::string_view>> &&
    std::convertible_to<std::ranges::range_reference_t<R>, std::string_view> &&
    (std::is_lvalue_reference_v<std::ranges::range_reference_t<R>> ||
     std::same_as<std::remove_cvref_t<std::ranges::range_reference_t<R>>, std::string_view> ||
     std::is_pointer_v<std::remove_cvref_t<std::ranges::range_reference_t<R>>>);

namespace detail {

/// What the compiler says first of a handler that is none.
template <class H>
[[nodiscard]] Subscription refuse_event_handler() {
  static_assert(EventHandler<H>, "a handler of events is a callable that takes const Event&, as in "
                                 "[](const syncbus::Event& event) {}, and that can be moved");
  return {};
}

template <class H, class R>
[[nodiscard]] Subscription refuse_handlers() {
  if constexpr (!EventHandler<H>) return refuse_event_handler<H>();
  static_assert(!EventHandler<H> || ResyncHandler<R>, "the second callable, on_resync, takes const Resync&, as in "
                                                      "[](const syncbus::Resync&) {}, and can be moved");
  return {};
}

}  // namespace detail

/// A subscriber's callables, or its mailbox, on their way to the place where they are kept. A decorator moves it on.
using Subscriber = detail::Subscriber;

/// The callable that hears how an async await ended: move-only, called once, as `completion(AwaitOutcome)`.
using Completion = detail::Completion;

/// The verbs of every bus, made of four primitives, public members of `Derived`:
///
///     std::error_code submit(const Submission&) noexcept;
///     AwaitOutcome await(const Submission&, Quorum, const AwaitOptions&);
///     void async_await(const Submission&, Quorum, const AwaitOptions&, Completion);
///     Subscription attach(const Interest&, Subscriber);
///
/// The facade refuses null callables, mailboxes without capacity and types that cannot be published; everything else it
/// hands to a primitive unchecked. Each of them does what its verbs say, errors included: takes all keys or none,
/// refuses an await without keys with invalid_argument (in which the facade turns an await of a type that cannot be
/// published), throws from attach. So a decorator does its own thing and hands on what it was given, and a test double
/// notes it, and answers as the test likes, or has a bus of its own answer: see examples/04_decorator.cpp and
/// examples/05_test_double.cpp. `publish` and its siblings are verbs that are made of submit, `publish_and_await` of
/// await, `subscribe` and the mailboxes of attach. What a bus says about itself (flush, close, metrics, is_healthy,
/// staleness, peers, id) the facade does not give: see the concept Bus.
///
/// Thread safety: every verb may be called from any thread at any time, also inside handlers, except where it says
/// otherwise. Handlers of one bus may run on several threads at once: those of local events on the publishers' threads,
/// those of remote events on the bus's dispatch thread or the executor of its options, one at a time. A handler ends on
/// the thread and the stack on which it began: a stackful coroutine that leaves one leaves its thread "inside a
/// handler" for good.
template <class Derived>
class BusFacade {
 public:
  /// Broadcasts that `key` changed. Local handlers have returned when it returns, but inside a handler they run when
  /// that handler's dispatch has ended, so perhaps behind what another thread has published since. What a handler
  /// publishes is kept until then without a bound: publish many keys elsewhere, or use publish_all. Never waits for a
  /// broker's answer; when the send ring is full and the broker is confirming it waits for room, at most `send_wait`.
  /// Accepted also while disconnected. Errors, after which nothing was published: closed, invalid_key,
  /// invalid_argument, frame_too_large, forked.
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
  /// `scope` counts. Blocks like publish. Errors: closed, forked.
  [[nodiscard]] std::error_code publish_all(PublishOptions options = {}) noexcept {
    return derived().submit({.type = EventType::resync, .scope = options.scope});
  }

  /// Broadcasts that the lease `id` is revoked, to subscribers of leases only. Of the options `version` and `scope`
  /// count. Blocks like publish. Errors: closed, invalid_key, frame_too_large,
  /// forked.
  [[nodiscard]] std::error_code revoke_lease(std::string_view id, PublishOptions options = {}) noexcept {
    return derived().submit(
        {.type = EventType::lease_revoked, .version = options.version, .scope = options.scope, .keys = {&id, 1}});
  }
  std::error_code revoke_lease(std::nullptr_t, PublishOptions = {}) = delete;

  /// Broadcasts that `key` changed and waits for replicas: nodes whose matching handlers have all returned for this
  /// very event (for a mailbox: it is in it), or for one that covers it and began later. This node counts when it has a
  /// matching subscriber and the scope includes it. Blocks until the quorum is satisfied, for at most
  /// `options.timeout`, to which local handlers and a wait for room add what they take. Ends early when the quorum has
  /// become impossible. AwaitOutcome::published says whether the event was broadcast. It was not after: closed,
  /// canceled (stop requested before the call), invalid_key, invalid_argument (also a negative quorum),
  /// frame_too_large, would_deadlock (inside a handler), quorum_unsupported (publish_only), too_many_awaits, forked. It
  /// was after: quorum_not_satisfied; canceled and closed while it waited; would_deadlock on a hub whose executor does
  /// not run.
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
    return await_keys(views_of(keys), quorum, options);
  }
  AwaitOutcome publish_and_await(std::nullptr_t, Quorum, AwaitOptions = {}) = delete;

  /// The same without blocking, also inside handlers. `completion(AwaitOutcome)` is called exactly once: where handlers
  /// of remote events run (on an InMemoryBus, on the thread that ends the await, perhaps before this returns); for
  /// errors after which nothing was broadcast, before this returns; at the latest when the bus is closed. What it
  /// throws is counted as a handler's; what it captured must not wait for the bus either. Throws std::system_error
  /// (invalid_argument) for a null completion.
  template <AwaitHandler F>
  void async_publish_and_await(std::string_view key, Quorum quorum, AwaitOptions options, F&& completion) {
    async_await_keys({&key, 1}, quorum, options, Completion{std::forward<F>(completion)});
  }
  template <AwaitHandler F>
  void async_publish_and_await(std::span<const std::string_view> keys, Quorum quorum, AwaitOptions options,
                               F&& completion) {
    async_await_keys(keys, quorum, options, Completion{std::forward<F>(completion)});
  }
  template <AwaitHandler F>
  void async_publish_and_await(std::initializer_list<std::string_view> keys, Quorum quorum, AwaitOptions options,
                               F&& completion) {
    async_await_keys({keys.begin(), keys.size()}, quorum, options, Completion{std::forward<F>(completion)});
  }
  template <KeyRange Keys, AwaitHandler F>
  void async_publish_and_await(Keys&& keys, Quorum quorum, AwaitOptions options, F&& completion) {
    async_await_keys(views_of(keys), quorum, options, Completion{std::forward<F>(completion)});
  }
  template <AwaitHandler F>
  void async_publish_and_await(std::nullptr_t, Quorum, AwaitOptions, F&&) = delete;

  /// As publish_and_await, for a lease: replicas are nodes with a subscriber of the lease. The type of the options
  /// counts for nothing.
  [[nodiscard]] AwaitOutcome revoke_lease_and_await(std::string_view id, Quorum quorum, AwaitOptions options = {}) {
    return derived().await({.type = EventType::lease_revoked,
                            .version = options.publish.version,
                            .scope = options.publish.scope,
                            .keys = {&id, 1}},
                           quorum, options);
  }
  AwaitOutcome revoke_lease_and_await(std::nullptr_t, Quorum, AwaitOptions = {}) = delete;

  /// Calls `handler(const Event&)` for every event of `key`, until the Subscription ends. After a loss the handler
  /// hears an event of its key with type resync, so erasing `event.key` is right without thinking. A subscriber added
  /// while an event is being dispatched does not hear that event. Throws std::system_error: invalid_key,
  /// invalid_argument (null handler; on a publish_only bus any scope but local), closed, forked. Does not block.
  template <EventHandler H>
  [[nodiscard]] Subscription subscribe(std::string_view key, H&& handler, Scope from = Scope::all) {
    return attach_handler({KeySpace::key, key, from}, Subscriber{std::forward<H>(handler)});
  }

  /// The pull form. Throws also invalid_argument when the capacity is 0.
  [[nodiscard]] Mailbox subscribe(std::string_view key, MailboxOptions options = {}) {
    return attach_mailbox(KeySpace::key, key, options);
  }

  /// Deleted: says what a handler is where one is wrong.
  template <class H>
    requires(!EventHandler<H> && !std::convertible_to<H, MailboxOptions>)
  Subscription subscribe(std::string_view, H&&, Scope = Scope::all) {
    return detail::refuse_event_handler<H>();
  }

  template <EventHandler H>
  Subscription subscribe(std::nullptr_t, H&&, Scope = Scope::all) = delete;
  Mailbox subscribe(std::nullptr_t, MailboxOptions = {}) = delete;

  /// Hears every event whose key begins with `prefix` (empty: every key), and every resync through `on_resync`. Throws
  /// as subscribe(key, handler) does; invalid_key only for a prefix above max_key_bytes.
  template <EventHandler H, ResyncHandler R>
  [[nodiscard]] Subscription subscribe_prefix(std::string_view prefix, H&& on_event, R&& on_resync,
                                              Scope from = Scope::all) {
    return attach_handler({KeySpace::prefix, prefix, from},
                  Subscriber{std::forward<H>(on_event), std::forward<R>(on_resync)});
  }

  [[nodiscard]] Mailbox subscribe_prefix(std::string_view prefix, MailboxOptions options = {}) {
    return attach_mailbox(KeySpace::prefix, prefix, options);
  }

  /// What a whole cache uses: every event of every key, and every resync. Throws as subscribe(key, handler) does.
  template <EventHandler H, ResyncHandler R>
  [[nodiscard]] Subscription subscribe_all(H&& on_event, R&& on_resync, Scope from = Scope::all) {
    return subscribe_prefix({}, std::forward<H>(on_event), std::forward<R>(on_resync), from);
  }

  [[nodiscard]] Mailbox subscribe_all(MailboxOptions options = {}) { return subscribe_prefix({}, options); }

  /// Deleted: a handler of many keys must say what a loss means, and both callables must be what they are for.
  template <class H>
    requires(!std::convertible_to<H, MailboxOptions>)
  Subscription subscribe_prefix(std::string_view, H&&) {
    static_assert(std::is_void_v<H>, "subscribe_prefix needs a second callable, on_resync(const Resync&): "
                                    "say what a loss means, for a cache usually clear()");
    return {};
  }
  template <class H>
    requires(!std::convertible_to<H, MailboxOptions>)
  Subscription subscribe_all(H&&) {
    static_assert(std::is_void_v<H>, "subscribe_all needs a second callable, on_resync(const Resync&): "
                                    "say what a loss means, for a cache usually clear()");
    return {};
  }
  template <class H, class R>
    requires(!EventHandler<H> || !ResyncHandler<R>)
  Subscription subscribe_prefix(std::string_view, H&&, R&&, Scope = Scope::all) {
    return detail::refuse_handlers<H, R>();
  }
  template <class H, class R>
    requires(!EventHandler<H> || !ResyncHandler<R>)
  Subscription subscribe_all(H&&, R&&, Scope = Scope::all) {
    return detail::refuse_handlers<H, R>();
  }

  /// Calls `handler(const Event&)` when the lease `id` is revoked (type lease_revoked), or may have been (type resync).
  /// Throws as subscribe(key, handler) does.
  template <EventHandler H>
  [[nodiscard]] Subscription subscribe_lease(std::string_view id, H&& handler, Scope from = Scope::all) {
    return attach_handler({KeySpace::lease, id, from}, Subscriber{std::forward<H>(handler)});
  }

  [[nodiscard]] Mailbox subscribe_lease(std::string_view id, MailboxOptions options = {}) {
    return attach_mailbox(KeySpace::lease, id, options);
  }

  template <class H>
    requires(!EventHandler<H> && !std::convertible_to<H, MailboxOptions>)
  Subscription subscribe_lease(std::string_view, H&&, Scope = Scope::all) {
    return detail::refuse_event_handler<H>();
  }

 protected:
  BusFacade() = default;
  ~BusFacade() = default;

 private:
  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  [[nodiscard]] std::error_code submit_keys(std::span<const std::string_view> keys, PublishOptions options) noexcept {
    if (options.type > EventType::remove) return Errc::invalid_argument;
    return derived().submit(submission(keys, options));
  }

  template <KeyRange Keys>
  [[nodiscard]] static std::vector<std::string_view> views_of(Keys&& keys) {
    std::vector<std::string_view> views;
    for (const std::string_view key : keys) views.push_back(key);
    return views;
  }

  [[nodiscard]] static Submission submission(std::span<const std::string_view> keys,
                                             const PublishOptions& options) noexcept {
    return {.type = options.type, .version = options.version, .scope = options.scope, .keys = keys};
  }

  /// A type that cannot be published is refused by the bus, as an await without keys: only it can call a completion.
  [[nodiscard]] static Submission awaited(std::span<const std::string_view> keys,
                                          const PublishOptions& options) noexcept {
    return options.type > EventType::remove ? Submission{} : submission(keys, options);
  }

  [[nodiscard]] AwaitOutcome await_keys(std::span<const std::string_view> keys, Quorum quorum,
                                        const AwaitOptions& options) {
    return derived().await(awaited(keys, options.publish), quorum, options);
  }

  void async_await_keys(std::span<const std::string_view> keys, Quorum quorum, const AwaitOptions& options,
                        Completion completion) {
    if (completion.null()) throw std::system_error{Errc::invalid_argument, "async_publish_and_await: no completion"};
    derived().async_await(awaited(keys, options.publish), quorum, options, std::move(completion));
  }

  [[nodiscard]] Subscription attach_handler(const Interest& interest, Subscriber subscriber) {
    if (subscriber.null()) throw std::system_error{Errc::invalid_argument, "subscribe: a handler is null"};
    return derived().attach(interest, std::move(subscriber));
  }

  [[nodiscard]] Mailbox attach_mailbox(KeySpace space, std::string_view name, const MailboxOptions& options) {
    if (options.capacity == 0) throw std::system_error{Errc::invalid_argument, "a mailbox needs a capacity above 0"};
    auto state = std::make_shared<detail::MailboxState>(name, options);
    auto subscription = derived().attach({space, name, options.scope}, Subscriber{state});
    return {std::move(state), std::move(subscription)};
  }
};

}  // namespace syncbus::inline v1
