// The publisher's half of the protocol: events on their way into frames, frames on their way to the broker and back
// into hands that missed them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include <syncbus/base/byte_budget.hpp>
#include <syncbus/core/actions.hpp>
#include <syncbus/core/quorum/await_table.hpp>
#include <syncbus/core/receiving/pending_events.hpp>
#include <syncbus/core/sending/frame_ring.hpp>
#include <syncbus/core/sending/repair_queue.hpp>
#include <syncbus/core/session_state.hpp>
#include <syncbus/core/wire/heartbeat_frame.hpp>
#include <syncbus/core/wire/repair_frames.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>

namespace syncbus::inline v1::core {

/// Which event of which await an event is.
struct Awaited {
  AwaitId await_id = 0;
  std::uint32_t event = 0;
};

/// Events go into the ring; while there is no room, or no connection, into the outbox, which joins, and from there into
/// the ring in their order. The ring's frames go out by the SendWindow, again after a reconnect until they are
/// confirmed, and once more to whoever asks while the ring still has them.
class Sender {
 public:
  Sender(const ProtocolOptions& options, const SessionState& state, AwaitTable& awaits, Metrics& metrics)
      : self_{options.self},
        state_{state},
        metrics_{metrics},
        awaits_{awaits},
        ring_{options.self, options.history_bytes - kept_for_awaits(options.history_bytes), SendWindow::frame_bytes,
              &awaits_},
        outbox_{(std::numeric_limits<std::size_t>::max)(), options.pending_bytes, options.hash_secret},
        budget_{(std::max)(options.history_bytes, least_repairs),
                histories_a_second * (std::max)(options.history_bytes, least_repairs)} {}

  /// Of the memory for history, what frames beyond the ring may take as long as they are awaited.
  [[nodiscard]] static constexpr std::size_t kept_for_awaits(std::size_t history_bytes) noexcept {
    return history_bytes / 4;
  }

  [[nodiscard]] bool fits(const WireEvent& event) const noexcept { return ring_.fits(event); }

  [[nodiscard]] Submitted submit(WireEvent event, bool may_join, std::optional<Awaited> awaited) {
    event.awaited = awaited.has_value();
    if (state_.connected && outbox_.empty()) {
      const auto appended = ring_.append(event);
      metrics_.joined += appended == FrameRing::Append::merged ? 1U : 0U;
      if (appended == FrameRing::Append::too_large) return Submitted::too_large;
      if (appended != FrameRing::Append::no_room) {
        if (awaited) awaits_.placed(awaited->await_id, awaited->event, ring_.place_of_last());
        return Submitted::accepted;
      }
    }
    if (!ring_.fits(event)) return Submitted::too_large;
    if (state_.connected && !may_join) return Submitted::no_room;
    if (awaited) awaits_.wait_for_room(awaited->await_id, awaited->event, event);
    event.awaited = false;
    metrics_.joined += outbox_.put(event, self_).absorbed;
    return Submitted::accepted;
  }

  /// A session begins: what is not confirmed goes out again, byte for byte. A frame that the broker takes no longer is
  /// lost: our heartbeats say that history does not have it, which is a resync for a node that has not heard it. And a
  /// resync goes out, for the nodes that take the frame for a stranger's past.
  void begin_session() noexcept {
    const std::size_t frame_limit = state_.frame_limit;
    ring_.limit_frame(frame_limit - (std::min)(frame_limit, repair_overhead_bytes));
    ring_.rewind();
    if (ring_.give_up_above(frame_limit)) metrics_.joined += outbox_.put_resync({ResyncCause::overflow, {}});
    refill();
  }

  /// The transport may still read the frame that next() took last, and its bytes must not change: a confirmation of
  /// that frame takes effect at was_read().
  void confirmed(std::uint64_t sequence) noexcept {
    const bool early = taken_ != 0 && sequence >= taken_;
    taken_is_confirmed_ |= early;
    ring_.confirm(early ? taken_ - 1 : sequence);
    if (state_.connected) refill();
  }

  /// What next() took last is read no longer.
  void was_read() noexcept {
    const std::uint64_t taken = std::exchange(taken_, 0);
    if (std::exchange(taken_is_confirmed_, false)) confirmed(taken);
  }

  /// Whether an events frame may go out now.
  [[nodiscard]] bool has_next() const noexcept {
    const std::size_t unconfirmed = ring_.unconfirmed_frames();
    if (!SendWindow::open(unconfirmed, ring_.unconfirmed_bytes())) return false;
    return ring_.has_sealed() || (SendWindow::takes_partial(unconfirmed) && ring_.has_open_events());
  }

  /// Takes it; to be followed by was_read().
  [[nodiscard]] std::optional<FrameRing::Outgoing> next() noexcept {
    if (!has_next()) return std::nullopt;
    const auto frame = ring_.next(SendWindow::takes_partial(ring_.unconfirmed_frames()));
    if (!frame) return std::nullopt;
    taken_ = frame->sequence;
    ++metrics_.frames_sent;
    metrics_.bytes_sent += frame->bytes.size();
    return frame;
  }

  /// Everything accepted before this call is confirmed once confirmed_sequence() reaches the result. None while events
  /// wait for room in the ring: they have no sequence yet.
  [[nodiscard]] std::optional<std::uint64_t> flush_point() const noexcept {
    if (!outbox_.empty()) return std::nullopt;
    return ring_.last_accepted_sequence();
  }
  [[nodiscard]] std::uint64_t confirmed_sequence() const noexcept { return ring_.confirmed_sequence(); }

  /// The last frame handed over in this session, or confirmed before it.
  [[nodiscard]] std::uint64_t handed_over() const noexcept { return ring_.handed_over(); }

  /// What a heartbeat says of all this.
  [[nodiscard]] PublishedExtent extent() const noexcept {
    const std::uint64_t last = ring_.handed_over();
    return {.last = last,
            .ahead = outbox_.empty() ? ring_.last_accepted_sequence() - last : ahead_unknown,
            .oldest = ring_.oldest_sequence()};
  }

  /// See FrameRing::sent.
  [[nodiscard]] std::optional<bool> sent(std::uint64_t sequence, std::uint32_t checksum) const noexcept {
    return ring_.sent(sequence, checksum);
  }

  // --- repair

  void requested(NodeId requester, SequenceRange range, TimePoint now) {
    const std::uint64_t last = ring_.handed_over();
    answers_.request(requester, range, {ring_.oldest_sequence(), last}, now);
    if (range.first < ring_.oldest_sequence() && range.first == range.last) answer_saved(requester, range, now);
  }

  struct Repair {
    Bytes frame{};
    NodeId destination{};  ///< 0: everybody
  };
  /// A repair beyond the budget is not sent: a node that misses it asks again.
  [[nodiscard]] std::optional<Repair> next_repair(TimePoint now) {
    while (const auto answer = answers_.next()) {
      const auto kept = ring_.find(answer->sequence);
      const auto frame = kept ? kept : awaits_.reserve().find(answer->sequence);
      if (!frame || frame->size() + repair_overhead_bytes > state_.frame_limit) continue;
      if (budget_.spend(frame->size(), now)) return Repair{*frame, answer->destination};
    }
    return std::nullopt;
  }

  [[nodiscard]] std::size_t history_bytes() const noexcept { return ring_.bytes() + awaits_.reserve().bytes(); }

 private:
  /// Nodes that were cut off need the history once, and share it when there are many; four times that a second is more
  /// than they take.
  static constexpr std::size_t least_repairs = std::size_t{1} << 20U;
  static constexpr std::size_t histories_a_second = 4;

  /// Moves events that waited for room into the ring, in order. An event that no longer fits, because frames have
  /// become smaller, is joined up to a resync, which always fits.
  void refill() noexcept {
    while (!outbox_.empty()) {
      const WireEvent next = outbox_.front();
      const auto appended = ring_.append(next);
      if (appended == FrameRing::Append::no_room) return;
      if (appended != FrameRing::Append::too_large) {
        outbox_.drop_front();
      } else if (next.type != EventType::resync) {
        metrics_.joined += outbox_.put_resync({ResyncCause::overflow, {}});
      } else {
        return;  // a limit below any frame: nothing can be sent until the next session brings a better one
      }
    }
    refill_awaited();
  }

  void refill_awaited() noexcept {
    while (const auto next = awaits_.first_waiting()) {
      const auto appended = ring_.append(*next);
      if (appended == FrameRing::Append::no_room) return;
      if (appended == FrameRing::Append::too_large) {
        awaits_.drop_first_waiting();
      } else {
        awaits_.placed_first_waiting(ring_.place_of_last());
      }
    }
  }

  /// A frame that was kept for an await beyond the ring.
  void answer_saved(NodeId requester, SequenceRange range, TimePoint now) {
    if (awaits_.reserve().find(range.first)) answers_.request(requester, range, range, now);
  }

  NodeId self_;
  const SessionState& state_;
  Metrics& metrics_;
  AwaitTable& awaits_;
  FrameRing ring_;  // tells awaits_ what it overwrites
  PendingEvents outbox_;
  RepairQueue answers_;
  detail::ByteBudget budget_;  // of repairs
  std::uint64_t taken_ = 0;      // the sequence that next() took last, until was_read(); 0: none
  bool taken_is_confirmed_ = false;
};

}  // namespace syncbus::inline v1::core
