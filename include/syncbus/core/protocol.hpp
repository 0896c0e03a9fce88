// One node's protocol as a pure machine: what happened goes in, with the time; what to do comes out as actions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include <syncbus/core/codec.hpp>
#include <syncbus/core/frame_ring.hpp>
#include <syncbus/core/pending_events.hpp>
#include <syncbus/core/receive_queue.hpp>
#include <syncbus/core/sequence_tracker.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// What the machine may use, and what it may believe.
struct ProtocolOptions {
  NodeId self;
  bool publish_only = false;
  bool lossless_sessions = true;  ///< the transport's trait: a first contact late in a peer's life is then no loss
  Duration heartbeat{};
  std::size_t history_bytes = 0;
  std::size_t queue_bytes = 0;
  std::size_t pending_bytes = 0;
  std::size_t max_peers = 0;
};

/// What the shell is to do. Actions are derived from the state when asked for, never queued, so they cannot pile up.
struct Action {
  enum class Kind : std::uint8_t {
    none,      ///< nothing more
    send,      ///< broadcast `bytes` under (`session`, `sequence`); they stay unchanged until that is confirmed
    dispatch,  ///< something waits for the dispatcher: have it call take()
    room,      ///< publishers that were told no_room may try again, and flushes may look again
    health,    ///< `connected` or the staleness changed
  };

  Kind kind = Kind::none;
  Bytes bytes{};
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;
};

/// What became of a submitted event.
enum class Submitted : std::uint8_t {
  accepted,   ///< it will be sent, or joined into something that covers it
  no_room,    ///< the ring is full and the broker is confirming: wait for `room`, then submit again
  too_large,  ///< it can never be sent: no frame of this broker holds it
};

/// Nagle's rule (RFC 896) over frames. Full frames go while the window is open; a partial one only when nothing is
/// unconfirmed, and then at once: batches form from what arrives meanwhile, never from waiting.
struct SendWindow {
  static constexpr std::size_t frame_bytes = std::size_t{32} << 10U;  ///< about so much is a full frame
  static constexpr std::size_t max_frames = 16;
  static constexpr std::size_t max_bytes = max_frames * frame_bytes;

  [[nodiscard]] static constexpr bool open(std::size_t unconfirmed_frames, std::size_t unconfirmed_bytes) noexcept {
    return unconfirmed_frames < max_frames && unconfirmed_bytes < max_bytes;
  }
  [[nodiscard]] static constexpr bool takes_partial(std::size_t unconfirmed_frames) noexcept {
    return unconfirmed_frames == 0;
  }
};

/// The machine. The owner calls everything under one lock; bytes that a send action or a taken frame shows may be read
/// outside it. After each input it asks next_action() until none comes.
///
/// Until repair exists, whatever cannot be proved to have arrived is a resync with its cause: every interruption
/// (interrupted), every missing sequence (unrepairable), a first contact over a lossy transport (joined), an unknown
/// version (incompatible), a full queue (overflow).
class Protocol {
 public:
  explicit Protocol(const ProtocolOptions& options)
      : options_{options},
        ring_{options.self, options.history_bytes, SendWindow::frame_bytes},
        outbox_{(std::numeric_limits<std::size_t>::max)(), options.pending_bytes},
        inbox_{options.queue_bytes, options.pending_bytes} {}

  // --- publishing

  /// Whether one frame of the broker can hold the event.
  [[nodiscard]] bool fits(const WireEvent& event) const noexcept { return ring_.fits(event); }

  /// Takes an event for sending. With `may_join` it is never refused for want of room: it joins what is pending.
  /// Disconnected, it always may.
  [[nodiscard]] Submitted submit(const WireEvent& event, bool may_join) noexcept {
    if (connected_ && outbox_.empty()) {
      switch (ring_.append(event)) {
        case FrameRing::Append::appended: return Submitted::accepted;
        case FrameRing::Append::merged: ++metrics_.joined; return Submitted::accepted;
        case FrameRing::Append::too_large: return Submitted::too_large;
        case FrameRing::Append::no_room: break;
      }
    }
    if (!ring_.fits(event)) return Submitted::too_large;
    if (connected_ && !may_join) return Submitted::no_room;
    metrics_.joined += outbox_.put(event, options_.self).absorbed;
    return Submitted::accepted;
  }

  /// Everything accepted before this call is confirmed once confirmed() reaches the result; none while events wait for
  /// room in the ring, whose sequence nobody knows yet.
  [[nodiscard]] std::optional<std::uint64_t> flush_point() const noexcept {
    if (!outbox_.empty()) return std::nullopt;
    return ring_.last_accepted_sequence();
  }
  [[nodiscard]] std::uint64_t confirmed() const noexcept { return ring_.confirmed_sequence(); }

  // --- the transport's word

  void on_ready(std::uint64_t session, std::size_t frame_limit) noexcept {
    session_ = session;
    connected_ = true;
    ring_.limit_frame(frame_limit);
    ring_.rewind();
    if (session > 1) {
      ++metrics_.reconnects;
      if (options_.publish_only) {
        stale_since_.reset();
      } else {
        raise({ResyncCause::interrupted, {}});
      }
    }
    refill();
    health_changed_ = true;
  }

  void on_interrupted(TimePoint now) noexcept {
    connected_ = false;
    if (!stale_since_) stale_since_ = now;
    health_changed_ = true;
    room_changed_ = true;  // a publish no longer waits for room: disconnected it may join
  }

  void on_confirmed(std::uint64_t sequence) noexcept {
    ring_.confirm(sequence);
    refill();
    room_changed_ = true;
  }

  /// A message arrived. Bytes that are no frame change a counter and nothing else.
  void on_frame(Bytes bytes, TimePoint now) noexcept {
    FrameHeader header;
    switch (decode_header(bytes, header)) {
      case FrameError::malformed: ++metrics_.invalid_frames; return;
      case FrameError::other_version: on_other_version(header, now); return;
      case FrameError::ok: break;
    }
    ++metrics_.frames_received;
    metrics_.bytes_received += bytes.size();
    if (header.origin == options_.self || !for_us(header) || header.type != FrameType::events) return;
    on_events(header, bytes, now);
  }

  // --- dispatching

  /// The next thing to be heard by subscribers; what it shows is valid until release(). One at a time.
  [[nodiscard]] bool take(ReceiveQueue::Item& item) noexcept { return inbox_.take(item); }

  /// Every handler has returned from the item taken last.
  void release() noexcept {
    inbox_.release();
    if (connected_ && stale_since_ && inbox_.empty()) {
      stale_since_.reset();
      health_changed_ = true;
    }
  }

  // --- what to do, what can be seen

  [[nodiscard]] Action next_action() noexcept {
    if (connected_) {
      if (auto send = next_send(); send.kind == Action::Kind::send) return send;
    }
    if (std::exchange(room_changed_, false)) return {.kind = Action::Kind::room};
    if (std::exchange(inbox_grew_, false)) return {.kind = Action::Kind::dispatch};
    if (std::exchange(health_changed_, false)) return {.kind = Action::Kind::health};
    return {};
  }

  [[nodiscard]] bool connected() const noexcept { return connected_; }

  /// Whether take() has something.
  [[nodiscard]] bool has_received() const noexcept { return !inbox_.empty(); }

  [[nodiscard]] Health health(TimePoint now) const noexcept {
    return {.connected = connected_, .staleness = stale_since_ ? now - *stale_since_ : Duration::zero()};
  }

  [[nodiscard]] Metrics metrics() const noexcept {
    Metrics metrics = metrics_;
    metrics.queue_bytes = inbox_.bytes();
    metrics.history_bytes = ring_.bytes();
    return metrics;
  }

 private:
  struct PeerState {
    SequenceTracker tracker;
    TimePoint last_heard;
    std::uint64_t session;  ///< of ours, in which it was heard last
  };

  [[nodiscard]] Action next_send() noexcept {
    const std::size_t unconfirmed = ring_.unconfirmed_frames();
    if (!SendWindow::open(unconfirmed, ring_.unconfirmed_bytes())) return {};
    const auto frame = ring_.next(SendWindow::takes_partial(unconfirmed));
    if (!frame) return {};
    ++metrics_.frames_sent;
    metrics_.bytes_sent += frame->bytes.size();
    return {.kind = Action::Kind::send, .bytes = frame->bytes, .session = session_, .sequence = frame->sequence};
  }

  /// Moves what waited for room into the ring, in order. What a smaller limit of frames no longer lets through is joined up
  /// to a resync, which always fits.
  void refill() noexcept {
    while (connected_ && !outbox_.empty()) {
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
  }

  [[nodiscard]] bool for_us(const FrameHeader& header) const noexcept {
    return header.destination == NodeId{} || header.destination == options_.self;
  }

  void on_events(const FrameHeader& header, Bytes bytes, TimePoint now) noexcept {
    EventsView events;
    if (decode_events(header, events) != FrameError::ok) {
      ++metrics_.invalid_frames;
      return;
    }
    PeerState& peer = heard(header.origin, events.sequence(), now);
    const auto seen = peer.tracker.observe(events.sequence());
    if (!seen.fresh) {
      ++metrics_.duplicates;
      return;
    }
    if (seen.gap && !covered_by_interruption(peer)) {
      metrics_.gaps += seen.gap->last - seen.gap->first + 1;
      raise({ResyncCause::unrepairable, header.origin});
    }
    peer.tracker.abandon();  // nothing can repair it yet; what arrives of it all the same is covered
    peer.session = session_;
    metrics_.joined += inbox_.push_frame(bytes, seen.late).absorbed;
    inbox_grew_ = true;
  }

  /// Whether what is missing of a peer was lost while we were cut off: it is not heard in this session yet, and a session
  /// of this transport loses nothing. The resync of the interruption stands for that already.
  [[nodiscard]] bool covered_by_interruption(const PeerState& peer) const noexcept {
    return options_.lossless_sessions && peer.session != session_;
  }

  /// What we keep about a peer, made at first contact. What it published before that is no loss when it was published
  /// before we were connected, which a transport of lossless sessions guarantees.
  [[nodiscard]] PeerState& heard(NodeId origin, std::uint64_t sequence, TimePoint now) {
    const auto known = peers_.find(origin);
    if (known != peers_.end()) {
      known->second.last_heard = now;
      return known->second;
    }
    if (peers_.size() >= options_.max_peers) forget_oldest_peer();
    if (sequence > 1 && !options_.lossless_sessions) raise({ResyncCause::joined, origin});
    return peers_.try_emplace(origin, PeerState{SequenceTracker{sequence - 1}, now, session_}).first->second;
  }

  void forget_oldest_peer() noexcept {
    const auto oldest = std::min_element(peers_.begin(), peers_.end(), [](const auto& a, const auto& b) {
      return a.second.last_heard < b.second.last_heard;
    });
    if (oldest != peers_.end()) peers_.erase(oldest);
  }

  /// A valid frame of a version from the future may say anything. At most one resync a heartbeat interval, since each such
  /// frame says the same.
  void on_other_version(const FrameHeader& header, TimePoint now) noexcept {
    ++metrics_.invalid_frames;
    if (header.origin == options_.self || !for_us(header)) return;
    if (incompatible_since_ && now - *incompatible_since_ < options_.heartbeat) return;
    incompatible_since_ = now;
    raise({ResyncCause::incompatible, {}});
  }

  void raise(const Resync& resync) noexcept {
    metrics_.joined += inbox_.push_resync(resync);
    inbox_grew_ = true;
  }

  const ProtocolOptions options_;
  FrameRing ring_;
  PendingEvents outbox_;  ///< accepted while disconnected or out of room; goes before anything newer
  ReceiveQueue inbox_;
  std::unordered_map<NodeId, PeerState> peers_;
  Metrics metrics_;
  std::uint64_t session_ = 0;
  bool connected_ = false;
  bool inbox_grew_ = false;
  bool room_changed_ = false;
  bool health_changed_ = false;
  std::optional<TimePoint> stale_since_;         ///< the interruption that handlers have not heard of yet
  std::optional<TimePoint> incompatible_since_;  ///< when the last resync for an unknown version was raised
};

}  // namespace syncbus::inline v1::core
