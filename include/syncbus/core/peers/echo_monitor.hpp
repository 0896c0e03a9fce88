// Watches a node's own heartbeats: when each was sent, whether it came back, and what that proves.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::core {

/// A node hears its own broadcasts as its peers do. So a heartbeat that comes back proves that we hear. One that does
/// not come back proves nothing about the peers: we cannot judge them then.
class EchoMonitor {
 public:
  /// `longest_answer_time`: no round trip makes answer_time() longer than this.
  explicit EchoMonitor(Duration longest_answer_time) noexcept : longest_answer_time_{longest_answer_time} {}

  /// So many are remembered: far more than any peer lags behind, and what is forgotten only makes a peer look staler.
  static constexpr std::size_t remembered = 64;

  /// A new session: what was under way in the last one will not come back.
  void begin_session(TimePoint now) noexcept {
    session_begins_behind_ = sent_;
    unanswered_since_.reset();
    hears_since_ = now;
    heard_until_.reset();
    round_trip_ = Duration::zero();
  }

  /// One is sent; its number, from 1.
  std::uint64_t send(TimePoint now) noexcept {
    times_[++sent_ % remembered] = now;
    if (!unanswered_since_) unanswered_since_ = now;
    return sent_;
  }

  /// The one that was sent last has this checksum.
  void sealed(std::uint32_t checksum) noexcept { checksums_[sent_ % remembered] = checksum; }

  /// Whether one of this number and checksum was ever sent; none: it was too long ago to know.
  [[nodiscard]] std::optional<bool> sent(std::uint64_t number, std::uint32_t checksum) const noexcept {
    if (number == 0 || number > sent_) return false;
    if (sent_ - number >= remembered) return std::nullopt;
    return checksums_[number % remembered] == checksum;
  }

  /// One came back. An older one than the last, or of an earlier session, changes nothing.
  void returned(std::uint64_t number, TimePoint now) noexcept {
    if (number <= (std::max)(returned_, session_begins_behind_) || number > sent_) return;
    returned_ = number;
    if (const auto at = sent_at(number)) {
      note_round_trip(now - *at);
      note_heard(*at, now);
    }
    unanswered_since_ = number == sent_ ? std::nullopt : sent_at((std::max)(number + 1, oldest_remembered()));
  }

  /// The newest that came back; 0: none yet.
  [[nodiscard]] std::uint64_t newest_returned() const noexcept { return returned_; }
  [[nodiscard]] bool sent_in_session() const noexcept { return sent_ > session_begins_behind_; }
  [[nodiscard]] bool returned_in_session() const noexcept { return returned_ > session_begins_behind_; }

  /// When one was sent, while it is remembered.
  [[nodiscard]] std::optional<TimePoint> sent_at(std::uint64_t number) const noexcept {
    if (number == 0 || number > sent_ || sent_ - number >= remembered) return std::nullopt;
    return times_[number % remembered];
  }

  /// When the oldest that should have come back since was sent; none while all have.
  [[nodiscard]] std::optional<TimePoint> unanswered_since() const noexcept { return unanswered_since_; }

  /// Until when, in this session, we provably heard: a peer's silence after this says nothing. A heartbeat that comes
  /// back proves that we have heard what was sent before it, not what was sent since. Of several that come back in one
  /// go, after a stall, only the first proves something: the broker may have taken all of ours before any of a peer's.
  [[nodiscard]] std::optional<TimePoint> heard_until() const noexcept { return heard_until_; }
  [[nodiscard]] TimePoint hears_since() const noexcept { return hears_since_; }

  /// Four round trips: within it whoever hears a broadcast has answered; but at least so long.
  [[nodiscard]] Duration four_round_trips(Duration least) const noexcept {
    return (std::max)(least, (std::min)(4 * round_trip_, longest_answer_time_));
  }
  [[nodiscard]] Duration answer_time() const noexcept { return four_round_trips(std::chrono::milliseconds{20}); }

 private:
  [[nodiscard]] std::uint64_t oldest_remembered() const noexcept {
    return sent_ < remembered ? 1 : sent_ - remembered + 1;
  }

  void note_heard(TimePoint sent, TimePoint now) noexcept {
    if (heard_until_ && sent < proved_at_) return;
    heard_until_ = sent;
    proved_at_ = now;
  }

  /// A slower one counts at once, faster ones slowly.
  void note_round_trip(Duration sample) noexcept {
    round_trip_ = (std::max)(sample, round_trip_ - (round_trip_ - sample) / 8);
  }

  std::array<TimePoint, remembered> times_{};
  std::array<std::uint32_t, remembered> checksums_{};
  std::uint64_t sent_ = 0;
  std::uint64_t returned_ = 0;
  std::uint64_t session_begins_behind_ = 0;
  TimePoint hears_since_{};
  std::optional<TimePoint> heard_until_;
  TimePoint proved_at_{};  ///< when what proves it came back
  std::optional<TimePoint> unanswered_since_;
  Duration round_trip_{};
  Duration longest_answer_time_;
};

}  // namespace syncbus::inline v1::core
