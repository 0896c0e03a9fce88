// The peers of whom something is missing.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <syncbus/core/peer_table.hpp>
#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// A few of a table's, mostly none, so that nobody has to look through all of them.
class GappedPeers {
 public:
  explicit GappedPeers(PeerTable& peers) noexcept : peers_{peers} {}

  void add(NodeId id) {
    if (std::ranges::find(ids_, id) == ids_.end()) ids_.push_back(id);
  }

  /// Drops those of whom nothing is missing any more.
  void prune() {
    std::erase_if(ids_, [this](NodeId id) { return find(id) == nullptr; });
  }

  /// Calls `each(NodeId, PeerState&)`, which changes no table.
  template <class Each>
  void for_each(const Each& each) const {
    for (const NodeId id : ids_) {
      if (PeerState* const peer = find(id)) each(id, *peer);
    }
  }

  /// The first who can be asked now for what is missing; nullptr: none.
  [[nodiscard]] std::pair<NodeId, PeerState*> to_ask(TimePoint now) const {
    for (const NodeId id : ids_) {
      PeerState* const peer = find(id);
      if (peer != nullptr && peer->repairs() && peer->repair.due() <= now) return {id, peer};
    }
    return {};
  }

 private:
  [[nodiscard]] PeerState* find(NodeId id) const noexcept {
    PeerState* const peer = peers_.find(id);
    return peer == nullptr || peer->tracker.missing().empty() ? nullptr : peer;
  }

  PeerTable& peers_;
  std::vector<NodeId> ids_;  // and some of whom nothing is missing any more
};

}  // namespace syncbus::inline v1::core
