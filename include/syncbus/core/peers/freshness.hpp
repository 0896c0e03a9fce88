// Staleness of one peer: how far behind it we may be, from what its heartbeats prove.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <syncbus/base/time.hpp>
#include <syncbus/core/peers/sequence_tracker.hpp>

namespace syncbus::inline v1::core {

/// Where the heartbeats of one peer lie among our own, in the order in which we received them. All receivers of a
/// channel have that order in common; so a peer that names a heartbeat as received had also received whatever lies
/// before it.
class HeartbeatPositions {
 public:
  static constexpr std::size_t remembered = 16;

  /// A heartbeat of the peer was received, as a broadcast, when `own` was our newest heartbeat that had come back.
  void received(std::uint64_t number, std::uint64_t own) noexcept {
    if (number <= newest_) return;
    newest_ = number;
    positions_[next_++ % remembered] = {number, own};
  }

  /// Our newest heartbeat that lies at or before the peer's heartbeat `number`; 0: none is known to. If that one was
  /// lost on its way to us, the result for the peer's heartbeat before it.
  [[nodiscard]] std::uint64_t own_before(std::uint64_t number) const noexcept {
    std::uint64_t own = 0;
    for (const Position& position : positions_) {
      if (position.number != 0 && position.number <= number) own = (std::max)(own, position.own);
    }
    return own;
  }

 private:
  struct Position {
    std::uint64_t number = 0;
    std::uint64_t own = 0;
  };

  std::array<Position, remembered> positions_{};
  std::size_t next_ = 0;
  std::uint64_t newest_ = 0;
};

/// What one peer has proved: whatever it published before fresh_at() has been heard, or something that covers it.
///
/// A claim says: what the peer published before `at` has a sequence up to `last`. It is proved once nothing up to
/// `last` is missing and the handlers have returned from everything that had been queued by then (`pushed`, `settled`:
/// the queue's positions). Two claims wait at most: the oldest, so that a steady stream cannot put proof off for ever,
/// and the newest.
class Freshness {
 public:
  explicit Freshness(TimePoint since) noexcept : fresh_at_{since} {}

  void claim(TimePoint at, std::uint64_t last, const SequenceTracker& tracker, std::uint64_t pushed,
             std::uint64_t settled) noexcept {
    prove(tracker, pushed, settled);
    if (at <= fresh_at_) return;
    // A newer one that needs less proves more; and one that needs what will never come was made up.
    while (waiting_ != 0 && claims_[waiting_ - 1].behind == not_queued && claims_[waiting_ - 1].last > last) --waiting_;
    claims_[waiting_ == 0 ? 0 : 1] = {at, last};
    waiting_ = (std::min)(waiting_ + 1, claims_.size());
    prove(tracker, pushed, settled);
  }

  /// Looks again at what waits.
  void prove(const SequenceTracker& tracker, std::uint64_t pushed, std::uint64_t settled) noexcept {
    while (waiting_ != 0) {
      for (Claim& claim : claims_) queue(claim, tracker, pushed);
      if (settled < claims_[0].behind) return;
      fresh_at_ = (std::max)(fresh_at_, claims_[0].at);
      claims_[0] = claims_[1];
      --waiting_;
    }
  }

  [[nodiscard]] TimePoint fresh_at() const noexcept { return fresh_at_; }

 private:
  static constexpr std::uint64_t not_queued = (std::numeric_limits<std::uint64_t>::max)();  ///< something is missing

  struct Claim {
    TimePoint at{};
    std::uint64_t last = 0;
    std::uint64_t behind = not_queued;  ///< the position in the queue behind which all of it lies
  };

  static void queue(Claim& claim, const SequenceTracker& tracker, std::uint64_t pushed) noexcept {
    if (claim.behind == not_queued && tracker.complete_to(claim.last)) claim.behind = pushed;
  }

  TimePoint fresh_at_;
  std::array<Claim, 2> claims_{};  // the oldest, the newest
  std::size_t waiting_ = 0;        // how many of them
};

}  // namespace syncbus::inline v1::core
