// Performs the machine's actions: holds the lock, calls the transport, feeds the dispatcher.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/base/counted_condition.hpp>
#include <syncbus/base/deadline.hpp>
#include <syncbus/base/process_mutex.hpp>
#include <syncbus/base/unlocked.hpp>
#include <syncbus/core/protocol.hpp>
#include <syncbus/engine/dispatch_loop.hpp>
#include <syncbus/engine/notifications.hpp>
#include <syncbus/engine/posted_task.hpp>
#include <syncbus/engine/protocol_options.hpp>
#include <syncbus/engine/transport_port.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/deliver.hpp>
#include <syncbus/local/subscribers.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

/// The rules of an engine's locking:
///
///  * `mutex_` guards the machine and all state; it is held for the length of an input, never while a port, a handler
///    or a hook runs.
///  * Actions run with the lock released, in order, by one thread at a time: the thread that gives an input runs them,
///    unless another runs actions already, which then runs these too.
///  * Handlers, hooks and completions run in the DispatchLoop, by one thread at a time likewise.
///
/// In a forked child nothing of it moves: see ProcessMutex.
class ActionRunner : public std::enable_shared_from_this<ActionRunner> {
 protected:
  using Lock = ProcessMutex::Lock;
  enum class State : std::uint8_t { open, closing, closed };
  static constexpr Duration last_words = std::chrono::milliseconds{100};

  ActionRunner(NodeId self, const BusOptions& options, bool lossless_sessions, bool inline_dispatch,
               std::shared_ptr<Subscribers> subscribers, std::shared_ptr<TransportPort> port)
      : options_{options},
        subscribers_{std::move(subscribers)},
        port_{std::move(port)},
        protocol_{protocol_options(self, options, lossless_sessions, subscribers_->hash_secret())},
        notifications_{options_, subscribers_},
        dispatch_{options.executor ? Dispatching::executor
                                   : (inline_dispatch ? Dispatching::inline_ : Dispatching::thread),
                  port_->lendable(), *this, mutex_} {}
  ~ActionRunner() = default;

  /// Tells the machine something, and does what it says.
  template <class Tell>
  void input(const Tell& tell) noexcept {
    mutex_.locked([&](Lock& lock) {
      tell();
      settle(lock);
    });
  }

  void settle(Lock& lock) noexcept {
    run_actions(lock);
    dispatch_.post(lock);
    dispatch_.run_inline(lock);
  }

  void run_actions(Lock& lock) noexcept {
    if (running_ || !sending_) return;
    running_ = true;
    for (auto action = protocol_.next_action(port_->now()); action.kind != core::Action::Kind::none;
         action = protocol_.next_action(port_->now())) {
      run(action, lock);
    }
    running_ = false;
    if (state_ != State::open) changed_.notify_all();
  }

  void tell_news() noexcept {
    if (!notifications_.empty()) dispatch_.wake();
  }

  /// After it no user code is called; what still runs at `stop_by` goes on. Completions are called and lines told where
  /// they always are, until `tell_by`, or for `last_words` if a flush has taken all the time. Completions that are left
  /// are called here and wait for no executor, because the calling thread may be the one that runs its tasks.
  [[nodiscard]] bool end_dispatch(TimePoint tell_by, TimePoint stop_by, Lock& lock) noexcept {
    ending_ = true;
    notifications_.end();
    dispatch_.finish((std::max)(tell_by, deadline_after(last_words)), lock);
    const bool ended = dispatch_.stop(stop_by, lock);
    notifications_.complete_all(lock);
    state_ = State::closed;
    changed_.notify_all();
    return ended;
  }

 private:
  friend class DispatchLoop<ActionRunner>;

  // --- actions

  void run(const core::Action& action, Lock& lock) noexcept {
    using Kind = core::Action::Kind;
    switch (action.kind) {
      case Kind::broadcast:
        return unlocked(lock, [&] { port_->broadcast(action.bytes, {action.session, action.sequence}); });
      case Kind::send: return unlocked(lock, [&] { port_->send(action.destination, action.bytes); });
      case Kind::reopen: return unlocked(lock, [&] { port_->reopen(action.session); });
      case Kind::wake: return unlocked(lock, [&] { port_->wake_at(action.at); });
      case Kind::room: ++rooms_; return changed_.notify_all();
      case Kind::complete: return end_calls();
      case Kind::left_out:
        notifications_.log(LineKind::max_peers, [this] { return max_peers_is_too_small(options_.max_peers); });
        return tell_news();
      case Kind::doubled:
        notifications_.log(LineKind::doubled, [&] { return id_is_doubled(action.destination); });
        return tell_news();
      case Kind::health: notifications_.health_changed(); return tell_news();
      case Kind::dispatch: return dispatch_.wake();
      case Kind::none: return;
    }
  }

  void end_calls() noexcept {
    bool completions = false;
    while (auto completion = protocol_.take_completion())
      completions |= notifications_.awaits().end(std::move(*completion));
    if (completions) dispatch_.wake();
  }

  // --- dispatching

  void post() noexcept {
    using Task = PostedTask<DispatchLoop<ActionRunner>>;
    try {
      const std::shared_ptr<DispatchLoop<ActionRunner>> dispatch{shared_from_this(), &dispatch_};
      options_.executor([task = std::make_shared<Task>(dispatch, port_)] { task->run(); });
    } catch (...) {
      subscribers_->report(LineKind::executor, [] {
        return std::string{"the executor threw; unless it has taken its task, it is given another in a moment"};
      });
    }
    subscribers_->fork_mark().require_parent();
  }

  [[nodiscard]] bool serve(const std::atomic<bool>& leave) noexcept { return port_->serve(leave); }

  [[nodiscard]] bool has_work() const noexcept {
    if (!ending_) return protocol_.has_received() || !notifications_.empty();
    return options_.executor ? notifications_.has_lines() : !notifications_.empty();  // see end_dispatch()
  }

  bool do_one(Lock& lock) noexcept {
    if (notifications_.deliver_one([this] { return protocol_.health(port_->now()); }, lock)) return true;
    if (ending_ || !protocol_.take(item_)) return false;
    answers_.clear();
    unlocked(lock, [&] { deliver(item_, *subscribers_, answers_); });
    protocol_.release(answers_, port_->now());
    run_actions(lock);
    return true;
  }

 protected:
  const BusOptions options_;
  const std::shared_ptr<Subscribers> subscribers_;
  const std::shared_ptr<TransportPort> port_;

  ProcessMutex mutex_{subscribers_->fork_mark()};
  core::Protocol protocol_;
  Notifications notifications_;
  State state_ = State::open;
  bool ending_ = false;        ///< nothing is heard any more, only told
  bool sending_ = true;        ///< until close has ended the last broadcast
  bool running_ = false;       ///< somebody runs actions
  std::uint64_t rooms_ = 0;    ///< how often there was room again
  CountedCondition changed_;   ///< room, a flush, having joined, the end

  core::ReceiveQueue::Item item_;                 ///< of the dispatch loop; used without the lock
  std::vector<core::Acknowledgement> answers_;    ///< likewise
  DispatchLoop<ActionRunner> dispatch_;
};

}  // namespace syncbus::inline v1::detail
