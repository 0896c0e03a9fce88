// The electorate: the nodes that can acknowledge an await.
#pragma once

#include <optional>
#include <string_view>

#include <syncbus/core/peers/membership.hpp>
#include <syncbus/core/peers/peer_state.hpp>
#include <syncbus/core/quorum/await_request.hpp>
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

/// The nodes that can answer one await: the peers if it was broadcast, this node if its subscribers heard it.
struct AwaitVoters {
  const Electorate& peers;
  const AwaitRequest& request;
  NodeId self;
  bool back;  ///< all frames of the await are back: nodes that said hello before them are known

  template <class Visit>
  void for_each(const Visit& visit) const {
    if (request.heard_here) visit(self);
    if (request.heard_elsewhere) peers.for_each(visit);
  }
  [[nodiscard]] bool whole() const { return !request.heard_elsewhere || (peers.whole() && back); }
  [[nodiscard]] bool knows(NodeId node) const { return node == self || peers.knows(node); }
  [[nodiscard]] std::optional<std::string_view> zone_of(NodeId node) const { return peers.zone_of(node); }
};

}  // namespace syncbus::inline v1::core
