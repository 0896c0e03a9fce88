// The concept Bus, with what it means. Code that is generic over buses includes this one header.
#pragma once

#include <concepts>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/bus_facade.hpp>
#include <syncbus/event.hpp>
#include <syncbus/mailbox.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/submission.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1 {

/// Archetypes: the least that a handler may be.
struct EventHandlerArchetype {
  EventHandlerArchetype(EventHandlerArchetype&&) noexcept = default;
  void operator()(const Event&) {}
};
struct ResyncHandlerArchetype {
  ResyncHandlerArchetype(ResyncHandlerArchetype&&) noexcept = default;
  void operator()(const Resync&) {}
};
struct AwaitHandlerArchetype {
  AwaitHandlerArchetype(AwaitHandlerArchetype&&) noexcept = default;
  void operator()(AwaitOutcome) {}
};

namespace detail {

/// A range of keys as callers have them; any KeyRange does.
using SomeKeys = const std::vector<std::string>&;

template <class B>
concept Publishes = requires(B& bus, std::string_view key, std::span<const std::string_view> keys,
                             std::initializer_list<std::string_view> list, SomeKeys range, PublishOptions options) {
  { bus.publish(key) } noexcept -> std::same_as<std::error_code>;
  { bus.publish(key, options) } noexcept -> std::same_as<std::error_code>;
  { bus.publish(keys, options) } noexcept -> std::same_as<std::error_code>;
  { bus.publish(list, options) } noexcept -> std::same_as<std::error_code>;
  { bus.publish(range, options) } -> std::same_as<std::error_code>;
  { bus.publish_all() } noexcept -> std::same_as<std::error_code>;
  { bus.publish_all(options) } noexcept -> std::same_as<std::error_code>;
  { bus.revoke_lease(key) } noexcept -> std::same_as<std::error_code>;
  { bus.revoke_lease(key, options) } noexcept -> std::same_as<std::error_code>;
};

template <class B>
concept Awaits = requires(B& bus, std::string_view key, std::span<const std::string_view> keys,
                          std::initializer_list<std::string_view> list, SomeKeys range, Quorum quorum,
                          AwaitOptions options, AwaitHandlerArchetype on_outcome) {
  { bus.publish_and_await(key, quorum) } -> std::same_as<AwaitOutcome>;
  { bus.publish_and_await(key, quorum, options) } -> std::same_as<AwaitOutcome>;
  { bus.publish_and_await(keys, quorum, options) } -> std::same_as<AwaitOutcome>;
  { bus.publish_and_await(list, quorum, options) } -> std::same_as<AwaitOutcome>;
  { bus.publish_and_await(range, quorum, options) } -> std::same_as<AwaitOutcome>;
  { bus.revoke_lease_and_await(key, quorum) } -> std::same_as<AwaitOutcome>;
  { bus.revoke_lease_and_await(key, quorum, options) } -> std::same_as<AwaitOutcome>;
  { bus.async_publish_and_await(key, quorum, options, std::move(on_outcome)) } -> std::same_as<void>;
  { bus.async_publish_and_await(keys, quorum, options, std::move(on_outcome)) } -> std::same_as<void>;
  { bus.async_publish_and_await(list, quorum, options, std::move(on_outcome)) } -> std::same_as<void>;
  { bus.async_publish_and_await(range, quorum, options, std::move(on_outcome)) } -> std::same_as<void>;
};

template <class B>
concept Subscribes = requires(B& bus, std::string_view key, EventHandlerArchetype on_event,
                              ResyncHandlerArchetype on_resync, Scope from) {
  { bus.subscribe(key, std::move(on_event)) } -> std::same_as<Subscription>;
  { bus.subscribe(key, std::move(on_event), from) } -> std::same_as<Subscription>;
  { bus.subscribe_prefix(key, std::move(on_event), std::move(on_resync)) } -> std::same_as<Subscription>;
  { bus.subscribe_prefix(key, std::move(on_event), std::move(on_resync), from) } -> std::same_as<Subscription>;
  { bus.subscribe_all(std::move(on_event), std::move(on_resync)) } -> std::same_as<Subscription>;
  { bus.subscribe_all(std::move(on_event), std::move(on_resync), from) } -> std::same_as<Subscription>;
  { bus.subscribe_lease(key, std::move(on_event)) } -> std::same_as<Subscription>;
  { bus.subscribe_lease(key, std::move(on_event), from) } -> std::same_as<Subscription>;
};

template <class B>
concept HasMailboxes = requires(B& bus, std::string_view key, MailboxOptions options) {
  { bus.subscribe(key) } -> std::same_as<Mailbox>;
  { bus.subscribe(key, options) } -> std::same_as<Mailbox>;
  { bus.subscribe_prefix(key) } -> std::same_as<Mailbox>;
  { bus.subscribe_prefix(key, options) } -> std::same_as<Mailbox>;
  { bus.subscribe_all() } -> std::same_as<Mailbox>;
  { bus.subscribe_all(options) } -> std::same_as<Mailbox>;
  { bus.subscribe_lease(key) } -> std::same_as<Mailbox>;
  { bus.subscribe_lease(key, options) } -> std::same_as<Mailbox>;
};

/// What the verbs are made of: see BusFacade. Decorators hand these on.
template <class B>
concept HasPrimitives = requires(B& bus, const Submission& submission, Quorum quorum, const AwaitOptions& options,
                                 Completion completion, const Interest& interest, Subscriber subscriber) {
  { bus.submit(submission) } noexcept -> std::same_as<std::error_code>;
  { bus.await(submission, quorum, options) } -> std::same_as<AwaitOutcome>;
  { bus.async_await(submission, quorum, options, std::move(completion)) } -> std::same_as<void>;
  { bus.attach(interest, std::move(subscriber)) } -> std::same_as<Subscription>;
};

template <class B>
concept Observable = requires(B& bus, const B& constant, Duration timeout) {
  { bus.flush(timeout) } -> std::same_as<std::error_code>;
  { bus.close(timeout) } -> std::same_as<std::error_code>;
  { constant.metrics() } -> std::same_as<Metrics>;
  { constant.is_healthy() } noexcept -> std::same_as<bool>;
  { constant.staleness() } -> std::same_as<Duration>;
  { constant.peers() } -> std::same_as<std::vector<Peer>>;
  { constant.id() } noexcept -> std::same_as<NodeId>;
};

}  // namespace detail

/// A node's way to hear and be heard: all that generic code may use of it. A type that derives from BusFacade has the
/// verbs for four primitives, and adds what Observable names. What a type must mean beyond its syntax:
///
///  1. publish, publish_all and revoke_lease return success only when every matching subscriber of the scope hears the
///     event, or a resync after it. An error means that nothing was published.
///  2. When they return, outside handlers, this node's matching handlers have returned.
///  3. If one publish of a node returned before another began, every subscriber hears them in that order, or joined.
///  4. Outside handlers, when a Subscription's unsubscribe or destructor returns, its handler is not running and never
///     will be again. Inside handlers neither waits; the callable lives until its last call has returned.
///  5. A key is any non-empty byte string up to max_key_bytes. Keys and leases of one name do not mix.
///  6. A handler that throws harms nobody else: it is counted and reported.
///  7. flush returns success only when the broker has confirmed everything that was accepted before the call.
///  8. close is idempotent and ends by its deadline; afterwards publishes answer Errc::closed and subscribing throws
///     it. Subscriptions and mailboxes may outlive the bus.
///  9. flush and close inside a handler answer Errc::would_deadlock.
/// 10. No lock of the library is held while a handler, or anything else of the user's, runs.
/// 11. publish_and_await returns no error only when its quorum of distinct nodes has acknowledged. staleness() is never
///     less than the age of the oldest event, of a peer that is heard, that this node's handlers have not returned
///     from.
template <class B>
concept Bus = !std::copyable<B> && detail::Publishes<B> && detail::Awaits<B> && detail::Subscribes<B> &&
              detail::HasMailboxes<B> && detail::HasPrimitives<B> && detail::Observable<B>;

}  // namespace syncbus::inline v1
