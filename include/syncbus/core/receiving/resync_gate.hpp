// Holds resyncs back until an incident is over: one outage is one resync, however many peers it befell.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/core/peers/cut_off.hpp>
#include <syncbus/core/peers/membership.hpp>
#include <syncbus/core/peers/peer_state.hpp>
#include <syncbus/core/receiving/gapped_peers.hpp>
#include <syncbus/core/receiving/inbox.hpp>
#include <syncbus/core/receiving/pending_events.hpp>
#include <syncbus/core/session_state.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// The losses that a node finds go through here to its handlers. Inside the join window, losses from before it
/// (*joined*, *interrupted*) are held back until its end. After an outage, ours or of peers, the gate is *open* for a
/// while: what is found to be lost waits until all have told who may have been hit as well, or had time to. All of it
/// goes as one resync, which stands for all that is known to be missing of any peer by then: the caches are cleared
/// anyway, so these frames are not asked for any more.
///
/// What may be lost of peers that are left out is a resync as well. It, what is held back, and an interruption that is
/// not over, count as waiting, from when they were known.
class ResyncGate {
 public:
  ResyncGate(const SessionState& state, Membership& membership, GappedPeers& gapped, Inbox& inbox) noexcept
      : state_{state}, membership_{membership}, gapped_{gapped}, inbox_{inbox} {}

  // --- our outages

  /// From `since` on nothing of others may have come.
  void cut_off(TimePoint since) noexcept { cut_off_.begin(since, state_.session); }
  /// This node hears nobody anyway.
  void hears_nobody() noexcept { cut_off_.end(); }

  /// The join window has closed.
  void window_closed(TimePoint now) noexcept {
    if (state_.session > 1) open(now);
    if (due_ == at_window_end) due_ = due(now);
    if (!holds()) cut_off_.joined(state_.session, inbox_.queue().pushed());
  }

  // --- outages of peers

  /// One has fallen silent: others may, soon.
  void fell_silent(TimePoint now) noexcept { open(now); }

  /// One that was overdue is heard again, before its record says so.
  void returned(PeerState& peer, TimePoint now) noexcept {
    if (peer.silent || now >= open_until_) silent_since_ = peer.last_heard;
    peer.back_without_word = true;
    open(now);
  }

  // --- losses

  /// There is reason for a resync, known `since`.
  void raise(const Resync& resync, TimePoint since, TimePoint now) noexcept {
    using enum ResyncCause;
    const bool of_the_past = resync.cause == joined || resync.cause == interrupted;
    const bool loss = of_the_past || resync.cause == unrepairable || resync.cause == peer_lost;
    if (!loss || (membership_.window_open() && !of_the_past)) return inbox_.push(resync, since);
    if (!holds()) due_ = membership_.window_open() ? at_window_end : due(now);
    held_back_since_ = held_back_ ? (std::min)(held_back_since_, since) : since;
    held_back_ = held_back_ ? join(*held_back_, resync) : resync;
    release_if_all_have_told(now);
  }

  /// Lets go what is held back, once no peer is expected any more to tell of the same incident.
  void release_if_all_have_told(TimePoint now) noexcept {
    if (!holds() || (now < due_ && (membership_.window_open() || others_will_tell(now)))) return;
    TimePoint since = held_back_since_;
    if (now < open_until_) {
      gapped_.for_each([&](NodeId, PeerState& peer) {
        since = (std::min)(since, peer.missing_since(now));
        peer.cover();
      });
    }
    inbox_.push(*std::exchange(held_back_, std::nullopt), since);
    cut_off_.joined(state_.session, inbox_.queue().pushed());
  }

  /// When tick() has something to do, at the latest.
  [[nodiscard]] TimePoint due() const noexcept {
    return (std::min)(holds() ? due_ : detail::never, membership_.left_out().due());
  }
  /// Also raises what may have been lost of peers that are left out, when it is due.
  void tick(TimePoint now) noexcept {
    release_if_all_have_told(now);
    if (const auto since = membership_.left_out().raise(now)) raise({ResyncCause::overflow, {}}, *since, now);
  }

  /// Whether something is held back: nothing is proved meanwhile.
  [[nodiscard]] bool holds() const noexcept { return held_back_.has_value(); }

  /// Since when it is known that handlers have something to hear yet, or may have; `now`: nothing is known.
  [[nodiscard]] TimePoint waiting_since(TimePoint now) noexcept {
    const TimePoint cut_off_at = cut_off_.since(inbox_.queue().settled()).value_or(now);
    const TimePoint left_out = membership_.left_out().fresh_at(now);
    const TimePoint waiting = (std::min)({cut_off_at, left_out, inbox_.waiting_since(now)});
    return held_back_ ? (std::min)(waiting, held_back_since_) : waiting;
  }

 private:
  static constexpr TimePoint at_window_end = detail::never;

  void open(TimePoint now) noexcept { open_until_ = now + membership_.settling_time(); }

  /// Until when what is held back from now on may wait.
  [[nodiscard]] TimePoint due(TimePoint now) const noexcept {
    return now < open_until_ ? now + membership_.settling_time() : now;
  }

  /// Whether a peer may have been hit by the incident for which the gate is open, and has not said since how far it is:
  /// one that is overdue, or was; one that said nothing in this session; one that fell silent when those did that are
  /// back.
  [[nodiscard]] bool others_will_tell(TimePoint now) const noexcept {
    const Duration together = membership_.settling_time();
    bool any = false;
    membership_.peers().for_each([&](NodeId, const PeerState& peer) {
      if (any || peer.gone || !peer.heard) return;
      const bool not_yet = now > peer.overdue_at() || peer.back_without_word ||
                           (state_.session > 1 && peer.reconciled_in != state_.session);
      const bool as_others =
          peer.last_heard - silent_since_ <= together && silent_since_ - peer.last_heard <= together;
      any = peer.silent ? as_others : not_yet;
    });
    return any;
  }

  const SessionState& state_;
  Membership& membership_;
  GappedPeers& gapped_;
  Inbox& inbox_;
  TimePoint open_until_{};
  TimePoint silent_since_{};  // when those were heard last who were silent, or nearly so, and are back
  std::optional<Resync> held_back_;
  TimePoint held_back_since_{};
  TimePoint due_{};  // when it goes, whatever else may come
  CutOff cut_off_;
};

}  // namespace syncbus::inline v1::core
