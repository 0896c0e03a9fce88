// Promise 4: whether what happened explains a resync.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>

#include <syncbus/event.hpp>

#include "sim/audit_books.hpp"

namespace sim {

class ResyncAudit : public Books {
 public:
  void resync_heard(NodeNumber at, const syncbus::Resync& resync, TimePoint now) {
    bool explained = resync.cause == syncbus::ResyncCause::overflow && queue_was_full(nodes_[at]);
    for (NodeNumber peer = 0; peer != nodes_.size() && !explained; ++peer) {
      if (peer == at || (resync.peer != syncbus::NodeId{} && resync.peer != nodes_[peer].id)) continue;
      explained = explains(at, peer, resync.cause, now);
    }
    if (explained) return;
    fail("promise 4: node " + std::to_string(at) + " raised a resync that nothing explains: " +
         std::string{to_string(resync.cause)} + ", peer " + number_of(resync.peer));
  }

 private:
  [[nodiscard]] bool queue_was_full(const records::Node& node) const noexcept {
    return 2 * node.peak_backlog >= rules_.queue_bytes;  // a ring whose frames lie in one piece may be full at half
  }

  /// Whether what happened between two nodes can be the reason of a resync.
  [[nodiscard]] bool explains(NodeNumber at, NodeNumber peer, syncbus::ResyncCause cause, TimePoint now) {
    using enum syncbus::ResyncCause;
    const records::Node& node = nodes_[at];
    const records::Node& other = nodes_[peer];
    records::Pair& got = pair(peer, at);
    switch (cause) {
      case overflow: return other.waited;
      case requested: return other.clearings != 0;
      case unrepairable:
        return (other.publish_only || (may_lose() && repair_failed(at, peer))) &&
               misses(got, other, node.busy_since);
      case interrupted:
        return (other.publish_only || may_lose()) && node.cuts != 0 &&
               misses(got, other, (std::min)(node.cut, node.busy_since));
      case joined: return got.behind_when_met != 0 && got.subscribed_when_met && may_join(node, got);
      case peer_lost: return !rules_.nothing_fails && !got.goodbye && fell_silent(node, other, got, now);
      case incompatible: return false;
    }
    return false;
  }

  /// Whether history can be too short, or its owner too dead, to repair what was lost.
  [[nodiscard]] bool may_lose() const noexcept {
    return !rules_.nothing_fails && (!rules_.lossless || !rules_.ample_history || rules_.some_end);
  }

  /// Whether there is a reason why what was lost was not repaired: its owner is short of history, or dead, or a second
  /// copy was lost, where that is not told.
  [[nodiscard]] bool repair_failed(NodeNumber at, NodeNumber peer) const noexcept {
    const TimePoint since = (std::max)(nodes_[at].busy_since, TimePoint{}) - 2 * rules_.repair_timeout;
    if (!rules_.ample_history || !nodes_[peer].alive) return true;
    return !rules_.lossless && (pair(peer, at).lost_before >= since || pair(at, peer).lost >= since);
  }

  /// Whether a frame of another had not come when the dispatcher had nothing to do last.
  [[nodiscard]] static bool misses(const records::Pair& got, const records::Node& other, TimePoint since) noexcept {
    if (got.got.size() <= other.handed_over) return other.handed_over != 0;
    return std::any_of(std::next(got.got.begin()), got.got.end(), [since](TimePoint came) { return came >= since; });
  }

  [[nodiscard]] bool may_join(const records::Node& node, const records::Pair& got) const noexcept {
    if (rules_.nothing_fails || (rules_.lossless && node.cuts == 0)) return false;
    return !rules_.ample_history || got.behind_when_met > 64;
  }

  /// Whether it was silent for long enough, and silence could hide a loss.
  [[nodiscard]] bool fell_silent(const records::Node& node, const records::Node& other, const records::Pair& got,
                                 TimePoint now) const noexcept {
    if (got.heard == records::before_time) return false;
    if (got.back >= node.busy_since) return true;
    if (now - got.heard < rules_.peer_timeout) return false;
    return !rules_.lossless || node.cut >= got.told || misses(got, other, node.busy_since);
  }
};

}  // namespace sim
