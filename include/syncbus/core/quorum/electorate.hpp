// The electorate: the nodes that can acknowledge an await.
#pragma once

#include <optional>
#include <string_view>

#include <syncbus/core/peers/membership.hpp>
#include <syncbus/core/peers/peer_state.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// The nodes whose answers an await may count on, and their zones.
struct Electorate {
  const Membership& membership;
  NodeId self;
  bool joined;

  template <class Visit>
  void for_each(const Visit& visit) const {
    membership.peers().for_each([&](NodeId id, const PeerState& peer) {
      if (peer.answers()) visit(id);
    });
  }
  /// Whether they can be asked.
  [[nodiscard]] bool can_be_asked() const noexcept { return joined; }
  [[nodiscard]] bool whole() const noexcept {
    return joined && membership.sure_who_is_there() && !membership.left_out().any();
  }
  [[nodiscard]] bool knows(NodeId node) const { return node == self || membership.peers().find(node) != nullptr; }
  /// None: it has not said who it is, and may yet.
  [[nodiscard]] std::optional<std::string_view> zone_of(NodeId node) const {
    if (node == self) return membership.zone();
    const PeerState* const peer = membership.peers().find(node);
    if (peer == nullptr || (peer->newest_heartbeat == 0 && peer->live())) return std::nullopt;
    return peer->zone;
  }
};

}  // namespace syncbus::inline v1::core
