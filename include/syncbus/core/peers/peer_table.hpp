// The table of peers, bounded: the gone and the silent are forgotten first.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/core/peers/peer_state.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>

namespace syncbus::inline v1::core {

/// Strangers may choose their ids.
struct NodeIdHash {
  detail::HashSecret secret;

  [[nodiscard]] std::size_t operator()(NodeId id) const noexcept {
    return static_cast<std::size_t>(detail::fold_product(id.value ^ secret.odd2, secret.odd1));
  }
};

/// At most `max_peers`. To take in one more, the table forgets a peer that is not live: first one that has said goodbye
/// and of which nothing is missing, then the one that was heard longest ago. A forgotten peer that returns is a
/// stranger. Peers that are not live are remembered as long as there is room, so that a late frame of theirs is no
/// first contact. A live peer is never forgotten: see LeftOut.
class PeerTable {
 public:
  explicit PeerTable(std::size_t max_peers, const detail::HashSecret& secret = {})
      : max_peers_{(std::max)(max_peers, std::size_t{1})}, peers_{0, NodeIdHash{secret}} {}

  [[nodiscard]] PeerState* find(NodeId id) noexcept {
    const auto found = peers_.find(id);
    return found == peers_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] const PeerState* find(NodeId id) const noexcept {
    const auto found = peers_.find(id);
    return found == peers_.end() ? nullptr : &found->second;
  }

  /// Whether there is room for one more, or somebody to be forgotten for it.
  [[nodiscard]] bool takes_one_more() const noexcept { return live_ < max_peers_; }

  /// The peer that one more will push out: none while there is room. Precondition: takes_one_more().
  [[nodiscard]] std::optional<NodeId> next_forgotten() {
    assert(takes_one_more());
    if (peers_.size() < max_peers_) return std::nullopt;
    return least_needed()->first;
  }

  /// A peer that is not there yet. Precondition: takes_one_more().
  PeerState& add(NodeId id, std::uint64_t baseline, TimePoint now) {
    assert(takes_one_more() && find(id) == nullptr);
    if (peers_.size() >= max_peers_) forget_one();
    PeerState& peer = peers_.try_emplace(id, baseline, now).first->second;
    ++live_;
    return peer;
  }

  /// Changes whether a peer is live; `change` gets the peer.
  template <class Change>
  void change(PeerState& peer, const Change& change) {
    const bool was_live = peer.live();
    change(peer);
    live_ += peer.live() ? 1U : 0U;
    live_ -= was_live ? 1U : 0U;
  }

  /// How many are neither silent nor gone.
  [[nodiscard]] std::size_t live() const noexcept { return live_; }
  /// Nodes that hear a broadcast, ourselves included.
  [[nodiscard]] std::size_t nodes() const noexcept { return live_ + 1; }

  /// Whether a peer was forgotten that may return: then a stranger may be that peer.
  [[nodiscard]] bool forgot() const noexcept { return forgot_; }
  /// Whether frames of one that was forgotten may still come.
  [[nodiscard]] bool forgot_any() const noexcept { return forgot_any_; }

  /// Calls `each(NodeId, PeerState&)`.
  template <class Each>
  void for_each(const Each& each) {
    for (auto& [id, peer] : peers_) each(id, peer);
  }
  template <class Each>
  void for_each(const Each& each) const {
    for (const auto& [id, peer] : peers_) each(id, peer);
  }

  /// Those that have not said goodbye, nor been silent for `dead_after`, for people; by id.
  [[nodiscard]] std::vector<Peer> list(TimePoint now, Duration dead_after) const {
    std::vector<Peer> peers;
    for (const auto& [id, peer] : peers_) {
      if (peer.gone || (peer.silent && now - peer.silent_since >= dead_after)) continue;
      peers.push_back({.id = id,
                       .name = peer.name,
                       .zone = peer.zone,
                       .silent_for = now - peer.last_heard,
                       .lag = peer.tracker.missing_count()});
    }
    std::ranges::sort(peers, {}, &Peer::id);
    return peers;
  }

 private:
  using Peers = std::unordered_map<NodeId, PeerState, NodeIdHash>;

  /// Who is to be forgotten next. In a large table one look finds a sixteenth of it, so that nobody who invents nodes
  /// has all looked at for each; those that have come to life since are left out.
  [[nodiscard]] Peers::iterator least_needed() {
    for (;; least_needed_.pop_back()) {
      if (least_needed_.empty()) find_least_needed();
      const auto found = peers_.find(least_needed_.back());
      if (found != peers_.end() && !found->second.live()) return found;
    }
  }

  void find_least_needed() {
    using Need = std::tuple<bool, TimePoint, NodeId>;
    std::vector<Need> needs;
    for (const auto& [id, peer] : peers_) {
      if (peer.live()) continue;
      needs.emplace_back(!peer.gone || !peer.tracker.missing().empty(), peer.last_heard, id);
    }
    const std::size_t some = (std::min)(needs.size(), (std::max)(max_peers_ / 16, std::size_t{1}));
    std::ranges::partial_sort(needs, needs.begin() + static_cast<std::ptrdiff_t>(some));
    least_needed_.reserve(some);
    for (std::size_t i = some; i != 0; --i) least_needed_.push_back(std::get<NodeId>(needs[i - 1]));
  }

  void forget_one() {
    const auto forgotten = least_needed();
    live_ -= forgotten->second.live() ? 1U : 0U;
    forgot_any_ = true;
    forgot_ = forgot_ || !forgotten->second.gone;
    peers_.erase(forgotten);
  }

  std::size_t max_peers_;
  std::size_t live_ = 0;
  bool forgot_ = false;
  bool forgot_any_ = false;
  std::vector<NodeId> least_needed_;  // the next to be forgotten last
  Peers peers_;
};

}  // namespace syncbus::inline v1::core
