// The transport of InMemoryBus: it puts frames into the queue of a hub.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/event.hpp>
#include <syncbus/in_memory_hub.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/memory/hub_state.hpp>

namespace syncbus::inline v1 {

/// A session lasts until reopen(). Calls only queue: the caller settles the hub afterwards. A broadcast is confirmed
/// when the hub has delivered it, or lost or delayed it as it was told to. Time is the hub's.
class InMemoryTransport {
 public:
  static constexpr bool lossless_sessions = false;  // a hub can be told to lose frames

  explicit InMemoryTransport(const InMemoryHub& hub) noexcept : hub_{hub.state_} {}
  explicit InMemoryTransport(std::shared_ptr<detail::HubState> hub) noexcept : hub_{std::move(hub)} {}

  void open(TransportSink& sink, const TransportSettings& settings) {
    node_ = hub_->join(settings, sink);
    sink.on_ready(1, max_frame_bytes);
  }

  void broadcast(Bytes bytes, BroadcastToken token) noexcept { hub_->broadcast(node_, bytes, token); }
  void send(NodeId node, Bytes bytes) noexcept { hub_->send(node_, node, bytes); }
  void reopen(std::uint64_t session) noexcept { hub_->reopen(node_, session); }

  void close() noexcept {
    if (node_) hub_->leave(node_);
  }

  [[nodiscard]] detail::HubState& hub() const noexcept { return *hub_; }

  /// Takes no lock: may be called under any.
  [[nodiscard]] TimePoint now() const noexcept { return hub_->now(); }

  /// A time that has passed is now. never asks for nothing.
  void wake_at(TimePoint time) noexcept { hub_->wake_at(*node_, time); }

  /// Throws std::system_error (would_deadlock) when an executor does not run its tasks.
  template <class Done>
  [[nodiscard]] bool wait_until(TimePoint deadline, const Done& done) {
    const auto settled = hub_->settle_until(deadline, deadline - now(), done);
    if (settled == detail::Settled::stuck) detail::HubState::throw_stuck("InMemoryBus");
    return settled == detail::Settled::done;
  }

  void task_began() noexcept { hub_->task_began(); }
  void task_runs() noexcept { hub_->task_runs(); }
  void task_ended() noexcept { hub_->task_ended(); }

 private:
  std::shared_ptr<detail::HubState> hub_;
  std::shared_ptr<detail::HubNode> node_;
};

static_assert(Transport<InMemoryTransport> && TimedTransport<InMemoryTransport>);

}  // namespace syncbus::inline v1
