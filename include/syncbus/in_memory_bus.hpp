// InMemoryBus: a bus without a broker. Alone, for one process; or one of several nodes on an InMemoryHub.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/fork_mark.hpp>
#include <syncbus/base/handler_scope.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/engine/engine_link.hpp>
#include <syncbus/in_memory_hub.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/awaiting.hpp>
#include <syncbus/local/local_await.hpp>
#include <syncbus/local/local_node.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/transport/memory/hub_task.hpp>
#include <syncbus/transport/memory/in_memory_transport.hpp>

namespace syncbus::inline v1 {

/// `InMemoryBus{}` is alone: a publish finds its handlers and calls them, with no lock, no allocation and no write that
/// other publishers share. `InMemoryBus{hub}` is a node on a hub: a publish returns when every node has heard, and
/// calls that wait move the hub's virtual time (see InMemoryHub).
///
/// Threads: handlers run on the publishers' threads, also those of remote events, unless BusOptions::executor is given.
/// Thread safety: shared objects safe, except during construction and destruction. Neither copied nor moved.
///
/// It belongs to the process that made it: in a child that is forked off later every verb answers Errc::forked, and
/// nothing of what the parent uses is touched, by the destructor neither.
class InMemoryBus : public BusFacade<InMemoryBus> {
 public:
  InMemoryBus() : InMemoryBus{BusOptions{}} {}
  explicit InMemoryBus(BusOptions options)
      : local_{std::move(options)},
        awaits_{std::make_shared<detail::LocalAwaits>(local_.subscribers(), local_.options().max_awaits)} {}

  /// The hub may end before the bus.
  explicit InMemoryBus(InMemoryHub& hub, BusOptions options = {})
      : local_{std::move(options), hub.state_->draw_id(), hub.state_},
        hub_{hub.state_},
        link_{std::make_unique<detail::EngineLink<InMemoryTransport>>(local_, true, hub_)} {}

  InMemoryBus(const InMemoryBus&) = delete;
  InMemoryBus& operator=(const InMemoryBus&) = delete;

  /// Closes with `close_timeout`. Destroying a bus inside one of its own handlers, or in what on_log hears of one, ends
  /// the process, with a sentence. Not seen, and not allowed: in a completion that is called while this thread
  /// publishes, or moves time, on the hub; that of an await which a stop ends may destroy it, or which ends alone.
  ~InMemoryBus() {
    local_.require_no_own_handler();
    if (shut(local_.options().close_timeout) != Errc::forked) return;
    detail::leave_behind(awaits_);
    detail::leave_behind(hub_);
  }

  // --- the primitives: see BusFacade

  [[nodiscard]] std::error_code submit(const Submission& submission) noexcept {
    if (const auto error = local_.check(submission)) return error;
    if (!link_) {
      local_.deliver(submission);
      return {};
    }
    const bool broadcast = submission.scope != Scope::local;
    {
      const detail::HubTask task{*hub_};
      if (broadcast) {
        if (const auto error = link_->engine().submit(submission)) return error;
      }
      local_.deliver(submission);
    }
    if (broadcast) settle();
    return {};
  }

  [[nodiscard]] AwaitOutcome await(const Submission& submission, Quorum quorum, const AwaitOptions& options) {
    return detail::await_blocking(
        *local_.subscribers(), options, [&](const auto& call) { return open(submission, quorum, options, call); },
        [this](const auto& call) { return canceller(call); },
        [&](detail::AwaitCall& call) { return wait(call, options.timeout); });
  }

  void async_await(const Submission& submission, Quorum quorum, const AwaitOptions& options,
                   Completion completion) {
    detail::await_async(
        *local_.subscribers(), options, std::move(completion),
        [&](const auto& call) { return open(submission, quorum, options, call); },
        [this](const auto& call) { return canceller(call); });
  }

  [[nodiscard]] Subscription attach(const Interest& interest, Subscriber subscriber) {
    return local_.attach(interest, std::move(subscriber));
  }

  // --- its life

  /// Returns when the hub has taken what was accepted before; without delays on the hub, every node has heard it then.
  /// Errors: closed, would_deadlock, timed_out, forked.
  [[nodiscard]] std::error_code flush(Duration timeout) {
    if (in_handler()) return Errc::would_deadlock;
    if (local_.closed()) return Errc::closed;
    if (local_.forked()) return Errc::forked;
    if (!link_) return {};
    const auto settled = settle_within(timeout);
    if (link_->engine().closed()) return Errc::closed;
    if (settled == detail::Settled::stuck) return Errc::would_deadlock;
    return settled == detail::Settled::done ? std::error_code{} : make_error_code(Errc::timed_out);
  }

  /// Leaves the hub; publishes and subscriptions are refused from here on, and awaits end. If another thread is running
  /// a handler of this node, it waits until that has returned, also beyond `timeout`. Idempotent. Errors: timed_out
  /// (what was published last may not have been heard, or a handler or completion still runs; the bus is closed all the
  /// same: also when the executor of a node on the hub does not run its tasks, for which it waits as the other calls
  /// do, see InMemoryHub); would_deadlock, inside a handler, after which it is not.
  [[nodiscard]] std::error_code close(Duration timeout) {
    if (in_handler()) return Errc::would_deadlock;
    return shut(timeout);
  }

  // --- what people see

  /// A snapshot; on a hub it takes the engine's lock for a moment.
  [[nodiscard]] Metrics metrics() const {
    Metrics metrics = link_ ? link_->engine().metrics() : Metrics{};
    local_.subscribers()->add_to(metrics);
    return metrics;
  }

  /// Whether the bus is not closed; on a hub also, whether it brings back what this node broadcasts.
  [[nodiscard]] bool is_healthy() const noexcept {
    return !local_.closed() && !local_.forked() && (!link_ || link_->engine().health().connected);
  }

  /// See BasicBus; alone, nothing can be missed.
  [[nodiscard]] Duration staleness() const {
    if (local_.forked()) return (Duration::max)();  // also alone
    return link_ ? link_->engine().health().staleness : Duration::zero();
  }
  [[nodiscard]] std::vector<Peer> peers() const {
    return link_ ? link_->engine().peers() : std::vector<Peer>{};
  }

  [[nodiscard]] NodeId id() const noexcept { return local_.id(); }

 private:
  [[nodiscard]] std::error_code open(const Submission& submission, Quorum quorum, const AwaitOptions& options,
                                     const std::shared_ptr<detail::AwaitCall>& call) {
    if (const auto error = local_.check(submission, quorum, options.stop_token)) return error;
    if (!link_) {
      if (const auto error = awaits_->open(call)) return error;
      local_.deliver(submission, detail::LocalAwait::make(local_, awaits_, submission, quorum, call));
      return {};
    }
    {
      const detail::HubTask task{*hub_};
      detail::Engine& engine = link_->engine();
      if (const auto error = engine.submit(submission, quorum, options.timeout, call)) return error;
      local_.deliver(submission, engine.answers_for(*call));
    }
    settle();
    return {};
  }

  /// Errors: would_deadlock, after which the call is canceled.
  [[nodiscard]] std::error_code wait(detail::AwaitCall& call, Duration timeout) {
    const auto ended = [&call] { return call.ended(); };
    const bool stuck =
        hub_ && hub_->settle_until(detail::never, timeout, ended) == detail::Settled::stuck;
    if (stuck) link_->engine().cancel(call.await_id);
    call.wait();
    return stuck ? make_error_code(Errc::would_deadlock) : std::error_code{};
  }

  [[nodiscard]] std::function<void()> canceller(const std::shared_ptr<detail::AwaitCall>& call) const {
    // The completion is called in there. With it the call ends, which owns this callable, and perhaps the bus.
    if (!link_) {
      return [awaits = awaits_, weak = std::weak_ptr{call}]() noexcept {
        const auto kept_awaits = awaits;
        if (const auto kept = weak.lock()) kept_awaits->end(kept, {.error = Errc::canceled});
      };
    }
    return [engine = link_->engine().shared(), hub = hub_, await_id = call->await_id]() noexcept {
      const auto [kept_engine, kept_hub] = std::pair{engine, hub};
      kept_engine->cancel(await_id);
      kept_hub->recheck();
    };
  }

  /// Until every node has heard what this one accepted so far.
  void settle() noexcept {
    std::optional<std::uint64_t> point;
    hub_->settle([&] { return link_->engine().flushed(point); });
  }

  [[nodiscard]] detail::Settled settle_within(Duration timeout) noexcept {
    std::optional<std::uint64_t> point;
    return hub_->settle_until(detail::deadline_after(hub_->now(), timeout), timeout,
                              [&] { return link_->engine().flushed(point); });
  }

  [[nodiscard]] bool in_handler() const noexcept { return local_.subscribers()->in_handler(); }

  [[nodiscard]] std::error_code shut(Duration timeout) noexcept {
    if (!local_.refuse_all()) return Errc::forked;
    std::error_code error;
    if (link_) {
      const auto settled = settle_within(timeout);
      // Inside a handler nothing moves while this waits; what is queued goes out when that handler's dispatch has
      // ended. Where an executor does not run its tasks, it has waited already.
      const bool in_vain =
          settled == detail::Settled::stuck || (settled != detail::Settled::done && in_handler());
      error = link_->engine().close(detail::deadline_after(in_vain ? Duration::zero() : timeout));
      hub_->recheck();     // a publisher may wait for what will not come any more
      hub_->settle_all();  // what it said last is heard
    } else if (const TimePoint deadline = detail::deadline_after(timeout); awaits_->close(deadline)) {
      local_.subscribers()->report_left_out(deadline);
    } else {
      error = Errc::timed_out;
    }
    local_.end();
    return error;
  }

  detail::LocalNode local_;
  std::shared_ptr<detail::LocalAwaits> awaits_;  // null: on a hub
  std::shared_ptr<detail::HubState> hub_;        // null: alone
  std::unique_ptr<detail::EngineLink<InMemoryTransport>> link_;
};

static_assert(Bus<InMemoryBus>);

}  // namespace syncbus::inline v1
