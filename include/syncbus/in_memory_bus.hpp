// InMemoryBus: a bus without a broker. Alone, for one process; or one of several nodes on an InMemoryHub.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <syncbus/bus.hpp>
#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/engine_link.hpp>
#include <syncbus/detail/handler_scope.hpp>
#include <syncbus/detail/local_bus.hpp>
#include <syncbus/in_memory_hub.hpp>
#include <syncbus/transport/in_memory_transport.hpp>

namespace syncbus::inline v1 {

/// `InMemoryBus{}` is alone: a publish finds its handlers and calls them, with no lock, no allocation and no write that
/// other publishers share. `InMemoryBus{hub}` is a node on a hub: a publish returns when every node has heard.
///
/// Threads: handlers run on the publishers' threads, also those of remote events, unless BusOptions::executor is given.
/// Thread safety: shared objects safe, except during construction and destruction. Neither copied nor moved.
class InMemoryBus : public BusFacade<InMemoryBus> {
 public:
  InMemoryBus() : InMemoryBus{BusOptions{}} {}
  explicit InMemoryBus(BusOptions options) : local_{std::move(options)} {}

  /// The hub may end before the bus.
  explicit InMemoryBus(InMemoryHub& hub, BusOptions options = {})
      : local_{std::move(options)},
        hub_{hub.state_},
        link_{std::make_unique<detail::EngineLink<InMemoryTransport>>(local_, true, hub_)} {}

  InMemoryBus(const InMemoryBus&) = delete;
  InMemoryBus& operator=(const InMemoryBus&) = delete;

  /// Closes with `close_timeout`. Destroying a bus inside one of its own handlers is undefined.
  ~InMemoryBus() { static_cast<void>(shut(local_.options().close_timeout)); }

  /// Returns when every node on the hub has heard what was accepted before. Errors: closed, would_deadlock.
  [[nodiscard]] std::error_code flush(Duration timeout) {
    if (detail::in_handler()) return Errc::would_deadlock;
    if (local_.closed()) return Errc::closed;
    if (!link_) return {};
    settle();
    return link_->engine().flush(detail::deadline_after(timeout));
  }

  /// Leaves the hub; publishes and subscriptions are refused from here on. Idempotent. Errors: would_deadlock.
  [[nodiscard]] std::error_code close(Duration timeout) {
    if (detail::in_handler()) return Errc::would_deadlock;
    return shut(timeout);
  }

  /// A snapshot; on a hub it takes the engine's lock for a moment.
  [[nodiscard]] Metrics metrics() const {
    Metrics metrics = link_ ? link_->engine().metrics() : Metrics{};
    local_.subscribers()->add_to(metrics);
    return metrics;
  }

  /// Whether the bus is not closed.
  [[nodiscard]] bool is_healthy() const noexcept { return !local_.closed(); }

  [[nodiscard]] NodeId id() const noexcept { return local_.id(); }

 private:
  friend class BusFacade<InMemoryBus>;

  [[nodiscard]] std::error_code submit(const Submission& submission) noexcept {
    if (const auto error = local_.check(submission)) return error;
    const bool broadcast = link_ && submission.scope != Scope::local;
    if (broadcast) {
      if (const auto error = link_->engine().submit(submission)) return error;
    }
    local_.deliver(submission);
    if (broadcast) settle();
    return {};
  }

  /// Until every node has heard what this one accepted so far.
  void settle() noexcept {
    std::optional<std::uint64_t> point;
    hub_->settle([&] { return link_->engine().flushed(point); });
  }

  [[nodiscard]] const std::shared_ptr<detail::LocalDispatch>& dispatch(Scope from) { return local_.dispatch_for(from); }

  [[nodiscard]] std::size_t max_key_bytes() const noexcept { return local_.options().max_key_bytes; }

  [[nodiscard]] std::error_code shut(Duration timeout) noexcept {
    local_.refuse_all();
    std::error_code error;
    if (link_) {
      settle();
      error = link_->engine().close(detail::deadline_after(timeout));
    }
    local_.end();
    return error;
  }

  detail::LocalBus local_;
  std::shared_ptr<detail::HubState> hub_;  // null: alone
  std::unique_ptr<detail::EngineLink<InMemoryTransport>> link_;
};

static_assert(Bus<InMemoryBus>);

}  // namespace syncbus::inline v1
