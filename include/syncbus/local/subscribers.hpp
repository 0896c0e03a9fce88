// The subscribers of one node: finds those of an event without a lock, calls them, and frees those taken out.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <syncbus/base/fork_mark.hpp>
#include <syncbus/base/handler_scope.hpp>
#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/base/hazard_records.hpp>
#include <syncbus/base/process_mutex.hpp>
#include <syncbus/base/random_hash_secret.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/dispatch_counters.hpp>
#include <syncbus/local/dispatch_table.hpp>
#include <syncbus/local/dispatch_tally.hpp>
#include <syncbus/local/member_counts.hpp>
#include <syncbus/local/prefix_lengths.hpp>
#include <syncbus/local/retired_nodes.hpp>
#include <syncbus/local/subscriber.hpp>
#include <syncbus/local/user_log.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1::detail {

/// Dispatching takes no lock, allocates nothing, and writes nothing that another dispatching thread writes: it marks
/// its thread as walking, walks, and marks the subscriber whose handler it runs. Subscribing and unsubscribing take a
/// mutex, never while user code runs; unsubscribing reads the records to know when the subscriber can be freed.
///
/// A subscriber that is added during a dispatch does not hear that event; one that is taken out hears nothing more.
/// Owned by the bus and by its subscriptions.
class Subscribers final : public SubscriptionHome, public std::enable_shared_from_this<Subscribers> {
 public:
  /// `on_log` may be empty. `secret` is for all that this node hashes and strangers choose.
  explicit Subscribers(std::function<void(std::string_view)> on_log,
                         const HashSecret& secret = random_hash_secret())
      : hash_secret_{secret}, table_{secret}, log_{std::move(on_log)} {}

  // --- subscribing

  /// Throws std::system_error (closed, forked).
  [[nodiscard]] Subscription attach(KeySpace space, std::string_view key, Subscriber subscriber, Scope from) {
    hazards_.meet();
    auto node = Node::make(space, key, std::move(subscriber), from);
    Node* const place = node.get();
    const bool taken = mutex_.locked(
        [&] {
          if (closed_) throw std::system_error{Errc::closed, "subscribe"};
          table_.make_room();
          if (space == KeySpace::prefix) lengths_.add(key.size());
          members_.add(space, from);
          table_.insert(std::move(node));
          return true;
        },
        false);
    if (!taken) throw std::system_error{Errc::forked, "subscribe"};
    collect();
    return {shared_from_this(), place};
  }

  void detach(void* place, bool wait) noexcept override {
    Node* const node = static_cast<Node*>(place);
    HazardRecord* const inside = hazards_.of_handler();
    const bool waits = wait && inside == nullptr;
    const bool taken_out = mutex_.locked(
        [&] {
          members_.remove(node->space, node->from);
          table_.erase(*node);
          if (node->space == KeySpace::prefix) lengths_.remove(node->name().size());
          if (!waits) retired_.add(*node);
          return true;
        },
        false);
    if (!taken_out) return;
    if (inside != nullptr) collect_after_handler(*inside);
    if (!waits) return;  // the caller may hold a lock that the callable's destructor takes: others free it
    for (const HazardRecord* record = hazards_.first(); record != nullptr; record = record->next())
      record->wait_until_past(node);
    Node::Deleter{}(node);
    collect();
  }

  /// Mailboxes receive nothing more, and nobody can subscribe.
  void close() noexcept {
    mutex_.locked([this] {
      closed_ = true;
      const std::uint64_t last = table_.last_id();
      for (Node* node = table_.first_of_all(last); node != nullptr;
           node = Table::next_living(*node, node->order, node->id, last)) {
        node->subscriber.close();
      }
    });
  }

  // --- dispatching

  /// Has this node's own event heard: now, or inside a handler when that handler's dispatch has ended. Then calls
  /// `on_tally`, which must not throw, with what became of it. Does not count it as published.
  void publish_counted(const Event& event, std::function<void(DispatchTally)> on_tally) noexcept {
    HazardRecord& mine = hazards_.mine();
    if (!HandlerScope::must_defer(mine)) return on_tally(dispatch_counted(event, true));
    HandlerScope::defer(mine, [self = shared_from_this(), key = std::string{event.key}, type = event.type,
                         version = event.version, origin = event.origin, on_tally = std::move(on_tally)] {
      on_tally(self->dispatch_counted({type, key, version, origin}, true));
    });
  }

  /// The same for many keys, which are counted as published; `heard` is whether anybody on this node may hear them.
  void publish(const Event& event, std::span<const std::string_view> keys, bool heard) noexcept {
    HazardRecord& mine = hazards_.mine();
    counters_.add(mine.slot(), &CounterStripe::published, keys.size());
    if (!heard) return;
    for (const std::string_view key : keys) publish_one(key, event.type, event.version, event.origin);
  }

  void publish_resync(const Resync& resync) noexcept {
    HazardRecord& mine = hazards_.mine();
    if (!HandlerScope::must_defer(mine)) return dispatch_resync(resync, true, mine);
    HandlerScope::defer(mine, [self = shared_from_this(), resync] { self->dispatch_resync(resync, true); });
  }

  /// Calls every matching subscriber. `own`: the event is of this node. Returns when they have returned, also inside a
  /// handler.
  void dispatch(const Event& event, bool own) noexcept { dispatch_here(event, own, Uncounted{}); }

  /// The same, and tells what became of the event.
  [[nodiscard]] DispatchTally dispatch_counted(const Event& event, bool own) noexcept {
    DispatchTally tally;
    dispatch_here(event, own, Counted{&tally});
    return tally;
  }

  /// Calls every subscriber: of any key, prefix or lease.
  void dispatch_resync(const Resync& resync, bool own) noexcept {
    HazardRecord& mine = hazards_.mine();
    if (mine.handlers() == 0) [[likely]]
      return dispatch_resync(resync, own, mine);
    const HazardRecords::Second second{hazards_};
    dispatch_resync(resync, own, second.get());
  }

  /// Whether the calling thread runs a handler of this very bus.
  [[nodiscard]] bool runs_own_handler() noexcept {
    if (!in_handler()) return false;
    const auto runs = [this](const Node& node) { return hazards_.holds(&node); };
    return mutex_.locked(
        [&] {
          const std::uint64_t last = table_.last_id();
          Node* node = table_.first_of_all(last);
          while (node != nullptr && !runs(*node)) node = Table::next_living(*node, node->order, node->id, last);
          return node != nullptr || retired_.any(runs);
        },
        false);
  }

  /// Whether there is any subscriber who hears other nodes.
  [[nodiscard]] bool hears_remote() const noexcept { return members_.hear_remote(); }

  /// Whether the calling thread is inside a handler or hook: of this bus, or of any other that can be known here.
  [[nodiscard]] bool in_handler() const noexcept { return detail::in_handler(hazards_); }

  [[nodiscard]] const HashSecret& hash_secret() const noexcept { return hash_secret_; }

  /// Whether this process is not the one that made the bus; then nobody may be attached, and whoever is attached stays.
  [[nodiscard]] bool forked() const noexcept { return fork_mark_.forked(); }
  [[nodiscard]] const ForkMark& fork_mark() const noexcept { return fork_mark_; }

  // --- what people see

  void count_published(std::uint64_t keys) noexcept {
    counters_.add(hazards_.mine().slot(), &CounterStripe::published, keys);
  }

  /// An await of a bus that is alone has ended.
  void count_await(bool satisfied) noexcept { counters_.add_await(satisfied); }

  void add_to(Metrics& metrics) const noexcept {
    if (!forked()) counters_.add_to(metrics);
  }

  [[nodiscard]] UserLog& log() noexcept { return log_; }

  /// Tells on_log a line, unless the bus is closed: a handler that was left behind may outlive what on_log uses.
  void report(std::string_view line) noexcept {
    if (log_ && !closed_) run_hook([&] { log_.tell(line); });
  }

  /// The same, unless there are too many lines of the kind. `line()` makes the words, also for a line that is left out:
  /// the last of those is kept.
  template <class Line>
  void report(LineKind kind, const Line& line) noexcept {
    if (!log_ || closed_) return;
    run_hook([&] {
      if (const auto told = log_.admit(kind, line())) log_.tell(*told);
    });
  }

  /// No further line will come: tells the last of those that were left out, and begins none later than `deadline`.
  void report_left_out(TimePoint deadline) noexcept {
    if (!log_ || closed_) return;
    while (log_.any_left_out() && std::chrono::steady_clock::now() < deadline) {
      run_hook([&] {
        if (const auto line = log_.overdue(true)) log_.tell(*line);
      });
    }
  }

  /// Runs a user's hook as handlers run: what it throws is counted. In a forked child it runs completions of refused
  /// awaits.
  template <class Hook>
  void run_hook(const Hook& hook) noexcept {
    const bool in_child = forked();
    HazardRecord& mine = hazards_.mine();
    const HandlerScope scope{mine};
    try {
      hook();
    } catch (...) {
      counters_.add(mine.slot(), &CounterStripe::handler_errors, 1);
    }
    if (!in_child) fork_mark_.require_parent();
  }

  /// Calls the completion of an await that has ended; what it captured ends inside the hook too.
  void complete(AwaitCall& call) noexcept {
    run_hook([&] { call.complete(); });
  }

 private:
  using Table = DispatchTable<Subscriber>;
  using Node = Table::Node;
  using Target = Table::Target;

  /// The arguments travel in registers. Were the key copied from the caller's memory into an Event, compilers would
  /// load both its words at once, right behind the two stores that wrote them, and the processor would wait for these.
  [[gnu::noinline]] void publish_one(std::string_view key, EventType type, std::uint64_t version,
                                     NodeId origin) noexcept {
    publish({type, key, version, origin}, hazards_.mine());
  }

  void publish(const Event& event, HazardRecord& mine) noexcept {
    if (!HandlerScope::must_defer(mine)) [[likely]]
      return dispatch(event, true, mine, Uncounted{});
    HandlerScope::defer(mine, [self = shared_from_this(), key = std::string{event.key}, type = event.type,
                         version = event.version, origin = event.origin] {
      self->dispatch({type, key, version, origin}, true);
    });
  }

  template <class Tally>
  void dispatch_here(const Event& event, bool own, Tally tally) noexcept {
    HazardRecord& mine = hazards_.mine();
    if (mine.handlers() == 0) [[likely]]
      return dispatch(event, own, mine, tally);
    const HazardRecords::Second second{hazards_};
    dispatch(event, own, second.get(), tally);
  }

  template <class Tally>
  void dispatch(const Event& event, bool own, HazardRecord& record, Tally tally) noexcept {
    {
      const HandlerScope scope{record};
      const std::uint64_t last = table_.last_id();
      const bool lease = event.type == EventType::lease_revoked;
      const auto space = lease ? KeySpace::lease : KeySpace::key;
      if (members_.any_in(space)) {
        dispatch_to(table_.target(space, event.key, last), event, own, record, tally);
      }
      if (!lease && lengths_.first() != nullptr) dispatch_to_prefixes(event, own, last, record, tally);
    }
    collect();
  }

  template <class Tally>
  [[gnu::noinline]] void dispatch_to_prefixes(const Event& event, bool own, std::uint64_t last, HazardRecord& record,
                                              Tally tally) noexcept {
    for (const auto* entry = lengths_.first(); entry != nullptr; entry = entry->next) {
      if (entry->length > event.key.size() || entry->prefixes.load(std::memory_order_acquire) == 0) continue;
      dispatch_to(table_.target(KeySpace::prefix, event.key.substr(0, entry->length), last), event, own, record, tally);
    }
  }

  template <class Tally>
  [[gnu::always_inline]] void dispatch_to(const Target& target, const Event& event, bool own, HazardRecord& record,
                                          Tally tally) noexcept {
    record.walk();
    Node* node = table_.find(target, 0);
    while (node != nullptr) {
      const std::uint64_t id = node->id;
      const bool more = node->followed.load();
      record.hold(node);
      if (hears(*node, own)) call(*node, record, 1, tally, [&] { return node->subscriber.event(event); });
      if (!more) break;
      record.walk();
      // Taken out meanwhile, it has lost its place: begin again, behind its id. It cannot be freed before this walk
      // ends.
      node = node->alive.load() ? Table::next_match(*node, target, id) : table_.find(target, id);
    }
    record.leave();
  }

  void dispatch_resync(const Resync& resync, bool own, HazardRecord& record) noexcept {
    counters_.add_resync(resync.cause);
    {
      const HandlerScope scope{record};
      const std::uint64_t last = table_.last_id();
      record.walk();
      for (Node* node = table_.first_of_all(last); node != nullptr;) {
        const std::uint64_t order = node->order;
        const std::uint64_t id = node->id;
        record.hold(node);
        if (hears(*node, own)) {
          call(*node, record, 0, Uncounted{}, [&] { return node->subscriber.resync(resync, node->name()); });
        }
        record.walk();
        node = node->alive.load() ? Table::next_living(*node, order, id, last) : table_.find_behind(order, id, last);
      }
      record.leave();
    }
    collect();
  }

  [[nodiscard]] static bool hears(const Node& node, bool own) noexcept {
    return node.from == Scope::all || (node.from == Scope::local) == own;
  }

  /// Calls a subscriber and counts what came of it; `deliveries` is 1 for an event, 0 for a resync. A call that throws
  /// harms nobody else.
  template <class Tally, class Call>
  [[gnu::always_inline]] void call(const Node& node, const HazardRecord& record, std::uint64_t deliveries, Tally tally,
                                   const Call& invoke) noexcept {
    try {
      const PutResult stored = invoke();
      tally.called(stored);
      counters_.add(record.slot(), &CounterStripe::delivered, stored.stored ? deliveries : 0);
      if (stored.joined != 0) counters_.add(record.slot(), &CounterStripe::joined, stored.joined);
      if (stored.overflowed) counters_.add_resync(ResyncCause::overflow);
    } catch (const std::exception& error) {
      tally.threw();
      count_error(node, record, error.what());
    } catch (...) {
      tally.threw();
      count_error(node, record, "something that is no std::exception");
    }
    fork_mark_.require_parent();
  }

  void count_error(const Node& node, const HazardRecord& record, std::string_view what) noexcept {
    counters_.add(record.slot(), &CounterStripe::handler_errors, 1);
    report(LineKind::handler, [&] { return handler_threw(node.space, node.name(), what); });
  }

  /// Frees what was taken out without a wait, if by now nobody holds it.
  void collect() noexcept {
    if (!retired_.empty()) [[unlikely]]
      collect_now();
  }

  [[gnu::noinline]] void collect_now() noexcept {
    Node* const unheld = mutex_.locked_if_free([this] { return retired_.take_unheld(); }, nullptr);
    if (unheld == nullptr) return;
    retired_.destroy(unheld);
    fork_mark_.require_parent();
  }

  /// Inside a handler, of this or another bus, when it has ended at the latest.
  void collect_after_handler(HazardRecord& inside) noexcept {
    try {
      HandlerScope::defer(inside, [self = shared_from_this()] { self->collect(); });
    } catch (const std::bad_alloc&) {
      return;  // then the next dispatch or subscription does it
    }
  }

  const ForkMark fork_mark_;
  ProcessMutex mutex_{fork_mark_};
  const HashSecret hash_secret_;
  Table table_;
  PrefixLengths lengths_;
  MemberCounts members_;
  HazardRecords& hazards_ = HazardRecords::home();
  RetiredNodes<Node> retired_{hazards_};
  std::atomic<bool> closed_{false};  ///< set under the lock
  DispatchCounters counters_;
  UserLog log_;
};

}  // namespace syncbus::inline v1::detail
