// The transport of InMemoryBus: frames go into the queue of a hub.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <syncbus/event.hpp>
#include <syncbus/in_memory_hub.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1 {

/// One session for life. Confirmed when every node has heard; whoever broadcasts must then settle the hub.
class InMemoryTransport {
 public:
  static constexpr bool lossless_sessions = true;
  static constexpr std::size_t max_frame_bytes = std::size_t{64} << 20U;  // memory has no limit; the codec has this one

  explicit InMemoryTransport(std::shared_ptr<detail::HubState> hub) noexcept : hub_{std::move(hub)} {}

  void open(TransportSink& sink, const TransportSettings& settings) {
    node_ = hub_->join(settings, sink);
    sink.on_ready(1, max_frame_bytes);
  }

  void broadcast(Bytes bytes, BroadcastToken token) noexcept { hub_->broadcast(node_, bytes, token); }
  void send(NodeId node, Bytes bytes) noexcept { hub_->send(node, bytes); }

  void close() noexcept {
    if (node_) hub_->leave(node_);
  }

 private:
  std::shared_ptr<detail::HubState> hub_;
  std::shared_ptr<detail::HubState::Node> node_;
};

static_assert(Transport<InMemoryTransport>);

}  // namespace syncbus::inline v1
