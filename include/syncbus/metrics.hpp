// The counters of a bus and its list of peers.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1 {

/// Counts of durations. Bucket i holds those below 2^i microseconds that no smaller bucket holds; the last holds the
/// rest.
struct LatencyHistogram {
  std::array<std::uint64_t, 28> buckets{};
  std::uint64_t count = 0;
  Duration sum{};

  constexpr void record(Duration latency) noexcept {
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(latency).count();
    const auto width = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(micros < 0 ? 0 : micros)));
    ++buckets[width < buckets.size() ? width : buckets.size() - 1];
    ++count;
    sum += latency;
  }
};

/// A snapshot of one node's counters, all since its construction. Reading it is cheap and blocks nobody for long;
/// counters that threads keep for themselves are added up, so a snapshot taken during a publish may lack it.
struct Metrics {
  std::uint64_t published = 0;   ///< keys accepted by publish and revoke_lease, whatever the scope; publish_all is 1
  std::uint64_t delivered = 0;   ///< normal returns of handlers, and events put or joined into mailboxes; no resyncs
  std::uint64_t joined = 0;      ///< events absorbed by an equal or covering one that was still waiting
  std::uint64_t frames_sent = 0; ///< hand-overs to the transport, repeated ones included
  std::uint64_t frames_received = 0;  ///< valid frames, own echoes included
  std::uint64_t bytes_sent = 0;       ///< bytes of those frames, without the broker's own framing
  std::uint64_t bytes_received = 0;
  std::uint64_t acknowledgements_sent = 0;      ///< entries, each about a run of events of one frame
  std::uint64_t acknowledgements_received = 0;  ///< likewise, about this node's own events
  std::uint64_t quorums_satisfied = 0;
  std::uint64_t quorums_not_satisfied = 0;
  std::uint64_t duplicates = 0;      ///< events frames dropped because their sequence had been seen
  std::uint64_t gaps = 0;            ///< sequences found missing
  std::uint64_t frames_repaired = 0;  ///< missing ones that came after all, from the publisher's history
  std::uint64_t frames_left_out = 0;  ///< events frames of peers that are left out: see Health::peers_left_out
  std::uint64_t repairs_sent = 0;     ///< frames of this node's history that were sent again because others asked
  std::array<std::uint64_t, resync_cause_count> resyncs{};  ///< by cause: resyncs[index of the ResyncCause]
  std::uint64_t invalid_frames = 0;  ///< messages that are no valid frame of a known version
  std::uint64_t handler_errors = 0;  ///< handlers that threw
  std::uint64_t reconnects = 0;      ///< times the transport became ready again after an interruption
  std::uint64_t queue_bytes = 0;     ///< now waiting for the dispatcher, in bytes
  std::uint64_t history_bytes = 0;   ///< now held in the send ring and for awaits, in bytes
  LatencyHistogram acknowledgement_latency{};

  [[nodiscard]] std::uint64_t resyncs_by(ResyncCause cause) const noexcept {
    return resyncs[static_cast<std::size_t>(cause)];
  }
};

/// Another node on the same subject, channel or topic.
struct Peer {
  NodeId id{};
  std::string name{};
  std::string zone{};
  Duration silent_for{};   ///< since it was last heard; listed until ten peer timeouts after it fell silent
  std::uint64_t lag = 0;   ///< its frames that have not been seen yet
};

}  // namespace syncbus::inline v1
