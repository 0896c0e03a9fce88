// The shell of the protocol machine: its inputs from publishers, the bus and the transport.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/base/deadline.hpp>
#include <syncbus/core/protocol.hpp>
#include <syncbus/engine/action_runner.hpp>
#include <syncbus/engine/transport_port.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/subscribers.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/submission.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// The inputs: what publishers, the bus's life and the transport tell the machine. How that is locked, and what comes
/// of it: see ActionRunner.
///
/// Owned by shared_ptr: its thread and the executor's tasks keep it alive, so that close can leave a handler that does
/// not return behind.
class Engine final : public TransportSink, public ActionRunner {
 public:
  Engine(NodeId self, const BusOptions& options, bool lossless_sessions, bool inline_dispatch,
         std::shared_ptr<Subscribers> subscribers, std::shared_ptr<TransportPort> port)
      : ActionRunner{self, options, lossless_sessions, inline_dispatch, std::move(subscribers), std::move(port)},
        waits_for_room_{!inline_dispatch && options.send_wait > Duration::zero()} {}

  [[nodiscard]] std::shared_ptr<Engine> shared() { return {shared_from_this(), this}; }

  /// Before the transport is opened.
  void start() { dispatch_.start(shared_from_this()); }

  /// Whether its threads do the transport's I/O.
  [[nodiscard]] bool lends_threads() const noexcept { return dispatch_.lends_threads(); }

  // --- publishing

  /// Takes all events or none. See BusFacade::publish for what it waits for.
  [[nodiscard]] std::error_code submit(const Submission& submission) noexcept {
    return mutex_.locked(
        [&](Lock& lock) {
          const auto error = check(submission);
          if (!error) submit_all(submission, std::nullopt, lock);
          return error;
        },
        Errc::forked);
  }

  /// The same, awaited. `call` ends by the deadline, on the engine's clock; that may be before this returns.
  [[nodiscard]] std::error_code submit(const Submission& submission, Quorum quorum, Duration timeout,
                                       const std::shared_ptr<AwaitCall>& call) {
    return mutex_.locked([&](Lock& lock) { return submit(submission, quorum, timeout, call, lock); }, Errc::forked);
  }

  /// Makes what LocalNode::deliver calls when this node's own handlers have returned from an awaited event.
  [[nodiscard]] auto answers_for(const AwaitCall& call) {
    return [self = shared(), await_id = call.await_id](std::uint32_t event, core::AcknowledgementStatus status) {
      self->input([&] { self->protocol_.heard_here(await_id, event, status); });
    };
  }

  [[nodiscard]] bool forked() const noexcept { return mutex_.forked(); }

  /// Also after close.
  void cancel(std::uint64_t await_id) noexcept {
    input([&] { protocol_.cancel_await(await_id, Errc::canceled); });
  }

  /// Waits until the broker has confirmed everything accepted so far, or the engine is closed.
  [[nodiscard]] std::error_code flush(TimePoint deadline) noexcept {
    return mutex_.locked(
        [&](Lock& lock) {
          return state_ == State::open ? flush_until(deadline, lock) : make_error_code(Errc::closed);
        },
        Errc::forked);
  }

  [[nodiscard]] bool closed() const noexcept {
    return mutex_.locked([this] { return state_ == State::closed; }, true);
  }

  /// Whether everything accepted before the first call with this `point` is confirmed, or the engine closed. Does not
  /// wait.
  [[nodiscard]] bool flushed(std::optional<std::uint64_t>& point) noexcept {
    return mutex_.locked([&] { return state_ == State::closed || reached(point); }, true);
  }

  // --- its life

  /// Whether this node has joined: see core::Protocol. Does not wait.
  [[nodiscard]] bool joined() const noexcept {
    return mutex_.locked([this] { return protocol_.joined(); }, false);
  }
  [[nodiscard]] bool wait_joined(TimePoint deadline) noexcept {
    return mutex_.locked(
        [&](Lock& lock) { return changed_.wait_until(lock, deadline, [this] { return protocol_.joined(); }); }, false);
  }

  /// Flush, goodbye, stop sending, close the transport, stop dispatching. A second call waits for the first.
  [[nodiscard]] std::error_code close(TimePoint deadline) noexcept {
    return mutex_.locked([&](Lock& lock) { return close(deadline, lock); }, Errc::forked);
  }

  /// For a bus whose transport could not be opened.
  void abandon() noexcept {
    mutex_.locked([this](Lock& lock) {
      sending_ = false;
      const Duration to_tell = options_.executor ? Duration::zero() : options_.close_timeout;
      static_cast<void>(end_dispatch(deadline_after(to_tell), never, lock));
    });
  }

  // --- what people see

  [[nodiscard]] Metrics metrics() const {
    return mutex_.locked([this] { return protocol_.metrics(); }, Metrics{});
  }
  [[nodiscard]] Health health() noexcept {
    return mutex_.locked(
        [this] {
          Health health = protocol_.health(port_->now());
          health.connected = health.connected && state_ == State::open;
          return health;
        },
        Health{.connected = false, .staleness = (Duration::max)()});
  }
  [[nodiscard]] std::vector<Peer> peers() const {
    return mutex_.locked([this] { return protocol_.peers(port_->now()); }, std::vector<Peer>{});
  }

  // --- TransportSink

  void on_frame(Bytes bytes) noexcept override {
    input([&, listening = subscribers_->hears_remote()] {
      look_for_suspend();
      protocol_.on_frame(bytes, listening, port_->now());
    });
  }
  void on_confirmed(BroadcastToken token) noexcept override { input([&] { protocol_.on_confirmed(token.frame); }); }
  void on_interrupted() noexcept override {
    input([&] { protocol_.on_interrupted(port_->now()); });
  }
  void on_lost() noexcept override {
    input([&, listening = subscribers_->hears_remote()] { protocol_.on_lost(listening); });
  }
  void on_moved() noexcept override {
    input([&, listening = subscribers_->hears_remote()] { protocol_.on_lost(listening, true); });
  }
  void on_place(std::uint64_t place) noexcept override {
    input([&] { protocol_.on_place(place); });
  }
  void on_ready(std::uint64_t session, std::size_t max_frame_bytes) noexcept override {
    input([&] { protocol_.on_ready(session, max_frame_bytes, subscribers_->hears_remote(), port_->now()); });
  }
  void on_wake() noexcept override {
    input([&] {
      look_for_suspend();
      protocol_.tick(port_->now());
      notifications_.look_at_log();
      tell_news();
      changed_.notify_all();  // it may have joined
    });
  }
  void on_problem(std::error_code code, std::string_view sentence) noexcept override {
    input([&] {
      notifications_.log(code, sentence);
      tell_news();
    });
  }

 private:
  /// Before anybody is judged by a time that has leapt.
  void look_for_suspend() noexcept {
    if (port_->was_suspended()) protocol_.on_suspended(port_->now());
  }

  // --- publishing

  [[nodiscard]] std::error_code check(const Submission& submission) const noexcept {
    if (state_ != State::open) return Errc::closed;
    core::WireEvent event{.type = submission.type, .version = submission.version};
    for (const std::string_view key : submission.keys) {
      event.key = key;
      if (!protocol_.fits(event)) return Errc::frame_too_large;
    }
    return {};
  }

  void submit_all(const Submission& submission, std::optional<core::AwaitId> await_id,
                  Lock& lock) noexcept {
    std::optional<TimePoint> deadline;
    core::WireEvent event{.type = submission.type, .version = submission.version};
    if (submission.type == EventType::resync) submit_one(event, std::nullopt, deadline, lock);
    std::uint32_t index = 0;
    for (const std::string_view key : submission.keys) {
      event.key = key;
      submit_one(event, await_id ? std::optional{core::Awaited{*await_id, index++}} : std::nullopt, deadline, lock);
    }
    if (protocol_.has_frame_to_send()) run_actions(lock);
  }

  /// Waits for room up to `deadline`, which the first wait of a call sets; then joins. If a session with smaller frames
  /// has begun meanwhile, and none takes the event any more, a resync goes in its place: the event was accepted.
  void submit_one(const core::WireEvent& event, std::optional<core::Awaited> awaited,
                  std::optional<TimePoint>& deadline, Lock& lock) noexcept {
    bool may_join = !waits_for_room_;
    core::Submitted submitted{};
    while ((submitted = protocol_.submit(event, may_join, awaited)) == core::Submitted::no_room) {
      if (!deadline) deadline = deadline_after(options_.send_wait);
      const std::uint64_t rooms = rooms_;
      run_actions(lock);
      const bool changed = rooms_ != rooms || state_ != State::open;  // while the lock was released: nobody tells again
      const bool late = changed ? std::chrono::steady_clock::now() >= *deadline
                                : changed_.wait_until(lock, *deadline) == std::cv_status::timeout;
      may_join = late || state_ != State::open;
    }
    if (submitted == core::Submitted::too_large) {
      static_cast<void>(protocol_.submit({.type = EventType::resync, .cause = ResyncCause::overflow}, true));
    }
  }

  [[nodiscard]] std::error_code flush_until(TimePoint deadline, Lock& lock) noexcept {
    std::optional<std::uint64_t> point;
    while (true) {
      if (reached(point)) return {};
      if (state_ == State::closed) return Errc::closed;
      if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) {
        return protocol_.connected() ? Errc::timed_out : Errc::not_connected;
      }
    }
  }

  [[nodiscard]] bool reached(std::optional<std::uint64_t>& point) noexcept {
    if (!point) point = protocol_.flush_point();
    return point && protocol_.confirmed() >= *point;
  }

  [[nodiscard]] std::error_code submit(const Submission& submission, Quorum quorum, Duration timeout,
                                       const std::shared_ptr<AwaitCall>& call, Lock& lock) {
    if (const auto error = check(submission)) return error;
    // A slow dispatcher may owe completions.
    if (notifications_.awaits().size() >= options_.max_awaits) return Errc::too_many_awaits;
    const TimePoint start = port_->now();
    const auto await_id = protocol_.open_await({.quorum = quorum,
                                                .events = static_cast<std::uint32_t>(submission.keys.size()),
                                                .deadline = deadline_after(start, timeout),
                                                .heard_here = submission.scope != Scope::remote,
                                                .heard_elsewhere = submission.scope != Scope::local},
                                               start);
    if (!await_id) return Errc::too_many_awaits;
    notifications_.awaits().add(*await_id, call);
    if (submission.scope != Scope::local) submit_all(submission, await_id, lock);
    protocol_.submitted(*await_id);
    settle(lock);
    return {};
  }

  [[nodiscard]] std::error_code close(TimePoint deadline, Lock& lock) noexcept {
    if (state_ != State::open) {
      const bool ended = changed_.wait_until(lock, deadline, [&] { return state_ == State::closed; });
      return ended ? std::error_code{} : make_error_code(Errc::timed_out);
    }
    state_ = State::closing;
    changed_.notify_all();  // who waits for room joins instead
    protocol_.cancel_awaits(Errc::closed);
    run_actions(lock);  // who awaits hears it before the flush
    const auto error = flush_until(deadline, lock);
    protocol_.say_goodbye();
    run_actions(lock);
    // Soon: no port blocks, and no user code runs in there.
    changed_.wait_until(lock, never, [&] { return !running_; });
    sending_ = false;
    lock.unlock();
    port_->close();
    lock.lock();
    const bool stopped = end_dispatch(deadline, deadline, lock);
    return error || stopped ? error : make_error_code(Errc::timed_out);
  }

  const bool waits_for_room_;  ///< not where the publishers themselves would make the room
};

}  // namespace syncbus::inline v1::detail
