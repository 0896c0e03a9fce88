// The electorate of one await.
#pragma once

#include <syncbus/core/quorum/await_request.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// The peers if it was broadcast, this node if its subscribers heard it. Electorate: as QuorumTracker::satisfied takes
/// it, and this is one.
template <class Electorate>
struct AwaitVoters {
  const Electorate& peers;
  const AwaitRequest& request;
  NodeId self;
  bool back;  ///< all frames of the await are: whoever said hello before them is known

  template <class Visit>
  void for_each(const Visit& visit) const {
    if (request.heard_here) visit(self);
    if (request.heard_elsewhere) peers.for_each(visit);
  }
  [[nodiscard]] bool whole() const { return !request.heard_elsewhere || (peers.whole() && back); }
  [[nodiscard]] bool knows(NodeId node) const { return node == self || peers.knows(node); }
  [[nodiscard]] auto zone_of(NodeId node) const { return peers.zone_of(node); }
};

}  // namespace syncbus::inline v1::core
