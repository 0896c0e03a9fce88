// A node's own heartbeats: when each was sent, which came back, and what that proves about hearing.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// A node hears its own broadcasts as its peers do. So a heartbeat that comes back proves that we hear; one that does not
/// proves nothing about the peers, but that nothing can be said about them.
class OwnHeartbeats {
 public:
  /// So many are remembered: far more than any peer lags behind, and what is forgotten only makes a peer look staler.
  static constexpr std::size_t remembered = 64;

  /// A new session: what was under way in the last one will not come back.
  void begin_session(TimePoint now) noexcept {
    session_begins_behind_ = sent_;
    unanswered_since_.reset();
    hears_since_ = now;
    returned_in_session_ = false;
  }

  /// One is sent; its number, from 1.
  std::uint64_t send(TimePoint now) noexcept {
    times_[++sent_ % remembered] = now;
    if (!unanswered_since_) unanswered_since_ = now;
    return sent_;
  }

  /// One came back. An older one than the last, or of an earlier session, changes nothing.
  void returned(std::uint64_t number, TimePoint now) noexcept {
    if (number <= (std::max)(returned_, session_begins_behind_) || number > sent_) return;
    returned_ = number;
    returned_at_ = now;
    returned_in_session_ = true;
    if (const auto at = sent_at(number)) note_round_trip(now - *at);
    unanswered_since_ = number == sent_ ? std::nullopt : sent_at((std::max)(number + 1, oldest_remembered()));
  }

  /// The newest that came back; 0: none yet.
  [[nodiscard]] std::uint64_t newest_returned() const noexcept { return returned_; }
  [[nodiscard]] bool sent_in_session() const noexcept { return sent_ > session_begins_behind_; }
  [[nodiscard]] bool returned_in_session() const noexcept { return returned_in_session_; }

  /// When one was sent, while it is remembered.
  [[nodiscard]] std::optional<TimePoint> sent_at(std::uint64_t number) const noexcept {
    if (number == 0 || number > sent_ || sent_ - number >= remembered) return std::nullopt;
    return times_[number % remembered];
  }

  /// When the oldest that should have come back since was sent; none while all have.
  [[nodiscard]] std::optional<TimePoint> unanswered_since() const noexcept { return unanswered_since_; }

  /// Until when we provably heard: what was not heard of a peer after this says nothing.
  [[nodiscard]] std::optional<TimePoint> heard_until() const noexcept {
    return returned_in_session_ ? std::optional{returned_at_} : std::nullopt;
  }
  [[nodiscard]] TimePoint hears_since() const noexcept { return hears_since_; }

  /// Four round trips, at least 20 ms: within it whoever hears a broadcast has answered.
  [[nodiscard]] Duration answer_time() const noexcept {
    constexpr Duration least = std::chrono::milliseconds{20};
    return (std::max)(least, 4 * round_trip_);
  }

 private:
  [[nodiscard]] std::uint64_t oldest_remembered() const noexcept {
    return sent_ < remembered ? 1 : sent_ - remembered + 1;
  }

  /// A slower one counts at once, faster ones slowly.
  void note_round_trip(Duration sample) noexcept {
    round_trip_ = (std::max)(sample, round_trip_ - (round_trip_ - sample) / 8);
  }

  std::array<TimePoint, remembered> times_{};
  std::uint64_t sent_ = 0;
  std::uint64_t returned_ = 0;
  std::uint64_t session_begins_behind_ = 0;
  bool returned_in_session_ = false;
  TimePoint returned_at_{};
  TimePoint hears_since_{};
  std::optional<TimePoint> unanswered_since_;
  Duration round_trip_{};
};

}  // namespace syncbus::inline v1::core
