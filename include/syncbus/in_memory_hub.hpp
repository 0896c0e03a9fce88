// The hub of several InMemoryBus nodes in one process: inline delivery, faults on demand, virtual time.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>

#include <syncbus/base/fork_mark.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport/memory/hub_state.hpp>

namespace syncbus::inline v1 {

/// How a hub works. Every member has a default.
struct HubOptions {
  std::uint64_t seed =
      7;  ///< decides the ids of the nodes and which frames meet a fault: the same calls, the same outcome
  bool real_time = false;  ///< the steady clock instead of virtual time: for tests with many threads
};

/// Where InMemoryBus nodes of one process meet. Each publish is delivered inline: when it returns, outside handlers,
/// every node on the hub has heard it, through the same engine and codec that brokers use.
///
/// Time is virtual: it begins at a fixed point and moves only in advance() and in calls of the nodes that wait
/// (publish_and_await, flush, close, Mailbox::receive, a constructor), from one timer to the next. So a timeout takes
/// no time, and one thread with one seed sees the same every time. Time stands still while a frame is delivered, and
/// while a handler or an executor's task is unfinished, so a call that waits beside another thread's handler waits for
/// that too, beyond its timeout. An executor must not have the thread that waits run its tasks: when none of them
/// begins to run for a second of real time, or the call's timeout if that is longer (ten seconds at most), the call
/// ends with would_deadlock; receive, advance and the constructor throw it, and close, which is done all the same,
/// answers timed_out. With `real_time` it is the steady clock, and a thread of the hub serves the timers.
///
/// Faults act on copies: one frame to one receiver. They never touch what a node hears of itself, nor a publisher's
/// confirmation. All nodes hear frames in one order, which only reorder() disturbs: behind a delayed copy the others,
/// the node's own too, wait. The calls concern what is published from now on; drop, duplicate, reorder and delay are
/// set back by calling them with zero.
///
/// Arguments out of range throw std::system_error (invalid_argument) with a sentence, and everything does (forked) in a
/// process that was forked off the one that made the hub.
/// Thread safety: shared objects safe; handlers may call everything but advance(), and nothing else blocks. The hub may
/// end before its nodes, which keep what is behind it alive.
class InMemoryHub {
 public:
  InMemoryHub() : InMemoryHub{HubOptions{}} {}
  explicit InMemoryHub(HubOptions options)
      : state_{std::make_shared<detail::HubState>(options.seed, options.real_time)} {}

  InMemoryHub(const InMemoryHub&) = delete;
  InMemoryHub& operator=(const InMemoryHub&) = delete;
  ~InMemoryHub() {
    if (state_->forked()) detail::leave_behind(state_);
  }

  /// A copy is lost with this probability.
  void drop(double probability) {
    state_->change_faults([=](detail::HubFaults& faults) { faults.set_drop(probability); });
  }

  /// A copy that is not lost arrives twice with this probability.
  void duplicate(double probability) {
    state_->change_faults([=](detail::HubFaults& faults) { faults.set_duplicate(probability); });
  }

  /// A copy is held back with this probability, and arrives behind the next one to the same receiver; when none comes,
  /// before time moves on: advance() by zero releases it. In real time it is held for a millisecond at most.
  void reorder(double probability) {
    state_->change_faults([=](detail::HubFaults& faults) { faults.set_reorder(probability); });
  }

  /// A copy arrives after a time between `min` and `max`, each equally likely, but not before what was sent earlier to
  /// the same receiver.
  void delay(Duration min, Duration max) {
    state_->change_faults([=](detail::HubFaults& faults) { faults.set_delay(min, max); });
  }

  /// These nodes hear only each other. A further call makes a further group; a node that it names leaves the group in
  /// which it was. Nodes in no group hear each other. What is on its way across the new border is lost, what is sent
  /// across it too. Ids of nodes that are not here count for nothing.
  void partition(std::initializer_list<NodeId> nodes) { state_->partition({nodes.begin(), nodes.size()}); }
  void partition(std::span<const NodeId> nodes) { state_->partition(nodes); }

  /// Ends every partition. What was lost stays lost; the other faults go on.
  void heal() {
    state_->change_faults([](detail::HubFaults& faults) { faults.heal(); });
  }

  /// That node is gone without a goodbye, also when its object is closed or destroyed later: nothing that it sends
  /// arrives any more, and it hears nothing, not even itself. The object believes otherwise: its broadcasts are
  /// confirmed, so that closing it ends at once, and its timers go on. What it sent before arrives. Throws also when
  /// the node is not here.
  void crash(NodeId node) { state_->crash(node); }

  /// Moves virtual time on, through everything that is due until then, at its time; what that brings about is delivered
  /// before time moves further. Waits until executors have run their tasks (so it is not for such a task to call), and,
  /// when other threads wait on this hub, at their deadlines until their calls have ended. What is longer than a year,
  /// such as Duration::max(), asks for the end of time, which the nodes' timers never reach: it moves a day, in which
  /// whatever was under way has come to its end. Throws would_deadlock inside a handler, and when an executor does not
  /// run its tasks; invalid_argument when `duration` is negative or the hub is in real time.
  void advance(Duration duration) { state_->advance(duration); }

  /// The time on this hub. Outside real_time it has nothing to do with any clock.
  [[nodiscard]] TimePoint now() const noexcept { return state_->now(); }

 private:
  friend class InMemoryBus;
  friend class InMemoryTransport;

  std::shared_ptr<detail::HubState> state_;
};

}  // namespace syncbus::inline v1
