// BasicBus<Transport>: a bus over one broker. The engine does the work; this owns the transport and answers the verbs.
#pragma once

#include <functional>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/handler_scope.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/engine/engine_link.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/awaiting.hpp>
#include <syncbus/local/local_node.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1 {

/// A node on a broker. Its verbs are those of BusFacade.
///
/// Threads: publishers run this node's own handlers. One of the bus's threads at a time (or the executor of the
/// options) is the dispatch thread: it runs handlers of remote events, completions, on_health and on_log; another does
/// the broker's I/O, and one keeps time. Thread safety: shared objects safe, except that nothing may be called during
/// construction and destruction. Neither copied nor moved.
///
/// It belongs to the process that made it: in a child that is forked off later every verb answers Errc::forked, and
/// nothing of what the parent uses is touched, by the destructor neither.
template <Transport T>
class BasicBus : public BusFacade<BasicBus<T>> {
 public:
  BasicBus(const BasicBus&) = delete;
  BasicBus& operator=(const BasicBus&) = delete;

  /// Closes with `close_timeout`. Destroying a bus inside one of its own handlers, or in what on_log hears of one, ends
  /// the process, with a sentence. In on_health, or a completion on the dispatch thread, it is left behind after
  /// that time.
  ~BasicBus() {
    local_.require_no_own_handler();
    static_cast<void>(shut(local_.options().close_timeout));
  }

  // --- the primitives: see BusFacade

  [[nodiscard]] std::error_code submit(const Submission& submission) noexcept {
    if (const auto error = local_.check(submission)) return error;
    if (submission.scope != Scope::local) {
      if (const auto error = link_.engine().submit(submission)) return error;
    }
    local_.deliver(submission);
    return {};
  }

  [[nodiscard]] AwaitOutcome await(const Submission& submission, Quorum quorum, const AwaitOptions& options) {
    return detail::await_blocking(
        *local_.subscribers(), options, [&](const auto& call) { return open(submission, quorum, options, call); },
        [this](const auto& call) { return canceller(call); },
        [](detail::AwaitCall& call) {
          call.wait();
          return std::error_code{};
        });
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

  /// Blocks until the broker has confirmed everything accepted before the call. Errors: timed_out, not_connected (the
  /// deadline passed while disconnected; what was accepted is kept and goes out later), closed (also when another
  /// thread closes the bus meanwhile), would_deadlock (inside a handler), forked.
  [[nodiscard]] std::error_code flush(Duration timeout) {
    if (in_handler()) return Errc::would_deadlock;
    if (local_.closed()) return Errc::closed;
    return link_.engine().flush(detail::deadline_after(timeout));
  }

  /// Flushes, then stops; blocks for about `timeout` at most, and for as long as the transport is in code of the
  /// user's, an executor that blocks, or in a call of the broker's client that has a limit of its own:
  /// see close() of the transport. From its beginning publishes and subscriptions are refused and awaits end. What
  /// on_log has not heard yet it hears on the dispatch thread meanwhile: until the deadline, or a tenth of a second
  /// where a flush took all the time. Completions are called in any case. A handler, completion or hook that runs
  /// beyond the deadline is left behind: it goes on, perhaps after the bus, and no other follows it. Idempotent.
  /// Errors: those of flush, and timed_out when something is left behind, after which the bus is closed all the same
  /// and what was not confirmed may be lost; would_deadlock, inside a handler, after which it is not.
  [[nodiscard]] std::error_code close(Duration timeout) {
    if (in_handler()) return Errc::would_deadlock;
    return shut(timeout);
  }

  // --- what people see

  /// A snapshot; takes the engine's lock for a moment.
  [[nodiscard]] Metrics metrics() const {
    Metrics metrics = link_.engine().metrics();
    local_.subscribers()->add_to(metrics);
    return metrics;
  }

  /// Whether the broker is connected, brings back what this node broadcasts, and the bus is not closed.
  [[nodiscard]] bool is_healthy() const noexcept { return link_.engine().health().connected; }

  /// How long ago a live peer may have published something that this node's handlers have not returned from; zero when
  /// nothing speaks for that. Heartbeats prove it, so between idle nodes it is about `heartbeat`, up to twice that, and
  /// more where there are so many nodes that each sends heartbeats less often. It assumes that all nodes hear
  /// broadcasts in one order. A publish_only peer proves nothing: only what is known to be missing of it counts. In a
  /// forked child it is the longest Duration, is_healthy() is false, and metrics() and peers() are empty.
  [[nodiscard]] Duration staleness() const { return link_.engine().health().staleness; }

  /// The peers that this node has heard, or been told of, and that have not said goodbye; by id. A silent one is listed
  /// until ten peer timeouts after it fell silent.
  [[nodiscard]] std::vector<Peer> peers() const { return link_.engine().peers(); }

  [[nodiscard]] NodeId id() const noexcept { return local_.id(); }

 protected:
  /// Connects within `connect_timeout`, or throws std::system_error with a sentence that says what to do.
  template <class... Args>
  explicit BasicBus(BusOptions options, std::in_place_t, Args&&... transport)
      : local_{std::move(options)}, link_{local_, false, std::forward<Args>(transport)...} {}

 private:
  [[nodiscard]] std::error_code open(const Submission& submission, Quorum quorum, const AwaitOptions& options,
                                     const std::shared_ptr<detail::AwaitCall>& call) {
    if (const auto error = local_.check(submission, quorum, options.stop_token)) return error;
    detail::Engine& engine = link_.engine();
    if (const auto error = engine.submit(submission, quorum, options.timeout, call)) return error;
    local_.deliver(submission, engine.answers_for(*call));
    return {};
  }

  [[nodiscard]] std::function<void()> canceller(const std::shared_ptr<detail::AwaitCall>& call) const {
    return [engine = link_.engine().shared(), await_id = call->await_id]() noexcept { engine->cancel(await_id); };
  }

  [[nodiscard]] bool in_handler() const noexcept { return local_.subscribers()->in_handler(); }

  [[nodiscard]] std::error_code shut(Duration timeout) noexcept {
    if (!local_.refuse_all()) return Errc::forked;
    const auto error = link_.engine().close(detail::deadline_after(timeout));
    local_.end();
    return error;
  }

  detail::LocalNode local_;
  detail::EngineLink<T> link_;
};

}  // namespace syncbus::inline v1
