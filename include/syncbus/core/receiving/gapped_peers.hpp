// The peers with gaps, and the window of bytes that may be requested from all of them at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/core/peers/peer_table.hpp>
#include <syncbus/core/wire/repair_frames.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// Mostly none or a few of all peers, so that nobody has to look through the table.
class GappedPeers {
 public:
  /// `queue_bytes`: there is room for so much of what is repaired.
  GappedPeers(PeerTable& peers, std::size_t queue_bytes) noexcept
      : peers_{peers}, window_{(std::clamp)(queue_bytes, least_under_way, most_under_way)} {}

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

  struct Turn {
    NodeId id{};
    PeerState* peer = nullptr;
    std::uint64_t frames = 0;   ///< at most so many are to be asked for
    std::size_t under_way = 0;  ///< bytes, from others
  };

  /// The peer to ask now, if any: the one that has waited longest, for as much as the window leaves beside the bytes
  /// that are under way. If it leaves nothing, all wait, until some of these bytes have come or are overdue.
  [[nodiscard]] Turn next_turn(TimePoint now) const {
    Turn turn;
    for_each_to_ask([&](NodeId id, PeerState& peer) {
      const RepairTimer& clock = peer.repair;
      turn.under_way += static_cast<std::size_t>(clock.frames_under_way(now)) * clock.frame_bytes();
      const bool first = turn.peer == nullptr || clock.asks_at() < turn.peer->repair.asks_at();
      if (clock.asks_at() <= now && first) {
        turn.id = id;
        turn.peer = &peer;
      }
    });
    if (turn.peer == nullptr) return {};
    const std::uint64_t missing = turn.peer->tracker.missing_count();
    const std::uint64_t fit = (window_ - (std::min)(window_, turn.under_way)) / turn.peer->repair.frame_bytes();
    if (turn.under_way != 0 && fit < (std::min)(missing, few)) {
      for_each_to_ask([now](NodeId, PeerState& peer) {
        if (peer.repair.asks_at() <= now) peer.repair.wait(now);
      });
      return {};
    }
    const std::uint64_t most = turn.peer->repair.unanswered() ? few : (std::max)(few, fit);
    turn.frames = (std::min)({missing, most, std::uint64_t{max_requested_frames}});
    return turn;
  }

  /// A repair of so many bytes came from a peer.
  void came(NodeId from, std::size_t bytes, TimePoint now) const {
    for_each_to_ask([&](NodeId id, PeerState& peer) {
      if (id != from) peer.repair.others_came(now, bytes);
    });
  }

 private:
  static constexpr std::uint64_t few = 8;  ///< frames that a request is worth, if so many are missing

  /// So many bytes may be under way to this node at once, from all publishers together. A broker lets a multiple of it
  /// wait for a client before it cuts that off.
  static constexpr std::size_t most_under_way = std::size_t{4} << 20U, least_under_way = std::size_t{2} << 20U;

  template <class Each>
  void for_each_to_ask(const Each& each) const {
    for_each([&each](NodeId id, PeerState& peer) {
      if (peer.repairs()) each(id, peer);
    });
  }

  [[nodiscard]] PeerState* find(NodeId id) const noexcept {
    PeerState* const peer = peers_.find(id);
    return peer == nullptr || peer->tracker.missing().empty() ? nullptr : peer;
  }

  PeerTable& peers_;
  std::size_t window_;
  std::vector<NodeId> ids_;  // and some of whom nothing is missing any more
};

}  // namespace syncbus::inline v1::core
