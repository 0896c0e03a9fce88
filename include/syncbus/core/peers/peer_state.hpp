// The state of one peer.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/core/peers/freshness.hpp>
#include <syncbus/core/peers/given_up.hpp>
#include <syncbus/core/peers/oldest_waiting.hpp>
#include <syncbus/core/peers/repair_timer.hpp>
#include <syncbus/core/peers/sequence_tracker.hpp>
#include <syncbus/core/wire/heartbeat_frame.hpp>
#include <syncbus/core/wire/welcome_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// What a peer says about its frames.
struct Extent {
  std::uint64_t last = 0;
  std::uint64_t oldest = 0;  ///< in its history; 0: not said
  std::uint64_t ahead = 0;   ///< as in HeartbeatView
  bool current = true;       ///< it is so far now; a repair only tells how far it was
  bool in_order = true;      ///< a broadcast says so, which has overtaken none
  bool begins = false;       ///< a session: what it sends again it has not yet
  bool will_know_us = false; ///< it does, or will when somebody has welcomed it: no heartbeat need hasten

  [[nodiscard]] static Extent of(const HeartbeatView& heartbeat, bool directed) noexcept {
    return {heartbeat.last_sequence, heartbeat.oldest_sequence, heartbeat.ahead, true, !directed, heartbeat.answer_me,
            heartbeat.hello != 0};
  }
};

/// A peer is *live* until it falls silent or says goodbye. A silent one that is heard again is live again; one that is
/// gone never comes back, since a new bus is a new node.
struct PeerState {
  static constexpr Duration a_while = std::chrono::seconds{1};  ///< so long no copy of a frame is late

  PeerState(std::uint64_t baseline, TimePoint now) noexcept
      : tracker{baseline}, freshness{now}, last_heard{now} {}

  SequenceTracker tracker;
  GivenUp given_up;
  std::uint64_t heard_before = 0;  ///< up to this sequence its frames may have been heard before we met
  std::uint64_t told = 0;  ///< the highest last sequence that its broadcasts have told of
  std::optional<TimePoint> behind_since;  ///< its heartbeats have told of less
  std::optional<TimePoint> older_since;   ///< their numbers were below that of the newest
  OldestWaiting waiting;  ///< since when the oldest of what is missing is known
  RepairTimer repair;
  std::uint64_t forgotten = 0;  ///< its history begins behind this one: what is missing up to it is under way, or lost
  Freshness freshness;
  HeartbeatPositions positions;
  TimePoint last_heard;
  std::uint64_t reconciled_in = 0;  ///< our session in which it last said how far it is; what is missing then is known.
                                    ///< 0: it has not yet, and was met by a repair
  bool cut_off = false;             ///< what is missing was found after an interruption of ours
  std::uint64_t ends_behind = 0;    ///< of one that is not live: the position in the queue behind which all of it lies
  bool back_without_word = false;   ///< it is heard again after it was overdue, and has not said how far it is
  bool asks = false;                ///< its newest heartbeat asked to be answered
  bool silent = false;
  TimePoint silent_since{};
  bool silence_in_question = false; ///< of one that is silent: no resync has covered what it may yet hide
  bool gone = false;                ///< it said goodbye
  bool publish_only = false;
  bool observer = false;
  bool greets = false;              ///< it can answer hellos
  bool doubled = false;             ///< its heartbeats said that two nodes have its id: nothing is kept about either
  TimePoint doubled_at{};           ///< and when the last one did
  bool heard = true;                ///< by ourselves; until then others have told of it
  bool only_told_of = false;        ///< and it has not said how far it is
  NodeId told_by{};                 ///< in a welcome: how far it was
  std::uint64_t told_last = 0;      ///< and this is how far
  bool wants_welcome = false;       ///< it said hello, and nobody has answered as far as we know
  std::uint64_t hello = 0;          ///< which of its hellos was the newest
  TimePoint joins_until = (TimePoint::min)();  ///< until then it may not have joined yet
  std::uint64_t newest_heartbeat = 0;
  std::uint64_t oldest = 0;         ///< frame in its history, as that heartbeat said
  std::uint64_t place = 0;          ///< where it is, as that heartbeat said: see Places
  Duration interval{};              ///< in which it announced its next heartbeat
  std::string name;
  std::string zone;

  /// Of `heard_before`: it has not said yet how far it is.
  static constexpr std::uint64_t not_told = (std::numeric_limits<std::uint64_t>::max)();

  [[nodiscard]] bool live() const noexcept { return !silent && !gone; }

  /// Whether its own first word about how far it is will be the first contact: not even a repair has come.
  [[nodiscard]] bool is_only_told_of() const noexcept { return only_told_of && tracker.last_known() == 0; }

  /// Whether it can acknowledge.
  [[nodiscard]] bool answers() const noexcept { return live() && !publish_only && !observer; }

  /// When a heartbeat of it will have been missed for certain, if it is not heard before; never, before its first.
  [[nodiscard]] TimePoint overdue_at() const noexcept {
    return newest_heartbeat == 0 ? detail::never : last_heard + 2 * interval;
  }

  /// Gives up what is missing up to `last`; whether anything was.
  bool abandon(std::uint64_t last = (std::numeric_limits<std::uint64_t>::max)()) {
    given_up.add(tracker.missing(), last);
    return tracker.abandon(last);
  }

  /// Gives up what history had no longer when it was asked for, or what was asked for and has not come in time; what is
  /// under way may yet: repairs and heartbeats come by different ways. Whether anything was.
  bool abandon_forgotten(TimePoint now) {
    return forgotten != 0 && repair.frames_under_way(now) == 0 && abandon(std::exchange(forgotten, 0));
  }

  /// It has said how far it is, in our `session`.
  void spoke_in(std::uint64_t session) noexcept {
    reconciled_in = session;
    back_without_word = false;
  }

  /// A resync stands for what is missing.
  void cover() noexcept try {
    abandon();
  } catch (const std::bad_alloc&) {
    tracker.abandon();  // what of it comes after all is a duplicate then
  }

  /// A broadcast frame of it came. Whether it is to be heard even if it counts as seen: the broker may not have had it
  /// before, or it was given up because of a lie.
  [[nodiscard]] GivenUp::Taken comes_again(std::uint64_t sequence) {
    const bool again = tracker.sent_again(sequence);
    const GivenUp::Taken taken = given_up.take(sequence);
    return {again || taken.one, taken.skipped};
  }

  /// A broadcast says how far it is, and broadcasts of one node keep their order, but for a few that are late or sent
  /// again as a session begins. Whether that is far behind what was told before, or behind it with each heartbeat for a
  /// while: then somebody lied, and what is known of its frames is worth nothing. It begins anew.
  [[nodiscard]] bool contradicts(const Extent& extent, TimePoint now) {
    constexpr std::uint64_t jump = SequenceTracker::remembered;
    const std::uint64_t last = extent.last;
    told = (std::max)(told, tracker.last_known());  // whoever told: a welcome and a repair can lie, too
    const bool heartbeat = extent.oldest != 0 && !extent.begins;
    if (last >= told) {
      behind_since.reset();
    } else if (heartbeat && !behind_since) {
      behind_since = now;
    }
    const bool long_behind = heartbeat && behind_since && now - *behind_since >= a_while;
    const bool lie = long_behind || (told > jump && last < told - jump);
    told = (std::max)(told, last);
    if (lie) begin_anew(last);
    return lie;
  }

  /// What is known of its frames is worth nothing, but for what comes behind `last`.
  void begin_anew(std::uint64_t last) noexcept {
    told = last;
    behind_since.reset();
    tracker.restart(last);
    given_up = {};
    forgotten = 0;
    freshness = Freshness{freshness.fresh_at()};
  }

  /// It was doubled, and now is one again: so far it is.
  void is_one_again(std::uint64_t last) noexcept {
    doubled = false;
    begin_anew(last);
    forget_heartbeats();
  }

  /// Since when the oldest is known of what is missing of it; `now`: nothing is.
  [[nodiscard]] TimePoint missing_since(TimePoint now) noexcept {
    return tracker.missing().empty() ? now : waiting.since(tracker.missing().front().first - 1);
  }

  /// Whether it can send missing frames again.
  [[nodiscard]] bool repairs() const noexcept { return !gone && !publish_only; }

  void fall_silent(TimePoint now) noexcept {
    if (!silent) silent_since = now;
    silent = true;
  }

  /// We meet, in `session`. `maybe_again`: we may have met before.
  void meet(const Extent& extent, std::uint64_t baseline, std::uint64_t session, bool maybe_again) {
    tracker = SequenceTracker{baseline};
    heard_before = maybe_again ? not_told : 0;
    only_told_of = extent.will_know_us && !extent.current;  // in a welcome
    if (extent.current) reconciled_in = session;
    if (extent.in_order) told = extent.last;
  }

  /// What it has `accepted` by its first word may have been heard before we met: as a session begins, it counts frames
  /// of the last one as not sent, and sends them again.
  void may_have_been_heard(std::optional<std::uint64_t> accepted) noexcept {
    if (heard_before == not_told && accepted) heard_before = *accepted;
  }

  /// Takes over what a newer heartbeat says about the peer itself; false if it is not newer. `in_order`: it came
  /// as a broadcast.
  bool introduce(const HeartbeatView& heartbeat, bool in_order = false, TimePoint now = {}) {
    if (in_order) forget_lies(heartbeat.number, now);
    if (heartbeat.number <= newest_heartbeat) return false;
    if (name != heartbeat.name) name = heartbeat.name;  // first: there may be no memory
    if (zone != heartbeat.zone) zone = heartbeat.zone;
    newest_heartbeat = heartbeat.number;
    interval = std::chrono::duration_cast<Duration>(heartbeat.interval);
    publish_only = heartbeat.publish_only;
    observer = heartbeat.observer;
    greets = heartbeat.greets;
    oldest = heartbeat.oldest_sequence;
    place = heartbeat.place;
    gone = heartbeat.goodbye;  // whoever goes on after its goodbye has not said it
    return true;
  }

 private:
  /// A broadcast heartbeat of it has this number. They rise, but for copies that come late: when one is far behind the
  /// newest, or all have been behind it for a while, somebody made up that one, and what it said counts no longer.
  void forget_lies(std::uint64_t number, TimePoint now) noexcept {
    constexpr std::uint64_t jump = 128;
    if (number >= newest_heartbeat) {
      older_since.reset();
      return;
    }
    if (!older_since) older_since = now;
    if (newest_heartbeat - number <= jump && now - *older_since < a_while) return;
    forget_heartbeats();
  }

  void forget_heartbeats() noexcept {
    older_since.reset();
    newest_heartbeat = 0;
    positions = {};
  }
};

/// Whether a peer counts as silent: it was not heard for longer than `limit` while we provably heard. `hears_since` is
/// when our session began, `heard_until` until when something of ours came back in it.
[[nodiscard]] inline bool is_silent(const PeerState& peer, Duration limit, TimePoint hears_since,
                                    std::optional<TimePoint> heard_until) noexcept {
  return heard_until && *heard_until - (std::max)(peer.last_heard, hears_since) > limit;
}

/// Whether the silence of a peer may hide a loss. If nothing of it can be lost in a session, all has come that it still
/// sent, unless ours has been interrupted since it said how far it was.
[[nodiscard]] inline bool silence_may_hide_loss(const PeerState& peer, bool lossless, std::uint64_t session) noexcept {
  return !lossless || peer.reconciled_in != session || !peer.tracker.missing().empty();
}

}  // namespace syncbus::inline v1::core
