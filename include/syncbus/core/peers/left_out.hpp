// Live peers beyond max_peers: what the node owes for them although it cannot track them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/core/wire/heartbeat_frame.hpp>

namespace syncbus::inline v1::core {

/// A table that is full of live peers takes in no other: to forget one for it, and that one for the next, would lose
/// them all in turn. Nothing is kept about a peer that is left out, so nothing is known of its gaps. Its events are
/// heard, as of unknown age. While one is heard this node does not know everybody, and is as stale as if it had heard
/// none of them since. For what may have been lost of them there is a resync, at most one in twelve peer timeouts: a
/// minute, by default.
///
/// The same holds of nodes that have one id: see Namesake.
class LeftOut {
 public:
  enum class Why : std::uint8_t { no_room, doubled };

  /// `lossless`: a session loses nothing.
  LeftOut(Duration peer_timeout, bool lossless) noexcept
      : pause_{12 * peer_timeout}, peer_timeout_{peer_timeout}, lossless_{lossless} {}

  /// A frame of one came, or somebody told of it, in our `session`. `listening_since`: when nobody listened last; none:
  /// nobody does. What it published since then is owed, but for what was published in a session that loses nothing.
  /// `forgotten`: it may be one that was heard before, and has been behind since.
  void heard(Why why, TimePoint now, std::optional<TimePoint> listening_since, std::uint64_t session,
             bool forgotten) noexcept {
    const bool begins = !std::exchange(any_, true);
    if (why == Why::no_room) news_ = !std::exchange(no_room_, true) || news_;
    ever_ = true;
    last_ = now;
    const bool behind = listening_since && lossless_ && (forgotten || ended_);  // else a resync stands for the past
    since_ = (std::min)(since_.value_or(now), behind ? *listening_since : now);
    if (!listening_since) return;
    const bool past = lossless_ ? session > 1 && past_doubted_in_ != session : begins;
    if (past || !lossless_) doubt(past ? *listening_since : *since_, now);
    past_doubted_in_ = session;
  }

  /// A frame of another kind came from a node that is in no table: from one of them, if there are some.
  void heard_again(TimePoint now) noexcept {
    if (any_) last_ = now;
  }

  /// That was a heartbeat. Of nodes that share an id no interval is believed: two nodes send such heartbeats, and
  /// anybody may say that they do.
  void said(const HeartbeatView& heartbeat, Why why, bool listening, TimePoint now) noexcept {
    constexpr std::chrono::microseconds longest = std::chrono::minutes{1};  // anybody may have said so
    const Duration told = std::chrono::duration_cast<Duration>((std::min)(heartbeat.interval, longest));
    if (why == Why::no_room) interval_ = (std::max)(interval_, told);
    if (listening && heartbeat.moved) doubt(*since_, now);
  }

  /// Whether there are some now.
  [[nodiscard]] bool any() const noexcept { return any_; }
  [[nodiscard]] bool ever() const noexcept { return ever_; }
  /// Whether there have begun to be some for whom there is no room, since the last call.
  [[nodiscard]] bool news() noexcept { return std::exchange(news_, false); }

  /// Whether there are none from now on: while we provably heard, none was heard for as long as makes a peer silent, as
  /// in is_silent().
  [[nodiscard]] bool end(Duration usual_interval, TimePoint hears_since, std::optional<TimePoint> heard_until,
                         bool listening, TimePoint now) noexcept {
    const Duration limit = (std::max)(peer_timeout_, 4 * (std::max)(interval_, usual_interval));
    if (!any_ || !heard_until || *heard_until - (std::max)(last_, hears_since) <= limit) return false;
    any_ = no_room_ = false;
    ended_ = true;
    interval_ = {};
    if (listening && !lossless_) doubt(*since_, now);
    since_.reset();
    return true;
  }

  /// When a resync is due for what may have been lost of them.
  [[nodiscard]] TimePoint due() const noexcept { return due_; }
  /// Whether it is to be raised now: that may have been since then.
  [[nodiscard]] std::optional<TimePoint> raise(TimePoint now) noexcept {
    if (now < due_) return std::nullopt;
    due_ = detail::never;
    raised_ = now;
    return std::exchange(doubted_since_, std::nullopt);
  }

  /// Since when something of them may not have been heard; `now`: all has.
  [[nodiscard]] TimePoint fresh_at(TimePoint now) const noexcept {
    return (std::min)(since_.value_or(now), doubted_since_.value_or(now));
  }

 private:
  /// What was published from `since` on may have been lost.
  void doubt(TimePoint since, TimePoint now) noexcept {
    if (!doubted_since_) due_ = raised_ ? (std::max)(now, *raised_ + pause_) : now;
    doubted_since_ = (std::min)(doubted_since_.value_or(since), since);
  }

  Duration pause_;  // between two resyncs
  Duration peer_timeout_;
  bool lossless_;
  Duration interval_{};  // the longest that one of them announced
  bool any_ = false;
  bool no_room_ = false;  // for some of them
  bool ever_ = false;
  bool ended_ = false;  // once
  bool news_ = false;
  TimePoint last_{};                        // when one was heard
  std::optional<TimePoint> since_;          // when they began to be
  std::optional<TimePoint> doubted_since_;  // what may have been lost; a resync is due
  std::optional<TimePoint> raised_;         // the last one
  TimePoint due_ = detail::never;
  std::uint64_t past_doubted_in_ = 0;  // our session
};

}  // namespace syncbus::inline v1::core
