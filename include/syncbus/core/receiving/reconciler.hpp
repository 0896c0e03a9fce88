// How a node hears its peers: who is met, what is missing of whom, what is asked for again, and what has to become a
// resync.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/core/actions.hpp>
#include <syncbus/core/peers/membership.hpp>
#include <syncbus/core/receiving/gapped_peers.hpp>
#include <syncbus/core/receiving/inbox.hpp>
#include <syncbus/core/receiving/other_versions.hpp>
#include <syncbus/core/receiving/resync_gate.hpp>
#include <syncbus/core/session_state.hpp>
#include <syncbus/core/wire/codec.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>

namespace syncbus::inline v1::core {

/// The one rule of reconciliation lives here. Whatever tells that a peer's last sequence is L (a frame, a heartbeat,
/// after a join, a reconnect, a heal):
///
///  * the peer has a tracker: what is missing up to L is a gap, and is asked for. What its history no longer has, or
///    what does not come within `repair_timeout` while the peer is heard, becomes a resync.
///  * it has none: L is the baseline. Was there a subscriber already that could have heard those L, they are asked for
///    if they are few and history still has all; otherwise they become a resync.
///
/// A resync is raised once for a loss, by a gate: *joined* for the past of a stranger, or of one from another broker,
/// *interrupted* for what was lost while we were cut off, *unrepairable* while we were not, *peer_lost* for silence.
class Reconciler {
 public:
  static constexpr std::uint64_t few_missing = 64;  ///< of a stranger's past: so much is repaired, more is a resync

  Reconciler(const ProtocolOptions& options, const SessionState& state, Membership& membership, Inbox& inbox,
             Metrics& metrics)
      : options_{options}, state_{state}, membership_{membership}, inbox_{inbox}, metrics_{metrics} {}

  /// Whether anybody on this node hears other nodes; without one nothing can be lost.
  void listening(bool listening, TimePoint now) noexcept {
    now_ = now;
    listening_ = listening;
    if (!listening) listening_since_ = now;
  }

  void begin_session(bool listening, TimePoint now) noexcept {
    if (state_.session == 1) listening_since_ = now;
    this->listening(listening, now);
    membership_.begin_session(now);
    const bool unknown_loss = state_.session > 1 && membership_.may_be_others();  // of one that may not even return
    if (unknown_loss && listening_) raise({ResyncCause::interrupted, {}});
    gapped_.for_each([now](NodeId, PeerState& peer) { peer.repair.restart(now); });
    if (options_.publish_only) gate_.hears_nobody();
  }

  /// Messages were lost, and perhaps no peer is left that would tell of them. `moved`: nodes on the next broker are
  /// told, too.
  void lost(bool listening, bool moved) noexcept {
    listening_ = listening;
    if (moved) membership_.moved();
    if (listening_) raise({ResyncCause::interrupted, {}});
  }

  /// We may have heard nothing of others from now on, or for some time already.
  void cut_off(TimePoint now) noexcept {
    gate_.cut_off(membership_.own().heard_until().value_or(now));
  }

  // --- what comes in

  /// A frame of whatever kind came from a node: it is not silent, whether there is room for it or not.
  void heard_from(NodeId origin, TimePoint now) noexcept {
    if (PeerState* const peer = membership_.peers().find(origin)) return hear(*peer, now);
    membership_.left_out().heard_again(now);
  }

  /// An events frame, by itself or, `repaired`, inside a repair.
  void on_events(const EventsView& events, Bytes frame, bool repaired, TimePoint now) {
    const NodeId origin = events.origin();
    const std::uint64_t sequence = events.sequence();
    if (repaired && first_session_is_whole() && no_word_of(origin) && !inbox_.wants({origin, sequence})) {
      return;  // how far a stranger once was is no baseline, and its past is none of ours
    }
    const Extent extent{.last = sequence - 1, .current = !repaired, .in_order = !repaired};
    PeerState* const peer = find_or_meet(origin, extent, now);
    if (peer == nullptr) return inbox_.push_of_left_out(events, frame, now);
    const bool whole = peer->tracker.missing().empty();
    const TimePoint missing_since = peer->missing_since(now);
    const auto seen = peer->tracker.observe(sequence);
    note(*peer, origin, seen, whole, !repaired, now);
    const bool wanted = inbox_.take_wanted({origin, sequence});
    const auto again = repaired ? GivenUp::Taken{} : peer->comes_again(sequence);
    if (again.skipped) raise({ResyncCause::unrepairable, origin});
    if (!seen.fresh && !wanted && !again.one) {
      ++metrics_.duplicates;
      return;
    }
    if (seen.missed) peer->repair.filled(now, frame.size());
    if (repaired) gapped_.came(origin, frame.size(), now);
    if (repaired) ++metrics_.frames_repaired;
    const bool late = seen.late || !seen.fresh || sequence <= peer->heard_before;
    inbox_.push(events, frame, late, seen.missed ? missing_since : now);
    if (peer->gone) peer->ends_behind = inbox_.queue().pushed();
  }

  /// A frame of events in our name that is none of ours; or, not `certain`, of which nobody knows, while another node
  /// has our id: it is heard.
  void on_namesake(const EventsView& events, Bytes frame, bool certain, TimePoint now) {
    if (certain) namesake_heard(now);
    inbox_.push_of_left_out(events, frame, now);
  }
  void on_namesake(const HeartbeatView& heartbeat, TimePoint now) {
    namesake_heard(now);
    membership_.left_out_said(options_.self, heartbeat, LeftOut::Why::doubled, listening_, now);
  }

  /// A peer's heartbeat. `directed`: to us alone, so that it has no place in the common order.
  void on_heartbeat(NodeId origin, const HeartbeatView& heartbeat, bool directed, TimePoint now) {
    if (directed && listening_ && first_session_is_whole() && no_word_of(origin)) {
      return;  // it may have overtaken frames that are under way: the next broadcast cannot
    }
    if (!directed) count_nodes_of(origin, heartbeat, now);
    PeerState* const peer = find_or_meet(origin, Extent::of(heartbeat, directed), now);
    if (peer == nullptr) return membership_.left_out_said(origin, heartbeat, why_left_out(origin), listening_, now);
    peer->may_have_been_heard(accepted_up_to(heartbeat));
    const bool told_who = peer->newest_heartbeat != 0;  // its zone, and whether it answers; a frame does not tell
    membership_.introduced(*peer, heartbeat, !directed, now);
    if (!directed) membership_.received(origin, *peer, heartbeat.number);
    const bool whole = peer->tracker.missing().empty();
    note(*peer, origin, peer->tracker.announce(heartbeat.last_sequence), whole, true, now);
    if (heartbeat.oldest_sequence > 1) peer->forgotten = (std::max)(peer->forgotten, heartbeat.oldest_sequence - 1);
    if (peer->abandon_forgotten(now)) lost(*peer, origin);
    claim(*peer, heartbeat);
    const bool asked_before = std::exchange(peer->asks, heartbeat.answer_me);
    if (heartbeat.answer_me) {
      if (!asked_before) peer->repair.restart(now);  // it was away: what we asked for meanwhile it never heard
      if (heartbeat.hello == 0) membership_.asked(origin, now);
    }
    if (!directed) membership_.greeted(*peer, heartbeat.hello, now);
    if (heartbeat.goodbye) end(*peer);
    if (heartbeat.moved && !told_who) met_from_elsewhere(origin, now);
    if (heartbeat.doubled && !directed) doubled(*peer, origin, now);
    electorate_changed_ = electorate_changed_ || !told_who;
    gate_.release_if_all_have_told(now);
  }

  /// A peer's answer to our hello, or to others': who is there.
  void on_welcome(NodeId origin, WelcomeView welcome, bool directed, TimePoint now) {
    heard_from(origin, now);
    bool names_us = directed;
    for (WelcomeEntry entry; welcome.next(entry);) {
      PeerState* peer = membership_.peers().find(entry.node);
      names_us |= entry.node == options_.self;
      if (entry.node == options_.self) continue;
      if (peer == nullptr) {
        peer = find_or_meet(entry.node, {.current = false, .in_order = false, .will_know_us = true}, now);
        if (peer == nullptr) continue;
        peer->heard = entry.node == origin;
      }
      membership_.peers().change(*peer, [&](PeerState& it) { membership_.told_of(it, entry, origin, !directed); });
    }
    membership_.welcomed(origin, welcome, names_us, listening_ ? 0 : state_.session, now);
  }

  /// Our own heartbeat came back, so we heard until it was sent: peers that we had not heard for long by then are
  /// silent.
  void on_own_heartbeat(std::uint64_t number, TimePoint now) {
    membership_.returned(number, now);
    membership_.peers().for_each([&](NodeId id, PeerState& peer) {
      if (!peer.gone && membership_.silent(peer)) note_silence(id, peer);
    });
    gate_.release_if_all_have_told(now);
    electorate_changed_ = membership_.left_out_end(listening_, now) || electorate_changed_;
  }

  void on_other_version(TimePoint now) noexcept {
    other_versions_.came(now);
    if (other_versions_.raise(now)) raise({ResyncCause::incompatible, {}});
  }

  /// There was no memory for what a frame of this peer told. All that is missing of the peer counts as lost.
  void out_of_memory(NodeId origin) noexcept {
    PeerState* const peer = membership_.peers().find(origin);
    if (peer != nullptr) peer->tracker.abandon();
    if (listening_) raise({ResyncCause::overflow, origin});
    if (peer != nullptr && !peer->live()) end(*peer);
  }

  // --- time

  /// Without a session, in which what is asked for could come, nothing is given up.
  void tick(TimePoint now) {
    now_ = now;
    if (membership_.close_window(now)) {
      gate_.window_closed(now);
      electorate_changed_ = true;  // it is whole
    }
    electorate_changed_ = membership_.becomes_sure(now) || electorate_changed_;
    if (other_versions_.raise(now)) raise({ResyncCause::incompatible, {}});
    gate_.tick(now);
    gapped_.prune();
    if (!state_.connected) return;
    gapped_.for_each([&](NodeId id, PeerState& peer) {
      if (peer.abandon_forgotten(now) || (now >= gives_up_at(peer) && peer.abandon())) lost(peer, id);
    });
  }

  /// When tick() has something to do, or next_request(), if this node `speaks`.
  [[nodiscard]] TimePoint due(bool speaks) const noexcept {
    TimePoint due = (std::min)({membership_.window_ends(), membership_.sure_at(), other_versions_.due(), gate_.due()});
    if (!speaks) return due;
    due = (std::min)({due, membership_.welcome_due(), inbox_.wanted_due()});
    gapped_.for_each([&](NodeId, const PeerState& peer) {
      due = (std::min)({due, peer.repairs() ? peer.repair.due() : due, gives_up_at(peer)});
    });
    return due;
  }

  /// Writes a repair request that is due now, into `out`: of as many ranges as it holds.
  [[nodiscard]] std::optional<RepairRequest> next_request(std::span<std::byte> out, TimePoint now) {
    if (const auto wanted = inbox_.next_wanted(now)) {
      return request(out, wanted->publisher, std::array{SequenceRange{wanted->sequence, wanted->sequence}});
    }
    gapped_.for_each([&](NodeId id, PeerState& peer) {
      if (peer.abandon_forgotten(now)) lost(peer, id);
    });
    const auto [id, peer, frames, under_way] = gapped_.next_turn(now);
    if (peer == nullptr) return std::nullopt;
    const RequestedRanges ranges{peer->tracker.missing(), frames, ranges_that_fit(out.size())};
    peer->repair.asked(now, ranges.frames(), membership_.own().answer_time(), under_way);
    return request(out, id, ranges.all());
  }

  // --- what can be seen

  /// How long ago something may have been published that was not heard yet: of the peers that are heard, the worst. Of
  /// a publish_only peer, which proves nothing, what is known to be missing counts.
  [[nodiscard]] Duration staleness(TimePoint now) noexcept {
    const std::uint64_t pushed = inbox_.queue().pushed();
    const std::uint64_t settled = inbox_.queue().settled();
    TimePoint fresh_at = gate_.waiting_since(now);
    membership_.peers().for_each([&](NodeId, PeerState& peer) {
      if (!peer.live() && peer.tracker.missing().empty() && settled >= peer.ends_behind) return;
      if (!gate_.holds()) peer.freshness.prove(peer.tracker, pushed, settled);
      fresh_at = (std::min)(fresh_at, peer.publish_only ? peer.missing_since(now) : peer.freshness.fresh_at());
    });
    return now - fresh_at;
  }

  /// Whether who can answer an await has changed since the last call.
  [[nodiscard]] bool electorate_changed() noexcept { return std::exchange(electorate_changed_, false); }

 private:
  /// Whether everything has come that was published since this node began: then nothing from before a peer's first word
  /// is owed to us.
  [[nodiscard]] bool first_session_is_whole() const noexcept {
    return options_.lossless_sessions && state_.session == 1;
  }

  /// See silence_may_hide_loss. In a whole first session a peer need not have said how far it is: what it published
  /// since we began has come.
  [[nodiscard]] bool may_hide_loss(const PeerState& peer) const noexcept {
    const bool need_not = peer.reconciled_in == 0 && first_session_is_whole();
    const bool known_to_us = peer.heard || !peer.tracker.missing().empty();  // of whom only others told, we owe nothing
    const bool lossless = options_.lossless_sessions || membership_.is_here(peer);
    return known_to_us && silence_may_hide_loss(peer, lossless, need_not ? 0 : state_.session);
  }

  /// Whether a node is a stranger, or one that was met by a repair and has not said how far it is.
  [[nodiscard]] bool no_word_of(NodeId node) const noexcept {
    const PeerState* const peer = membership_.peers().find(node);
    return peer == nullptr || peer->reconciled_in == 0;
  }

  [[nodiscard]] PeerState* find_or_meet(NodeId origin, const Extent& extent, TimePoint now) {  // nullptr: left out
    const bool past_is_ours = listening_ && !first_session_is_whole();
    PeerState* const known = membership_.peers().find(origin);
    const bool only_told_of = known != nullptr && known->is_only_told_of() && extent.current;
    if (known != nullptr) hear(*known, now);
    if (known != nullptr && known->doubled) {
      leave_out(LeftOut::Why::doubled, now);
      return nullptr;
    }
    if (known != nullptr && !only_told_of) {
      if (extent.in_order && known->contradicts(extent, now)) raise({ResyncCause::unrepairable, origin});
      if (known->reconciled_in == 0 && !past_is_ours) {
        known->tracker = SequenceTracker{(std::max)(extent.last, known->tracker.last_known())};
      }
      return known;
    }
    if (known == nullptr && !membership_.peers().takes_one_more()) {
      leave_out(LeftOut::Why::no_room, now);
      return nullptr;
    }
    const bool owed = past_is_ours && extent.last != 0;
    const bool repairable = extent.last <= few_missing && extent.oldest <= 1;
    if (const auto id = known == nullptr ? membership_.peers().next_forgotten() : std::nullopt) forget(*id);
    const std::uint64_t baseline = owed && repairable ? 0 : extent.last;
    PeerState& peer = known != nullptr ? *known : membership_.peers().add(origin, baseline, now);
    peer.meet(extent, baseline, state_.session, membership_.may_have_heard_strangers());
    const bool behind = extent.ahead != 0 || (extent.last != 0 && membership_.may_have_heard_strangers());
    if (owed || (listening_ && behind)) peer.freshness = Freshness{listening_since_};
    if (!extent.will_know_us) membership_.stranger_met(now);
    electorate_changed_ = true;
    if (owed && !repairable) met_from_elsewhere(origin, now);
    return &peer;
  }

  [[nodiscard]] LeftOut::Why why_left_out(NodeId node) const noexcept {
    return membership_.peers().find(node) == nullptr ? LeftOut::Why::no_room : LeftOut::Why::doubled;
  }
  void leave_out(LeftOut::Why why, TimePoint now) noexcept {
    membership_.leave_out(why, now, listening_ ? std::optional{listening_since_} : std::nullopt, state_.session);
  }

  void namesake_heard(TimePoint now) noexcept {
    membership_.namesake_heard(now);
    leave_out(LeftOut::Why::doubled, now);
    electorate_changed_ = true;
  }

  /// A peer's heartbeat says whether two nodes have its id: see Namesake. What of either was taken for the other's
  /// before that was known is lost.
  void count_nodes_of(NodeId id, const HeartbeatView& heartbeat, TimePoint now) {
    PeerState* const peer = membership_.peers().find(id);
    if (peer == nullptr) return;
    if (heartbeat.doubled) {
      if (!peer->doubled && listening_) raise({ResyncCause::unrepairable, id});
      doubled(*peer, id, now);
    } else if (peer->doubled && now - peer->doubled_at > membership_.patience()) {
      peer->is_one_again(heartbeat.last_sequence);
    }
  }
  void doubled(PeerState& peer, NodeId id, TimePoint now) {
    if (!std::exchange(peer.doubled, true)) {
      membership_.doubled(id);
      peer.abandon();
      electorate_changed_ = true;
    }
    peer.doubled_at = now;
  }

  /// Events that were published on the peer's broker of before have not come here, and perhaps nobody has them.
  void met_from_elsewhere(NodeId origin, TimePoint now) {
    if (!listening_) return;
    membership_.reopen_window(now);
    raise({ResyncCause::joined, origin});
  }

  /// Nobody will notice any more that something of this peer, which is not live, does not come.
  void forget(NodeId id) {
    PeerState& peer = *membership_.peers().find(id);
    if (!peer.tracker.missing().empty()) lost(peer, id);
  }

  [[nodiscard]] TimePoint gives_up_at(const PeerState& peer) const noexcept {
    return peer.repair.gives_up_at(options_.repair_timeout, peer.last_heard, peer.gone);
  }

  void hear(PeerState& peer, TimePoint now) noexcept {
    if (now > peer.overdue_at()) {
      peer.repair.restart(now);
      if (peer.heard) gate_.returned(peer, now);
    }
    peer.last_heard = now;
    peer.heard = true;
    if (!peer.silent) return;
    membership_.peers().change(peer, [](PeerState& changed) { changed.silent = false; });
    electorate_changed_ = true;
  }

  /// The tracker has learned something. `whole`: nothing was missing before. `current`: as in Extent.
  void note(PeerState& peer, NodeId origin, const SequenceTracker::Observation& seen, bool whole, bool current,
            TimePoint now) {
    const bool lost_in_outage = peer.reconciled_in != state_.session && state_.session > 1;
    if (current) peer.spoke_in(state_.session);
    if (seen.gap) {
      metrics_.gaps += seen.newly_missing();
      peer.waiting.added(seen.gap->first - 1, peer.tracker.missing().front().first - 1, now);
      peer.cut_off = lost_in_outage || (peer.cut_off && !whole);
      gapped_.add(origin);
      const Duration delay = membership_.random_delay(repair_spread(membership_.peers().live()));
      peer.repair.found(now, delay, whole);
    }
    if (seen.given_up) lost(peer, origin);
  }

  /// What the heartbeat proves; while a resync is held back nothing is proved, and the next heartbeat says it again.
  /// Events that the peer had accepted but not sent by then count, too: until they are heard, nothing is fresh.
  void claim(PeerState& peer, const HeartbeatView& heartbeat) noexcept {
    const auto at = membership_.proved_by(heartbeat.newest_origin, heartbeat.newest_number);
    const auto accepted = accepted_up_to(heartbeat);
    if (!at || gate_.holds() || !accepted) return;
    const ReceiveQueue& inbox = inbox_.queue();
    peer.freshness.claim(*at, *accepted, peer.tracker, inbox.pushed(), inbox.settled());
  }

  /// Something of a peer will not come any more.
  void lost(PeerState& peer, NodeId origin) {
    raise({peer.cut_off ? ResyncCause::interrupted : ResyncCause::unrepairable, origin}, peer.waiting.since(0));
    if (!peer.live()) end(peer);
  }

  /// It is not live any more: what came of it, and a resync that stands for the rest, is all that handlers will hear.
  void end(PeerState& peer) noexcept {
    peer.ends_behind = inbox_.queue().pushed();
    electorate_changed_ = true;
  }

  /// A silence that can have hidden nothing so far may do so yet, if we are cut off in its time: it stays in question.
  void note_silence(NodeId id, PeerState& peer) {
    if (peer.silent && !peer.silence_in_question) return;
    const bool news = !peer.silent;
    membership_.peers().change(peer, [this](PeerState& changed) { changed.fall_silent(now_); });
    const bool loss = may_hide_loss(peer);
    const TimePoint since = peer.missing_since(now_);
    peer.silence_in_question = !loss;
    peer.abandon();
    if (loss) {
      gate_.fell_silent(now_);
      raise({ResyncCause::peer_lost, id}, peer.publish_only ? since : (std::min)(since, peer.freshness.fresh_at()));
    }
    if (news || loss) end(peer);
  }

  /// There is reason for a resync, known since `since`, or now.
  void raise(const Resync& resync, std::optional<TimePoint> since = {}) noexcept {
    gate_.raise(resync, since.value_or(now_), now_);
  }

  [[nodiscard]] std::optional<RepairRequest> request(std::span<std::byte> out, NodeId publisher,
                                                     std::span<const SequenceRange> ranges) const {
    return RepairRequest{publisher, encode_repair_request(out, options_.self, publisher, publisher, ranges)};
  }

  const ProtocolOptions& options_;
  const SessionState& state_;
  Membership& membership_;
  Inbox& inbox_;
  Metrics& metrics_;
  bool listening_ = false;
  TimePoint listening_since_{};  ///< when nobody did, last
  TimePoint now_{};
  bool electorate_changed_ = false;
  GappedPeers gapped_{membership_.peers(), options_.queue_bytes};
  ResyncGate gate_{state_, membership_, gapped_, inbox_};
  OtherVersions other_versions_{options_.heartbeat};
};

}  // namespace syncbus::inline v1::core
