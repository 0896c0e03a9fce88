// Promise 4: whether what happened explains a resync.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include <syncbus/event.hpp>

#include "sim/audit_heartbeats.hpp"

namespace sim {

/// Each resync consumes an incident of its cause, of its peer if it names one. Where no more can be known from outside,
/// that only bounds their number: resyncs that wait join, to one without a peer if theirs differ, which consumes an
/// incident of any; and of frames that are given up together, one is consumed. Such a resync also has to come while
/// some are missing for a reason.
class ResyncAudit : public HeartbeatAudit {
 public:
  void resync_heard(NodeNumber at, const syncbus::Resync& resync, TimePoint now) {
    if (resync.cause == syncbus::ResyncCause::incompatible) other_version_heard(at, now);
    count_loss(at, resync.cause);
    bool explained = false;
    for (NodeNumber peer = 0; peer != nodes_.size(); ++peer) {
      if (peer != at) pair(peer, at).covered = pair(peer, at).known;  // whoever it names: it stands for everything
      if (peer == at || (resync.peer != syncbus::NodeId{} && resync.peer != nodes_[peer].id)) continue;
      if (resync.cause == syncbus::ResyncCause::peer_lost) note_silence(pair(peer, at), at, now);
      pair(peer, at).told = true;
      explained = explained || explains(at, peer, resync.cause, now);
      if (resync.peer != syncbus::NodeId{}) explained = consume(pair(peer, at), resync.cause) && explained;
    }
    if (is_loss(resync.cause) && std::exchange(nodes_[at].moves, 0) != 0) return;
    if (rules_.lied || (consume(nodes_[at], resync.cause) && explained)) return;
    if (crowded(nodes_[at]) && consume_of_crowd(nodes_[at], resync.cause, now)) return;
    fail("promise 4: node " + std::to_string(at) + " raised a resync that nothing explains: " +
         std::string{to_string(resync.cause)} + ", peer " + number_of(resync.peer));
  }

 private:
  /// Whether it is for something that was lost, and not for what was too much or too new, or asked for.
  [[nodiscard]] static bool is_loss(syncbus::ResyncCause cause) noexcept {
    using enum syncbus::ResyncCause;
    return cause == unrepairable || cause == peer_lost || cause == interrupted || cause == joined;
  }

  /// One outage is one loss, however many it befell.
  void count_loss(NodeNumber at, syncbus::ResyncCause cause) {
    if (rules_.losses == 0 || !is_loss(cause)) return;
    if (++nodes_[at].losses <= rules_.losses) return;
    fail("promise 4: node " + std::to_string(at) + " raised " + std::to_string(nodes_[at].losses) +
         " resyncs for one outage");
  }

  /// Not more often than once a heartbeat.
  void other_version_heard(NodeNumber at, TimePoint now) {
    records::Node& node = nodes_[at];
    if (++node.other_versions <= 1 + (now - node.other_version) / rules_.heartbeat) return;
    fail("promise 4: node " + std::to_string(at) + " raised a resync for each frame of another version");
  }

  template <class Record>
  [[nodiscard]] static bool consume(Record& record, syncbus::ResyncCause cause) noexcept {
    if (incidents(record, cause) == 0) return false;
    --incidents(record, cause);
    return true;
  }

  /// One who has heard of more peers than it has room for raises a resync at the beginning, and then not more often than
  /// after a pause. Who was left out, or forgotten, may be a stranger again with a past that is owed, or in an outage
  /// never be heard again.
  [[nodiscard]] bool consume_of_crowd(records::Node& node, syncbus::ResyncCause cause, TimePoint now) const noexcept {
    using enum syncbus::ResyncCause;
    if (cause == overflow) {
      const auto pauses = (now - node.crowded_since) / rules_.crowd_pause;
      return ++node.crowd_resyncs <= static_cast<std::size_t>(pauses) + 1;
    }
    const bool again = cause != incompatible && cause != requested && node.met_again != 0;
    node.met_again -= again ? 1U : 0U;
    return again;
  }

  /// Whether what happened between two nodes can be the reason of a resync, beside the incidents that are counted.
  [[nodiscard]] bool explains(NodeNumber at, NodeNumber peer, syncbus::ResyncCause cause, TimePoint now) const {
    using enum syncbus::ResyncCause;
    const records::Node& node = nodes_[at];
    const records::Node& other = nodes_[peer];
    const records::Pair& got = pair(peer, at);
    const TimePoint since = waited_since(node);
    switch (cause) {
      case overflow:
      case joined:
      case incompatible:
      case requested: return true;
      case unrepairable:
        return (other.publish_only || (may_lose() && repair_failed(at, peer))) && missed_since(got, since);
      case interrupted:
        return (other.publish_only || (may_lose() && outage_hides(at, peer))) && node.cuts != 0 &&
               missed_since(got, (std::min)(node.cut, since));
      case peer_lost: return !rules_.nothing_fails && got.left >= since && fell_silent(at, peer, now);
    }
    return false;
  }

  /// A resync that is heard now was not raised before: what waits for a handler does so since its dispatcher had
  /// nothing to do, and before that it may have waited for what others tell.
  [[nodiscard]] TimePoint waited_since(const records::Node& node) const noexcept {
    return (std::max)(node.busy_since, TimePoint{}) - rules_.waits;
  }

  /// Whether history can be too short, or its owner too dead, to repair what was lost.
  [[nodiscard]] bool may_lose() const noexcept {
    return !rules_.nothing_fails && (!rules_.lossless || !rules_.ample_history || rules_.some_end);
  }

  /// Whether there is a reason why what was lost was not repaired: its owner is short of history, or dead, or a second
  /// copy was lost, where that is not told, or a question was held up.
  [[nodiscard]] bool repair_failed(NodeNumber at, NodeNumber peer) const noexcept {
    const TimePoint since = waited_since(nodes_[at]) - 2 * rules_.repair_timeout;
    if (!rules_.ample_history || !nodes_[peer].alive) return true;
    const bool stalled = nodes_[at].stalled_until >= since || nodes_[peer].stalled_until >= since;
    return !rules_.lossless && (stalled || pair(peer, at).lost_before >= since || pair(at, peer).lost >= since);
  }

  /// Whether what was lost in an outage need not have been repaired after it: its owner is short of history, or was not
  /// there all the time since, or a copy was lost again.
  [[nodiscard]] bool outage_hides(NodeNumber at, NodeNumber peer) const noexcept {
    const records::Node& node = nodes_[at];
    const records::Node& other = nodes_[peer];
    const TimePoint begins = (std::max)((std::min)(node.connected_since, waited_since(node)), TimePoint{});
    const TimePoint since = begins - 2 * rules_.repair_timeout;
    if (!rules_.ample_history || !other.alive || !other.connected || other.cut >= since) return true;
    const bool stalled = node.stalled_until >= since || other.stalled_until >= since;
    return stalled || (!rules_.lossless && (pair(peer, at).lost >= since || pair(at, peer).lost >= since));
  }

  /// Whether it was silent for long enough, and silence could hide a loss.
  [[nodiscard]] bool fell_silent(NodeNumber at, NodeNumber peer, TimePoint now) const noexcept {
    const records::Node& node = nodes_[at];
    const records::Pair& got = pair(peer, at);
    const TimePoint since = waited_since(node);
    if (got.back >= since) return true;
    if (got.heard == records::before_time || now - got.heard < rules_.peer_timeout) return false;
    const bool in_this_session = node.connected_since < since;  // before it nobody can be heard
    if (in_this_session && now - node.connected_since < rules_.peer_timeout) return false;
    const bool whole = rules_.lossless || knows_that_it_is_here(at, peer);
    return !whole || node.cut >= got.told_at || missed_since(got, since);
  }

  /// It said where it is, and nobody else said that there are other places.
  [[nodiscard]] bool knows_that_it_is_here(NodeNumber at, NodeNumber peer) const noexcept {
    if (!at_one_place(at, peer) || pair(peer, at).introduced == records::never) return false;
    const TimePoint since = (std::min)(nodes_[at].connected_since, waited_since(nodes_[at]));
    for (NodeNumber other = 0; other != nodes_.size(); ++other) {
      if (!at_one_place(at, other) && pair(other, at).heard >= since) return false;
    }
    return true;
  }
};

}  // namespace sim
