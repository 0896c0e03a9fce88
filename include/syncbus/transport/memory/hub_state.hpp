// The state of an InMemoryHub: who delivers, who waits, and when time moves.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <syncbus/base/fork_mark.hpp>
#include <syncbus/base/handler_scope.hpp>
#include <syncbus/base/process_mutex.hpp>
#include <syncbus/base/start_thread.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/base/waiting.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/memory/hub_clock.hpp>
#include <syncbus/transport/memory/hub_deadlines.hpp>
#include <syncbus/transport/memory/hub_deliverer.hpp>
#include <syncbus/transport/memory/hub_network.hpp>
#include <syncbus/transport/memory/hub_node.hpp>
#include <syncbus/transport/memory/hub_queue.hpp>
#include <syncbus/transport/memory/hub_tasks.hpp>

namespace syncbus::inline v1::detail {

/// How a call that waited on a hub ended.
enum class Settled : std::uint8_t {
  done,
  late,   ///< the deadline has passed, or time cannot move here
  stuck,  ///< time stands still, because an executor does not run its tasks: see HubPatience
};

/// One thread at a time is the drainer (see HubDeliverer). What others broadcast meanwhile queues behind.
///
/// Time is virtual: it moves only in settle_until() and advance(), from one due thing to the next, and only while
/// nothing is queued, nobody is the drainer, and no task is unfinished. In real time it is the steady clock, and the
/// hub's own thread delivers what time brings.
///
/// Thread safety: all of it. Every call but now() takes the hub's lock, which is also held while a `done` is asked:
/// what a `done` locks must not be held by whoever calls.
class HubState final : public Waiting, public std::enable_shared_from_this<HubState> {
 public:

  HubState(std::uint64_t seed, bool real_time)
      : clock_{real_time},
        network_{seed, real_time ? longest_hold : Duration::zero()},
        deliverer_{network_, clock_, progress_} {
    if (real_time) server_ = start_thread([this] { serve(); });
  }
  HubState(const HubState&) = delete;
  HubState& operator=(const HubState&) = delete;

  ~HubState() override {
    if (!server_.joinable()) return;
    mutex_.locked([this] {
      ending_ = true;
      progress_.notify_all();
    });
    server_.join();
  }

  /// Whether this process is not the one that made it. Then what belongs to a node's object changes nothing, calls of
  /// the hub throw, and it must not be destroyed: a thread that is not there waits in it.
  [[nodiscard]] bool forked() const noexcept { return mutex_.forked(); }

  // --- nodes

  [[nodiscard]] NodeId draw_id() {
    refuse_children();
    return mutex_.locked([this] { return network_.draw_id(); }, NodeId{});
  }

  [[nodiscard]] std::shared_ptr<HubNode> join(const TransportSettings& settings, TransportSink& sink) {
    auto node = std::make_shared<HubNode>(
        HubNode{.id = settings.self, .publish_only = settings.publish_only, .sink = &sink});
    mutex_.locked([&] { network_.add(node); });
    return node;
  }

  /// When it returns, nobody calls the node's sink, and nobody will.
  void leave(const std::shared_ptr<HubNode>& node) noexcept {
    mutex_.locked([&](Lock& lock) {
      network_.remove(node);
      if (deliverer_.is_me()) return;
      progress_.wait(lock, [&] { return !deliverer_.is_telling(*node); });
    });
  }

  void broadcast(const std::shared_ptr<HubNode>& origin, Bytes bytes, BroadcastToken token) {
    enqueue({.kind = HubItem::Kind::broadcast, .origin = origin, .token = token}, bytes);
  }

  void send(const std::shared_ptr<HubNode>& origin, NodeId destination, Bytes bytes) {
    enqueue({.kind = HubItem::Kind::directed, .origin = origin, .destination = destination}, bytes);
  }

  /// Has the node interrupted, and ready again in its next session, when the queue has come so far.
  void reopen(const std::shared_ptr<HubNode>& node, std::uint64_t session) {
    enqueue({.kind = HubItem::Kind::reopen, .origin = node, .token = {.session = session}}, {});
  }

  /// Replaces what was asked for before; `never` asks for nothing.
  void wake_at(HubNode& node, TimePoint time) noexcept {
    mutex_.locked([&] {
      node.wake = time;
      if (clock_.real_time()) progress_.notify_all();
    });
  }

  // --- waiting

  /// Drains the hub until `done()`; while another thread does that, waits. Time does not move. Inside a handler it
  /// comes back at once. When that handler's dispatch has ended this thread drains, but does not wait: the thread that
  /// it would wait for may wait for the hub that this thread is draining.
  template <class Done>
  void settle(const Done& done) noexcept {
    if (HazardRecord* const inside = hazards_.of_handler()) {
      HandlerScope::defer(*inside, [self = shared_from_this()]() noexcept { self->deliver_queued(); });
      return;
    }
    mutex_.locked([&](Lock& lock) {
      if (deliverer_.is_me()) return;
      while (!done()) deliverer_.can_be_me() ? deliverer_.drain(done, lock) : wait(lock);
    });
  }

  /// The same until nothing is queued: for work that may have broadcast and was no publish.
  void settle_all() noexcept {
    settle([this] { return deliverer_.queue_empty(); });
  }

  /// Drains the hub and moves time until `done()`, but not beyond the deadline, nor that of any other call that waits.
  /// When it is late, what is due at the deadline itself has happened. An endless deadline waits for other threads when
  /// nothing is due any more. Where time cannot move, inside a handler or a sink, it only asks. In real time it waits,
  /// inside a handler too, unless that is one which the hub's drainer runs. `patience`: see HubPatience.
  template <class Done>
  [[nodiscard]] Settled settle_until(TimePoint deadline, Duration patience, const Done& done) noexcept {
    const auto now_or_late = [](bool ended) { return ended ? Settled::done : Settled::late; };
    return mutex_.locked(
        [&](Lock& lock) {
          if (deliverer_.is_me()) return now_or_late(done());
          if (clock_.real_time()) return now_or_late(settle_in_real_time(deadline, done, lock));
          if (in_handler(hazards_)) return now_or_late(done());
          HubDeadlines::Call call{.deadline = deadline};
          deadlines_.add(call);
          const Settled settled = settle_in_virtual_time(call, HubPatience{tasks_, patience}, done, lock);
          deadlines_.remove(call);
          progress_.notify_all();
          return settled;
        },
        Settled::late);
  }

  [[nodiscard]] bool wait_for(Duration timeout, const std::function<bool()>& done) override {
    const Settled settled = settle_until(deadline_after(now(), timeout), timeout, done);
    if (settled == Settled::stuck) throw_stuck("Mailbox::receive");
    return settled == Settled::done;
  }

  /// For a call that was stuck and cannot return an error.
  [[noreturn]] static void throw_stuck(const char* call) {
    throw std::system_error{Errc::would_deadlock,
                            std::string{call} + ": an executor holds a task of a node on this hub and does not run it, "
                            "and until it does, time stands still: have another thread than this one run its tasks"};
  }

  /// For a change that no frame brought, which may have made the `done` of a waiting call true.
  void recheck() noexcept override {
    mutex_.locked([this] { progress_.notify_all(); });
  }

  /// Time stands still from task_began(), when an executor is given a task, by way of task_runs(), to task_ended(),
  /// when it has run it. What the task broadcast is delivered then, unless another thread is at it; it is not waited
  /// for.
  void task_began() noexcept { tasks_.began(); }
  void task_runs() noexcept { tasks_.runs(); }
  void task_ended() noexcept {
    mutex_.locked([this](Lock& lock) {
      if (deliverer_.can_be_me() && !in_handler(hazards_)) deliverer_.drain_queued(lock);
      tasks_.ended();
      if (tasks_.none() || tasks_.all_wait()) progress_.notify_all();
    });
  }

  // --- time and faults: see InMemoryHub

  /// Takes no lock.
  [[nodiscard]] TimePoint now() const noexcept { return clock_.now(); }

  void advance(Duration duration) {
    refuse_children();
    if (clock_.real_time()) {
      throw std::system_error{Errc::invalid_argument, "InMemoryHub::advance: in real time nobody moves time"};
    }
    if (duration < Duration::zero()) {
      throw std::system_error{Errc::invalid_argument, "InMemoryHub::advance: time does not go back"};
    }
    if (in_handler(hazards_) || called_by_drainer()) {
      throw std::system_error{Errc::would_deadlock, "InMemoryHub::advance: time stands still while a handler runs"};
    }
    const Duration finite = duration > longest_time ? Duration{std::chrono::hours{24}} : duration;
    if (settle_until(deadline_after(now(), finite), finite, [] { return false; }) == Settled::stuck) {
      throw_stuck("InMemoryHub::advance");
    }
  }

  /// Has `change(HubFaults&)` change the faults.
  template <class Change>
  void change_faults(const Change& change) {
    refuse_children();
    mutex_.locked([&] { change(network_.faults()); });
  }

  void partition(std::span<const NodeId> group) {
    refuse_children();
    mutex_.locked([&] { network_.partition(group); });
  }

  void crash(NodeId id) {
    refuse_children();
    mutex_.locked([&] { network_.crash(id); });
  }

 private:
  using Lock = ProcessMutex::Lock;
  using Due = HubNetwork::Due;

  static constexpr Duration longest_hold = std::chrono::milliseconds{1};  // in real time

  void refuse_children() const {
    if (forked()) throw std::system_error{Errc::forked, "InMemoryHub"};
  }

  /// What is queued now is delivered, by this thread or by the drainer. It does not wait for the drainer.
  void deliver_queued() noexcept {
    mutex_.locked(
        [this](Lock& lock) { deliverer_.exists() ? deliverer_.promise_all() : deliverer_.drain_queued(lock); });
  }

  [[nodiscard]] bool called_by_drainer() const noexcept {
    return mutex_.locked([this] { return deliverer_.is_me(); }, false);
  }

  void enqueue(HubItem item, Bytes bytes) {
    mutex_.locked([&] {
      deliverer_.push(std::move(item), bytes);
      if (waiting_ != 0) progress_.notify_all();
    });
  }

  // --- All below is called under the lock.

  void wait(Lock& lock) noexcept {
    ++waiting_;
    progress_.wait(lock);
    --waiting_;
  }

  void wait_until(TimePoint time, Lock& lock) noexcept {
    ++waiting_;
    progress_.wait_until(lock, time);
    --waiting_;
  }

  // --- time

  template <class Done>
  Settled settle_in_virtual_time(const HubDeadlines::Call& call, HubPatience patience, const Done& done,
                                 Lock& lock) noexcept {
    while (!done()) {
      if (call.passed) return Settled::late;
      if (deliverer_.can_be_me()) {
        deliverer_.drain(done, lock);
      } else if (!time_may_move() || !move_time(done, lock)) {
        const TimePoint end = patience.end();
        if (end <= std::chrono::steady_clock::now()) return Settled::stuck;
        wait_until(end, lock);
      }
    }
    return Settled::done;
  }

  /// A call whose deadline has come ends before time leaves it.
  [[nodiscard]] bool time_may_move() const noexcept {
    return !deliverer_.exists() && tasks_.none() && !deadlines_.any_passed();
  }

  /// To the next due thing, or to the earliest deadline. False: nothing is due and no deadline is set.
  template <class Done>
  bool move_time(const Done& done, Lock& lock) noexcept {
    const TimePoint limit = deadlines_.earliest();
    if (bring_next(limit, done, lock)) return true;
    if (limit == never) return false;
    clock_.move_to(limit);
    deadlines_.pass(now());
    progress_.notify_all();
    return true;
  }

  /// Does what is due first, if it is due by `limit`, and delivers what comes of it.
  template <class Done>
  bool bring_next(TimePoint limit, const Done& done, Lock& lock) noexcept {
    const Due due = next_due();
    if (due.at > limit || due.at == never) return false;
    clock_.move_to(due.at);
    deliverer_.bring(due, done, lock);
    return true;
  }

  [[nodiscard]] Due next_due() const noexcept { return network_.next_due(clock_.real_time() ? TimePoint{} : now()); }

  // --- real time

  template <class Done>
  bool settle_in_real_time(TimePoint deadline, const Done& done, Lock& lock) noexcept {
    const bool may_drain = !in_handler(hazards_);
    while (!done()) {
      if (may_drain && deliverer_.can_be_me()) {
        deliverer_.drain(done, lock);
      } else if (now() >= deadline) {
        return false;
      } else {
        wait_until(deadline, lock);
      }
    }
    return true;
  }

  /// The hub's own thread: brings what is due, and delivers what nobody else does.
  void serve() noexcept {
    constexpr auto never_done = [] { return false; };
    mutex_.locked([&](Lock& lock) {
      while (!ending_) {
        if (deliverer_.exists()) {
          wait(lock);
        } else if (!deliverer_.queue_empty()) {
          deliverer_.drain(never_done, lock);
        } else if (!bring_next(now(), never_done, lock)) {
          wait_until(next_due().at, lock);
        }
      }
    });
  }

  HubClock clock_;  // moved under the lock
  HazardRecords& hazards_ = HazardRecords::home();
  HubTasks tasks_;

  ProcessMutex mutex_{ForkMark{}};
  std::condition_variable progress_;
  HubNetwork network_;
  HubDeliverer deliverer_;
  HubDeadlines deadlines_;
  std::size_t waiting_ = 0;
  bool ending_ = false;
  std::thread server_;  // last: it uses everything above
};

}  // namespace syncbus::inline v1::detail
