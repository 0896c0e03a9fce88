// The shell around the protocol machine: its lock, its clock, and the thread on which remote events are heard.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <syncbus/bus.hpp>
#include <syncbus/core/protocol.hpp>
#include <syncbus/detail/bounded_log.hpp>
#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/deliver.hpp>
#include <syncbus/detail/handler_scope.hpp>
#include <syncbus/detail/local_dispatch.hpp>
#include <syncbus/error.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// The part of a transport that the engine drives, without the transport's type: one engine serves every broker.
class TransportPort {
 public:
  virtual void broadcast(Bytes bytes, BroadcastToken token) noexcept = 0;
  virtual void close() noexcept = 0;

 protected:
  ~TransportPort() = default;
};

/// Where remote events are dispatched.
enum class Dispatching : std::uint8_t {
  thread,    ///< on a thread of the engine's own
  executor,  ///< as tasks of BusOptions::executor, one at a time
  inline_,   ///< on the thread that brought the frame
};

/// Everything a node does beyond its own threads of publishers. The rules of its locking:
///
///  * `mutex_` guards the machine and all state; it is held for the length of an input, never while a transport, a handler
///    or a hook runs.
///  * Actions run with the lock released, in order, by one thread at a time: whoever gives an input runs them, unless
///    another is at it already, who then runs these too.
///  * The dispatch loop is run by one thread at a time likewise.
///
/// Owned by shared_ptr: its thread and the executor's tasks keep it alive, so that close can leave a handler that does not
/// return behind.
class Engine final : public TransportSink, public std::enable_shared_from_this<Engine> {
 public:
  Engine(NodeId self, const BusOptions& options, bool lossless_sessions, bool inline_dispatch,
         std::shared_ptr<LocalDispatch> subscribers)
      : self_{self},
        options_{options},
        waits_for_room_{!inline_dispatch && options.send_wait > Duration::zero()},
        dispatching_{options.executor ? Dispatching::executor
                                      : (inline_dispatch ? Dispatching::inline_ : Dispatching::thread)},
        subscribers_{std::move(subscribers)},
        protocol_{{.self = self,
                   .publish_only = options.publish_only,
                   .lossless_sessions = lossless_sessions,
                   .heartbeat = options.heartbeat,
                   .history_bytes = options.history_bytes,
                   .queue_bytes = options.queue_bytes,
                   .pending_bytes = options.pending_bytes,
                   .max_peers = options.max_peers}} {}

  /// Before the transport is opened.
  void start(TransportPort& port) {
    port_ = &port;
    if (dispatching_ != Dispatching::thread) return;
    dispatcher_alive_ = true;
    dispatcher_ = std::thread{[self = shared_from_this()] { self->dispatch_until_stopped(); }};
  }

  /// Takes all events or none. See BusFacade::publish for what it waits for.
  [[nodiscard]] std::error_code submit(const Submission& submission) noexcept {
    std::unique_lock lock{mutex_};
    if (state_ != State::open) return Errc::closed;
    core::WireEvent event{.type = submission.type, .version = submission.version};
    for (const std::string_view key : submission.keys) {
      event.key = key;
      if (!protocol_.fits(event)) return Errc::frame_too_large;
    }
    std::optional<TimePoint> deadline;
    if (submission.type == EventType::resync) submit_one({.type = EventType::resync}, deadline, lock);
    for (const std::string_view key : submission.keys) {
      event.key = key;
      submit_one(event, deadline, lock);
    }
    run_actions(lock);
    return {};
  }

  /// Waits until the broker has confirmed everything accepted so far.
  [[nodiscard]] std::error_code flush(TimePoint deadline) noexcept {
    std::unique_lock lock{mutex_};
    if (state_ != State::open) return Errc::closed;
    return flush_until(deadline, lock);
  }

  /// Whether everything accepted before the first call with this `point` is confirmed, or the engine closed. Does not wait.
  [[nodiscard]] bool flushed(std::optional<std::uint64_t>& point) noexcept {
    const std::lock_guard lock{mutex_};
    return state_ == State::closed || reached(point);
  }

  /// Flush, stop sending, close the transport, stop dispatching. A second call waits for the first.
  [[nodiscard]] std::error_code close(TimePoint deadline) noexcept {
    std::unique_lock lock{mutex_};
    if (state_ != State::open) {
      const bool ended = changed_.wait_until(lock, deadline, [&] { return state_ == State::closed; });
      return ended ? std::error_code{} : make_error_code(Errc::timed_out);
    }
    state_ = State::closing;
    changed_.notify_all();  // who waits for room joins instead
    const auto error = flush_until(deadline, lock);
    changed_.wait(lock, [&] { return !running_; });
    sending_ = false;
    lock.unlock();
    port_->close();
    lock.lock();
    const auto stopped = stop_dispatching(deadline, lock);
    state_ = State::closed;
    changed_.notify_all();
    return error ? error : stopped;
  }

  /// For a bus whose transport could not be opened.
  void abandon() noexcept {
    std::unique_lock lock{mutex_};
    state_ = State::closed;
    sending_ = false;
    static_cast<void>(stop_dispatching((TimePoint::max)(), lock));
  }

  [[nodiscard]] Metrics metrics() const {
    const std::lock_guard lock{mutex_};
    return protocol_.metrics();
  }

  [[nodiscard]] bool connected() const noexcept {
    const std::lock_guard lock{mutex_};
    return state_ == State::open && protocol_.connected();
  }

  // --- TransportSink

  void on_frame(Bytes bytes) noexcept override {
    std::unique_lock lock{mutex_};
    protocol_.on_frame(bytes, now());
    settle(lock);
  }

  void on_confirmed(BroadcastToken token) noexcept override {
    std::unique_lock lock{mutex_};
    protocol_.on_confirmed(token.frame);
    settle(lock);
  }

  void on_interrupted() noexcept override {
    std::unique_lock lock{mutex_};
    protocol_.on_interrupted(now());
    settle(lock);
  }

  void on_ready(std::uint64_t session, std::size_t max_frame_bytes) noexcept override {
    std::unique_lock lock{mutex_};
    protocol_.on_ready(session, max_frame_bytes);
    settle(lock);
  }

  void on_problem(std::error_code, std::string_view sentence) noexcept override {
    if (!options_.on_log) return;
    std::unique_lock lock{mutex_};
    log_.add(sentence);
    wake_dispatcher(lock);
    settle(lock);
  }

 private:
  enum class State : std::uint8_t { open, closing, closed };

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  /// Waits for room up to `deadline`, which the first wait of a call sets; then joins.
  void submit_one(const core::WireEvent& event, std::optional<TimePoint>& deadline,
                  std::unique_lock<std::mutex>& lock) noexcept {
    bool may_join = !waits_for_room_;
    while (protocol_.submit(event, may_join) == core::Submitted::no_room) {
      run_actions(lock);
      if (!deadline) deadline = deadline_after(now(), options_.send_wait);
      const bool late = wait(*deadline, lock) == std::cv_status::timeout;
      may_join = late || state_ != State::open;
    }
  }

  [[nodiscard]] std::error_code flush_until(TimePoint deadline, std::unique_lock<std::mutex>& lock) noexcept {
    std::optional<std::uint64_t> point;
    while (true) {
      if (reached(point)) return {};
      if (wait(deadline, lock) == std::cv_status::timeout) {
        return protocol_.connected() ? Errc::timed_out : Errc::not_connected;
      }
    }
  }

  [[nodiscard]] bool reached(std::optional<std::uint64_t>& point) noexcept {
    if (!point) point = protocol_.flush_point();
    return point && protocol_.confirmed() >= *point;
  }

  std::cv_status wait(TimePoint deadline, std::unique_lock<std::mutex>& lock) noexcept {
    ++waiting_;
    const auto status = changed_.wait_until(lock, deadline);
    --waiting_;
    return status;
  }

  // --- actions

  void settle(std::unique_lock<std::mutex>& lock) noexcept {
    run_actions(lock);
    if (dispatching_ == Dispatching::inline_) dispatch_all(lock);
  }

  void run_actions(std::unique_lock<std::mutex>& lock) noexcept {
    if (running_ || !sending_) return;
    running_ = true;
    for (auto action = protocol_.next_action(); action.kind != core::Action::Kind::none;
         action = protocol_.next_action()) {
      run(action, lock);
    }
    running_ = false;
    if (state_ != State::open) changed_.notify_all();
  }

  void run(const core::Action& action, std::unique_lock<std::mutex>& lock) noexcept {
    switch (action.kind) {
      case core::Action::Kind::send:
        lock.unlock();
        port_->broadcast(action.bytes, {action.session, action.sequence});
        lock.lock();
        return;
      case core::Action::Kind::room:
        if (waiting_ != 0) changed_.notify_all();
        return;
      case core::Action::Kind::health: health_due_ = true; [[fallthrough]];
      case core::Action::Kind::dispatch: wake_dispatcher(lock); return;
      case core::Action::Kind::none: return;
    }
  }

  // --- dispatching

  void wake_dispatcher(std::unique_lock<std::mutex>& lock) noexcept {
    if (dispatching_ == Dispatching::thread && dispatcher_idle_) {
      work_.notify_one();
    } else if (dispatching_ == Dispatching::executor && !std::exchange(task_posted_, true)) {
      lock.unlock();
      const bool posted = post_task();
      lock.lock();
      if (!posted) task_posted_ = false;
    }
  }

  [[nodiscard]] bool post_task() noexcept try {
    options_.executor([self = shared_from_this()] { self->run_task(); });
    return true;
  } catch (...) {
    subscribers_->report("the executor threw; its task is posted again with the next frame");
    return false;
  }

  void run_task() noexcept {
    std::unique_lock lock{mutex_};
    dispatch_all(lock);
    task_posted_ = false;
  }

  void dispatch_until_stopped() noexcept {
    std::unique_lock lock{mutex_};
    while (!stopping_) {
      dispatch_all(lock);
      dispatcher_idle_ = true;
      work_.wait(lock, [&] { return stopping_ || has_work(); });
      dispatcher_idle_ = false;
    }
    dispatcher_alive_ = false;
    changed_.notify_all();
  }

  [[nodiscard]] bool has_work() const noexcept {
    return protocol_.has_received() || health_due_ || !log_.empty();
  }

  void dispatch_all(std::unique_lock<std::mutex>& lock) noexcept {
    if (std::exchange(dispatching_now_, true)) return;
    while (!stopping_ && dispatch_one(lock)) {
    }
    dispatching_now_ = false;
    if (stopping_) changed_.notify_all();
  }

  bool dispatch_one(std::unique_lock<std::mutex>& lock) noexcept {
    if (std::exchange(health_due_, false)) {
      const Health health = protocol_.health(now());
      lock.unlock();
      if (options_.on_health) subscribers_->run_hook([&] { options_.on_health(health); });
      lock.lock();
      return true;
    }
    if (const auto line = log_.take()) {
      lock.unlock();
      subscribers_->report(*line);
      lock.lock();
      return true;
    }
    if (!protocol_.take(item_)) return false;
    lock.unlock();
    deliver(item_, *subscribers_);
    lock.lock();
    protocol_.release();
    run_actions(lock);
    return true;
  }

  /// Ends the dispatch loop; a handler that does not return by the deadline is left behind, with all it needs.
  [[nodiscard]] std::error_code stop_dispatching(TimePoint deadline, std::unique_lock<std::mutex>& lock) noexcept {
    stopping_ = true;
    work_.notify_all();
    const bool ended =
        changed_.wait_until(lock, deadline, [&] { return !dispatcher_alive_ && !dispatching_now_; });
    if (dispatcher_.joinable()) {
      lock.unlock();
      ended ? dispatcher_.join() : dispatcher_.detach();
      lock.lock();
    }
    return ended ? std::error_code{} : make_error_code(Errc::timed_out);
  }

  const NodeId self_;
  const BusOptions options_;
  const bool waits_for_room_;  ///< not where the publishers themselves would make the room
  const Dispatching dispatching_;
  const std::shared_ptr<LocalDispatch> subscribers_;
  TransportPort* port_ = nullptr;

  mutable std::mutex mutex_;
  core::Protocol protocol_;
  BoundedLog log_;
  State state_ = State::open;
  bool sending_ = true;           ///< until close has ended the last broadcast
  bool running_ = false;          ///< somebody runs actions
  std::size_t waiting_ = 0;       ///< threads that wait for room or a flush
  std::condition_variable changed_;

  core::ReceiveQueue::Item item_;  ///< of the dispatch loop; used without the lock
  bool health_due_ = false;
  bool dispatching_now_ = false;   ///< somebody runs the dispatch loop
  bool dispatcher_idle_ = false;   ///< our thread waits for work
  bool dispatcher_alive_ = false;
  bool task_posted_ = false;
  bool stopping_ = false;
  std::condition_variable work_;
  std::thread dispatcher_;
};

}  // namespace syncbus::inline v1::detail
