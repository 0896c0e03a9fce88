// What became of the frames of a simulated world: which were handed over, confirmed, lost, came; what that explains.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <syncbus/event.hpp>

#include "sim/audit_books.hpp"

namespace sim {

class CopyAudit : public Books {
 public:
  // --- the publisher's end

  /// No resync may go out but those that were asked for, and those of a full outbox.
  void handed_over(NodeNumber from, const Label& label) {
    records::Node& node = nodes_[from];
    if (label.kind != Label::Kind::events || label.sequence <= node.handed_over) return;
    node.handed_over = label.sequence;
    const std::size_t clearings = tops(label, syncbus::ResyncCause::requested);
    const bool overflown = tops(label, syncbus::ResyncCause::overflow) != 0;
    const bool no_reason = overflown && !outbox_may_be_full(node) && !std::exchange(node.too_large, false);
    if (clearings > node.clearings || no_reason) {
      return fail("promise 4: node " + std::to_string(from) + " publishes a resync that nothing explains");
    }
    node.clearings -= clearings;
  }

  void confirmed(NodeNumber node, std::uint64_t sequence) {
    nodes_[node].confirmed = (std::max)(nodes_[node].confirmed, sequence);
  }

  /// Its machine has nothing to hand over now. With all confirmed that it ever did, whatever it accepted is saved: what
  /// it kept back all the same, it has lost.
  void at_rest(NodeNumber number) {
    records::Node& node = nodes_[number];
    if (!node.connected || node.confirmed < node.handed_over) return;
    node.saved = events_.size();
    node.unsaved = 0;
  }

  /// Its machine says that a flush has ended.
  void flushed(NodeNumber number) {
    if (nodes_[number].unsaved == 0) return;
    fail("promise 9: a flush of node " + std::to_string(number) + " ended before its events were confirmed");
  }

  /// A request for frames of its own has come to a node, and it has done what it will. History that its last heartbeat
  /// told of, and that nothing has pushed out since, is sent, unless it was within the time in which one answer is for
  /// all who ask.
  void requested(NodeNumber at, const Label& label, TimePoint now) {
    records::Node& node = nodes_[at];
    const bool as_told = node.history_told >= node.connected_since && node.accepted == node.accepted_then &&
                         node.confirmed == node.confirmed_then;
    if (!as_told || !node.connected || node.silent_from_now || node.shrunk || rules_.lied) return;
    for (const Label::Range& range : label.ranges) {
      const std::uint64_t last = (std::min)(range.last, node.history_to);
      for (std::uint64_t one = (std::max)(range.first, node.history_from); one <= last; ++one) {
        if (one < node.repaired.size() && node.repaired[one] >= now - one_answer_for) continue;
        return fail("promise 4: node " + std::to_string(at) + " says that its history begins at frame " +
                    std::to_string(node.history_from) + ", and does not send frame " + std::to_string(one) + " again");
      }
    }
  }

  // --- the receiver's end

  void copy_lost(NodeNumber from, NodeNumber to, TimePoint now) {
    records::Pair& got = pair(from, to);
    got.lost_before = std::exchange(got.lost, now);
  }

  /// A whole one, before the receiver learns of it.
  void copy_came(NodeNumber from, NodeNumber to, const Label& label, TimePoint now) {
    records::Pair& got = pair(from, to);
    heard_of(got, to, now);
    if (note_silence(got, to, now)) got.back = now;
    got.silence_noted = false;
    got.heard = now;
    got.told = false;
    if (label.kind == Label::Kind::goodbye) got.left = (std::min)(got.left, now);
    got.goodbye = got.left != records::never;
    if (label.asks) ++nodes_[to].reasons;
    if (label.introduces()) introduced(got, to, label, now);
    if (label.kind == Label::Kind::welcome) welcomed(got, to, label, now);
    if (!label.carries_events()) return;
    if (got.got.size() <= label.sequence) got.got.resize(label.sequence + 1, records::never);
    TimePoint& first = got.got[label.sequence];
    // What its publisher sends again, because nothing has confirmed it, may never have been stored before.
    const bool of_the_past = first == records::past && label.kind == Label::Kind::events;
    const bool fresh = first == records::never || of_the_past;
    first = of_the_past ? records::past_came : (std::min)(first, now);
    const bool may_be_heard = fresh || !rules_.heard_once || !rules_.room_for_all();
    if (may_be_heard || label.kind == Label::Kind::repair) queued(to, label.bytes);
    if (!may_be_heard) return;
    for (std::size_t cause = 0; cause != label.tops.size(); ++cause) {
      if (label.tops[cause] != 0) happened(got, to, static_cast<syncbus::ResyncCause>(cause), label.tops[cause]);
    }
  }

  void dispatched(NodeNumber node, std::size_t bytes) {
    nodes_[node].backlog -= (std::min)(nodes_[node].backlog, bytes);
  }

  /// The dispatcher of a node has found nothing to do: what filled the queue, and what came in it, has been heard.
  void idle(NodeNumber number, TimePoint now) {
    using enum syncbus::ResyncCause;
    records::Node& node = nodes_[number];
    node.backlog = node.peak_backlog = 0;
    node.busy_since = now;
    for (const syncbus::ResyncCause cause : {overflow, requested}) {
      if (std::exchange(incidents(node, cause), 0) == 0) continue;
      for (NodeNumber from = 0; from != nodes_.size(); ++from) incidents(pair(from, number), cause) = 0;
    }
  }

 protected:
  /// Who asks for a frame so soon after it was sent again has it on the way.
  static constexpr Duration one_answer_for = std::chrono::milliseconds{50};
  /// A stranger's past is asked for if it is not longer.
  static constexpr std::uint64_t short_past = 64;

  /// Incidents, of a node or a pair, that no resync has consumed yet. One frame that does not come is one, whether it
  /// is given up as unrepairable or as interrupted.
  template <class Record>
  [[nodiscard]] static std::uint32_t& incidents(Record& record, syncbus::ResyncCause cause) noexcept {
    const bool missed = cause == syncbus::ResyncCause::interrupted;
    return record.incidents[static_cast<std::size_t>(missed ? syncbus::ResyncCause::unrepairable : cause)];
  }

  void happened(records::Pair& got, NodeNumber to, syncbus::ResyncCause cause, std::uint64_t times = 1) noexcept {
    incidents(got, cause) += static_cast<std::uint32_t>(times);
    incidents(nodes_[to], cause) += static_cast<std::uint32_t>(times);
  }

  void happened(NodeNumber to, syncbus::ResyncCause cause) noexcept { ++incidents(nodes_[to], cause); }

  /// Whether one was silent for long enough to be taken for lost; each silence is one incident.
  bool note_silence(records::Pair& got, NodeNumber to, TimePoint now) noexcept {
    if (got.heard == records::before_time || now - got.heard < rules_.peer_timeout) return false;
    if (!std::exchange(got.silence_noted, true)) {
      happened(got, to, syncbus::ResyncCause::peer_lost);
      ++nodes_[to].met_again;
    }
    return true;
  }

  /// Whether a node has heard of more peers than it has room for.
  [[nodiscard]] bool crowded(const records::Node& node) const noexcept { return node.peers > rules_.max_peers; }

  /// Whether anybody at a node hears others.
  [[nodiscard]] bool listens(NodeNumber node) const noexcept {
    return std::ranges::any_of(subscribers_, [node](const records::Subscriber& subscriber) {
      return subscriber.node == node && subscriber.alive;
    });
  }

  /// Whether a node can have come to know a sequence that had not come at a time.
  [[nodiscard]] static bool missed_since(const records::Pair& got, TimePoint since) noexcept {
    if (got.got.size() <= got.known) return got.known != 0;
    const auto begin = got.got.begin() + 1;
    return std::any_of(begin, begin + static_cast<std::ptrdiff_t>(got.known),
                       [since](TimePoint came) { return came >= since; });
  }

 private:
  void heard_of(records::Pair& got, NodeNumber at, TimePoint now) noexcept {
    records::Node& node = nodes_[at];
    if (std::exchange(got.known_of, true)) return;
    ++node.met_again;
    if (++node.peers > rules_.max_peers) node.crowded_since = (std::min)(node.crowded_since, now);
  }

  [[nodiscard]] static std::size_t tops(const Label& label, syncbus::ResyncCause cause) noexcept {
    return label.tops[static_cast<std::size_t>(cause)];
  }

  /// What is not confirmed yet may wait in the outbox.
  [[nodiscard]] bool outbox_may_be_full(const records::Node& node) const noexcept {
    return (node.unsaved + 1) * rules_.most_event_bytes >= rules_.pending_bytes;
  }

  /// A frame of a welcome. It is an answer to the receiver when all of it has come, and some of it names that.
  void welcomed(records::Pair& got, NodeNumber to, const Label& label, TimePoint now) {
    records::Welcome& welcome = got.welcome;
    if (welcome.number != label.welcome || welcome.came.size() != label.parts) {
      welcome = {.number = label.welcome, .came = std::vector<bool>(label.parts)};
    }
    for (const Label::Name& name : label.names) named(name, to, false, now);
    welcome.names_it |=
        label.directed || std::ranges::find(label.names, nodes_[to].id, &Label::Name::node) != label.names.end();
    if (label.part < label.parts && !welcome.came[label.part]) {
      welcome.came[label.part] = true;
      welcome.names.insert(welcome.names.end(), label.names.begin(), label.names.end());
    }
    if (!welcome.names_it || !welcome.whole() || nodes_[to].first_subscribed <= now) return;
    for (const Label::Name& name : welcome.names) named(name, to, true, now);
  }

  /// A welcome tells how far somebody is whom the receiver need not have heard yet.
  /// `for_it`: it is an answer to its hello, and nobody listens yet; then it is a meeting.
  void named(const Label::Name& name, NodeNumber to, bool for_it, TimePoint now) {
    const auto node = std::ranges::find(nodes_, name.node, &records::Node::id);
    const auto number = static_cast<NodeNumber>(node - nodes_.begin());
    if (node == nodes_.end() || number == to || rules_.lied) return;
    records::Pair& got = pair(number, to);
    heard_of(got, to, now);
    if (name.heartbeat != 0) got.introduced = (std::min)(got.introduced, now);
    if (got.met != records::never || !name.current || !for_it) return;
    met(got, to, name.sequence, true, now);
    got.known_at.resize((std::max)(got.known_at.size(), static_cast<std::size_t>(name.sequence) + 1),
                        got.past_is_ours ? now : records::never);
  }

  /// Of what a stranger had sent before, what is owed is asked for, if it is little; what is not owed is known.
  void met(records::Pair& got, NodeNumber to, std::uint64_t past, bool for_good, TimePoint now) {
    const bool first_session_is_whole = rules_.lossless && nodes_[to].cuts == 0;
    const bool owed =
        past != 0 && nodes_[to].first_subscribed <= now && !rules_.nothing_fails && !first_session_is_whole;
    const bool too_long = past > short_past || !rules_.ample_history;
    if (owed && too_long && !std::exchange(got.past_missed, true)) happened(got, to, syncbus::ResyncCause::joined);
    if (!for_good) return;
    if (first_session_is_whole || past > short_past) {
      got.known = (std::max)(got.known, past);
      got.got.resize((std::max)(got.got.size(), got.known + 1), records::past);
    }
    got.met = now;
    got.past_is_ours = owed;
  }

  /// `got` tells how far its sender is; what it tells of and has not come is missing from now on.
  void introduced(records::Pair& got, NodeNumber to, const Label& label, TimePoint now) {
    const bool met_now = !label.directed || label.kind == Label::Kind::repair;
    if (label.kind != Label::Kind::repair) got.told_at = now;
    if (label.moved && got.introduced == records::never) happened(got, to, syncbus::ResyncCause::joined);
    if (!label.carries_events()) got.introduced = (std::min)(got.introduced, now);
    if (got.met == records::never) met(got, to, label.past(), met_now, now);
    if (label.past() > got.known) {
      happened(got, to, syncbus::ResyncCause::unrepairable, label.past() - got.known);
    }
    got.known_at.resize((std::max)(got.known_at.size(), got.known + 1), records::never);
    if (label.sequence > got.known) got.known_at.resize(label.sequence + 1, listens(to) ? now : records::never);
    got.known = (std::max)(got.known, label.sequence);
  }

  /// A frame that comes while the queue may be full can join all that waits to a resync, but not to two. A ring whose
  /// frames lie in one piece may be full at half, and what has joined waits until the last of it has been heard.
  void queued(NodeNumber to, std::size_t bytes) {
    records::Node& node = nodes_[to];
    node.backlog += bytes + 64;
    node.peak_backlog = (std::max)(node.peak_backlog, node.backlog);
    if (2 * node.peak_backlog >= rules_.queue_bytes) ++incidents(node, syncbus::ResyncCause::overflow);
  }
};

}  // namespace sim
