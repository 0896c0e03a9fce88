// The shell around the protocol machine: its lock, and who does what the machine says.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/detail/await_call.hpp>
#include <syncbus/detail/counted_condition.hpp>
#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/deliver.hpp>
#include <syncbus/detail/dispatch_loop.hpp>
#include <syncbus/detail/engine_port.hpp>
#include <syncbus/detail/local_dispatch.hpp>
#include <syncbus/detail/news.hpp>
#include <syncbus/detail/posted_task.hpp>
#include <syncbus/detail/protocol_options.hpp>
#include <syncbus/detail/unlocked.hpp>
#include <syncbus/error.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/submission.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// Everything a node does beyond its own threads of publishers. The rules of its locking:
///
///  * `mutex_` guards the machine and all state; it is held for the length of an input, never while a port, a handler
///    or a hook runs.
///  * Actions run with the lock released, in order, by one thread at a time: whoever gives an input runs them, unless
///    another is at it already, who then runs these too.
///  * Handlers, hooks and completions run in the DispatchLoop, by one thread at a time likewise.
///
/// Owned by shared_ptr: its thread and the executor's tasks keep it alive, so that close can leave a handler that does
/// not return behind.
class Engine final : public TransportSink, public std::enable_shared_from_this<Engine> {
 public:
  Engine(NodeId self, const BusOptions& options, bool lossless_sessions, bool inline_dispatch,
         std::shared_ptr<LocalDispatch> subscribers, std::shared_ptr<EnginePort> port)
      : options_{options},
        waits_for_room_{!inline_dispatch && options.send_wait > Duration::zero()},
        subscribers_{std::move(subscribers)},
        port_{std::move(port)},
        protocol_{protocol_options(self, options, lossless_sessions, subscribers_->hash_secret())},
        news_{options_, subscribers_},
        dispatch_{options.executor ? Dispatching::executor
                                   : (inline_dispatch ? Dispatching::inline_ : Dispatching::thread),
                  port_->lendable(), *this, mutex_} {}

  /// Before the transport is opened.
  void start() { dispatch_.start(shared_from_this()); }

  /// Whether its threads do the transport's I/O.
  [[nodiscard]] bool lends_threads() const noexcept { return dispatch_.lends_threads(); }

  // --- publishing

  /// Takes all events or none. See BusFacade::publish for what it waits for.
  [[nodiscard]] std::error_code submit(const Submission& submission) noexcept {
    std::unique_lock lock{mutex_};
    if (const auto error = check(submission)) return error;
    submit_all(submission, std::nullopt, lock);
    return {};
  }

  /// The same, awaited. `call` ends by the deadline, on the engine's clock; that may be before this returns.
  [[nodiscard]] std::error_code submit(const Submission& submission, Quorum quorum, Duration timeout,
                                       const std::shared_ptr<AwaitCall>& call) {
    std::unique_lock lock{mutex_};
    if (const auto error = check(submission)) return error;
    // A slow dispatcher may owe completions.
    if (news_.awaits().size() >= options_.max_awaits) return Errc::too_many_awaits;
    const TimePoint start = port_->now();
    const auto ticket = protocol_.open_await({.quorum = quorum,
                                              .events = static_cast<std::uint32_t>(submission.keys.size()),
                                              .deadline = deadline_after(start, timeout),
                                              .heard_here = submission.scope != Scope::remote,
                                              .heard_elsewhere = submission.scope != Scope::local},
                                             start);
    if (!ticket) return Errc::too_many_awaits;
    news_.awaits().add(*ticket, call);
    if (submission.scope != Scope::local) submit_all(submission, ticket, lock);
    protocol_.submitted(*ticket);
    settle(lock);
    return {};
  }

  /// What tells the engine that this node's own handlers have returned from an awaited event: see LocalBus::deliver.
  [[nodiscard]] auto answers_for(const AwaitCall& call) {
    return [self = shared_from_this(), ticket = call.ticket](std::uint32_t event, core::AcknowledgementStatus status) {
      self->input([&] { self->protocol_.heard_here(ticket, event, status); });
    };
  }

  /// See ForkMark; what user code has kept of it, a stop callback or an executor's task, then does nothing.
  [[nodiscard]] bool forked() const noexcept { return subscribers_->forked(); }

  /// Also after close.
  void cancel(std::uint64_t ticket) noexcept {
    input([&] { protocol_.cancel_await(ticket, Errc::canceled); });
  }

  /// Waits until the broker has confirmed everything accepted so far, or the engine is closed.
  [[nodiscard]] std::error_code flush(TimePoint deadline) noexcept {
    std::unique_lock lock{mutex_};
    if (state_ != State::open) return Errc::closed;
    return flush_until(deadline, lock);
  }

  [[nodiscard]] bool closed() const noexcept {
    const std::lock_guard lock{mutex_};
    return state_ == State::closed;
  }

  /// Whether everything accepted before the first call with this `point` is confirmed, or the engine closed. Does not
  /// wait.
  [[nodiscard]] bool flushed(std::optional<std::uint64_t>& point) noexcept {
    const std::lock_guard lock{mutex_};
    return state_ == State::closed || reached(point);
  }

  // --- its life

  /// Whether this node has joined: see core::Protocol. Does not wait.
  [[nodiscard]] bool joined() const noexcept {
    const std::lock_guard lock{mutex_};
    return protocol_.joined();
  }
  [[nodiscard]] bool wait_joined(TimePoint deadline) noexcept {
    std::unique_lock lock{mutex_};
    return changed_.wait_until(lock, deadline, [&] { return protocol_.joined(); });
  }

  /// Flush, goodbye, stop sending, close the transport, stop dispatching. A second call waits for the first.
  [[nodiscard]] std::error_code close(TimePoint deadline) noexcept {
    std::unique_lock lock{mutex_};
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
    // Soon: no port blocks, and no code of the user's runs in there.
    changed_.wait_until(lock, (TimePoint::max)(), [&] { return !running_; });
    sending_ = false;
    lock.unlock();
    port_->close();
    lock.lock();
    const bool stopped = end_dispatch(deadline, deadline, lock);
    return error || stopped ? error : make_error_code(Errc::timed_out);
  }

  /// For a bus whose transport could not be opened.
  void abandon() noexcept {
    std::unique_lock lock{mutex_};
    sending_ = false;
    const Duration to_tell = options_.executor ? Duration::zero() : options_.close_timeout;
    static_cast<void>(end_dispatch(deadline_after(to_tell), (TimePoint::max)(), lock));
  }

  // --- what people see

  [[nodiscard]] Metrics metrics() const {
    const std::lock_guard lock{mutex_};
    return protocol_.metrics();
  }
  [[nodiscard]] Health health() noexcept {
    const std::lock_guard lock{mutex_};
    Health health = protocol_.health(port_->now());
    health.connected = health.connected && state_ == State::open;
    return health;
  }
  [[nodiscard]] std::vector<Peer> peers() const {
    const std::lock_guard lock{mutex_};
    return protocol_.peers(port_->now());
  }

  // --- TransportSink

  void on_frame(Bytes bytes) noexcept override {
    input([&, listening = subscribers_->hears_remote()] { protocol_.on_frame(bytes, listening, port_->now()); });
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
  void on_ready(std::uint64_t session, std::size_t max_frame_bytes) noexcept override {
    input([&] { protocol_.on_ready(session, max_frame_bytes, subscribers_->hears_remote(), port_->now()); });
  }
  void on_wake() noexcept override {
    input([&] {
      protocol_.tick(port_->now());
      news_.look_at_log();
      tell_news();
      changed_.notify_all();  // it may have joined
    });
  }
  void on_problem(std::error_code code, std::string_view sentence) noexcept override {
    input([&] {
      news_.log(code, sentence);
      tell_news();
    });
  }

 private:
  friend class DispatchLoop<Engine>;
  enum class State : std::uint8_t { open, closing, closed };
  static constexpr Duration last_words = std::chrono::milliseconds{100};

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

  void submit_all(const Submission& submission, std::optional<core::Ticket> ticket,
                  std::unique_lock<std::mutex>& lock) noexcept {
    std::optional<TimePoint> deadline;
    core::WireEvent event{.type = submission.type, .version = submission.version};
    if (submission.type == EventType::resync) submit_one(event, std::nullopt, deadline, lock);
    std::uint32_t index = 0;
    for (const std::string_view key : submission.keys) {
      event.key = key;
      submit_one(event, ticket ? std::optional{core::Awaited{*ticket, index++}} : std::nullopt, deadline, lock);
    }
    if (protocol_.has_frame_to_send()) run_actions(lock);
  }

  /// Waits for room up to `deadline`, which the first wait of a call sets; then joins. What no frame takes any more,
  /// because a session with smaller ones began meanwhile, was accepted all the same: a resync goes in its place.
  void submit_one(const core::WireEvent& event, std::optional<core::Awaited> awaited,
                  std::optional<TimePoint>& deadline, std::unique_lock<std::mutex>& lock) noexcept {
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

  [[nodiscard]] std::error_code flush_until(TimePoint deadline, std::unique_lock<std::mutex>& lock) noexcept {
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

  // --- actions

  /// Tells the machine something, and does what it says.
  template <class Tell>
  void input(const Tell& tell) noexcept {
    if (forked()) return;
    std::unique_lock lock{mutex_};
    tell();
    settle(lock);
  }

  void settle(std::unique_lock<std::mutex>& lock) noexcept {
    run_actions(lock);
    dispatch_.post(lock);
    dispatch_.run_inline(lock);
  }

  void run_actions(std::unique_lock<std::mutex>& lock) noexcept {
    if (running_ || !sending_) return;
    running_ = true;
    for (auto action = protocol_.next_action(port_->now()); action.kind != core::Action::Kind::none;
         action = protocol_.next_action(port_->now())) {
      run(action, lock);
    }
    running_ = false;
    if (state_ != State::open) changed_.notify_all();
  }

  void run(const core::Action& action, std::unique_lock<std::mutex>& lock) noexcept {
    using Kind = core::Action::Kind;
    switch (action.kind) {
      case Kind::broadcast:
        return unlocked(lock, [&] { port_->broadcast(action.bytes, {action.session, action.sequence}); });
      case Kind::send: return unlocked(lock, [&] { port_->send(action.destination, action.bytes); });
      case Kind::reopen: return unlocked(lock, [&] { port_->reopen(action.session); });
      case Kind::wake: return unlocked(lock, [&] { port_->wake_at(action.at); });
      case Kind::room: ++rooms_; return changed_.notify_all();
      case Kind::complete: return end_calls();
      case Kind::health: news_.health_changed(); return tell_news();
      case Kind::dispatch: return dispatch_.wake();
      case Kind::none: return;
    }
  }

  void end_calls() noexcept {
    bool completions = false;
    while (auto completion = protocol_.take_completion()) completions |= news_.awaits().end(std::move(*completion));
    if (completions) dispatch_.wake();
  }

  // --- dispatching

  void tell_news() noexcept {
    if (!news_.empty()) dispatch_.wake();
  }

  void post() noexcept try {
    const std::shared_ptr<DispatchLoop<Engine>> dispatch{shared_from_this(), &dispatch_};
    options_.executor([task = std::make_shared<PostedTask<DispatchLoop<Engine>>>(dispatch, port_)] { task->run(); });
  } catch (...) {
    subscribers_->report(LineKind::executor,
                         "the executor threw; unless it has taken its task, it is given another in a moment");
  }

  [[nodiscard]] bool serve(const std::atomic<bool>& leave) noexcept { return port_->serve(leave); }

  [[nodiscard]] bool has_work() const noexcept {
    if (!ending_) return protocol_.has_received() || !news_.empty();
    return options_.executor ? news_.has_lines() : !news_.empty();  // see end_dispatch()
  }

  bool do_one(std::unique_lock<std::mutex>& lock) noexcept {
    if (news_.tell_one([this] { return protocol_.health(port_->now()); }, lock)) return true;
    if (ending_ || !protocol_.take(item_)) return false;
    answers_.clear();
    unlocked(lock, [&] { deliver(item_, *subscribers_, answers_); });
    protocol_.release(answers_, port_->now());
    run_actions(lock);
    return true;
  }

  /// Nobody is called after it, but what runs at `stop_by`. Completions are called and lines told where they always
  /// are, until `tell_by` or a moment behind it, for a flush may have taken all the time. Completions that are left are
  /// called here: no executor is waited for with them, because the calling thread may be the one that runs its tasks.
  [[nodiscard]] bool end_dispatch(TimePoint tell_by, TimePoint stop_by, std::unique_lock<std::mutex>& lock) noexcept {
    ending_ = true;
    news_.end();
    dispatch_.finish((std::max)(tell_by, deadline_after(last_words)), lock);
    const bool ended = dispatch_.stop(stop_by, lock);
    news_.complete_all(lock);
    state_ = State::closed;
    changed_.notify_all();
    return ended;
  }

  const BusOptions options_;
  const bool waits_for_room_;  ///< not where the publishers themselves would make the room
  const std::shared_ptr<LocalDispatch> subscribers_;
  const std::shared_ptr<EnginePort> port_;

  mutable std::mutex mutex_;
  core::Protocol protocol_;
  News news_;
  State state_ = State::open;
  bool ending_ = false;        ///< nothing is heard any more, only told
  bool sending_ = true;        ///< until close has ended the last broadcast
  bool running_ = false;       ///< somebody runs actions
  std::uint64_t rooms_ = 0;    ///< how often there was room again
  CountedCondition changed_;   ///< room, a flush, having joined, the end

  core::ReceiveQueue::Item item_;                 ///< of the dispatch loop; used without the lock
  std::vector<core::Acknowledgement> answers_;    ///< likewise
  DispatchLoop<Engine> dispatch_;
};

}  // namespace syncbus::inline v1::detail
