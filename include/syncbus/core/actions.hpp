// The machine's vocabulary: the options that it is made with, and the actions that it returns.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/core/wire/frame_header.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// What the machine may use, and what it may believe. As in BusOptions.
struct ProtocolOptions {
  NodeId self;
  std::string name{};
  std::string zone{};
  bool publish_only = false;
  bool observer = false;
  bool lossless_sessions = false;  ///< the transport's trait
  Duration connect_timeout = std::chrono::seconds{5};
  Duration heartbeat = std::chrono::seconds{1};
  Duration peer_timeout = std::chrono::seconds{5};
  Duration repair_timeout = std::chrono::seconds{1};
  std::size_t control_rate = 10'000;
  std::size_t history_bytes = std::size_t{8} << 20U;
  std::size_t queue_bytes = std::size_t{64} << 20U;
  std::size_t pending_bytes = std::size_t{8} << 20U;
  std::size_t max_peers = 4'096;
  std::size_t max_awaits = 65'536;
  detail::HashSecret hash_secret{};  ///< of the tables that strangers fill: drawn by the shell
};

/// What the shell is to do. Actions are derived from the state when asked for, never queued, so they cannot pile up.
struct Action {
  enum class Kind : std::uint8_t {
    none,       ///< nothing more
    broadcast,  ///< `bytes` to all, under (`session`, `sequence`). They stay unchanged until the next action, and those
                ///< of an events frame until it is confirmed; the sequence of others is that of the last events frame
                ///< before them
    send,      ///< `bytes` to `destination`; unchanged until the next action
    dispatch,  ///< something waits for the dispatcher: have it call take()
    room,      ///< publishers that were told no_room may try again, and flushes may look again
    complete,  ///< an await ended: call take_completion() until nothing comes
    health,    ///< what health() says has changed for the better or the worse
    left_out,  ///< there are more live peers than max_peers has room for: somebody should hear of it
    doubled,   ///< two nodes have the id `destination`, 0: ours: somebody should hear of it
    reopen,    ///< nothing of our own comes back: have the transport end session `session` and make a new one
    wake,      ///< call tick() at `at`, instead of when it was asked for last
  };

  Kind kind = Kind::none;
  Bytes bytes{};
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;
  NodeId destination{};
  TimePoint at{};
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

}  // namespace syncbus::inline v1::core
