// What is decided before anything happens: the kind of world, how bad its link is, what may befall its nodes.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <syncbus/options.hpp>

#include "sim/sabotage.hpp"

namespace sim {

using syncbus::Duration, syncbus::TimePoint;

enum class Family : std::uint8_t {
  calm,         ///< nothing fails
  dropping,     ///< a link that loses 1 to 5 %, and nothing else: what repair costs
  lossy,        ///< copies are lost, doubled, late, damaged; partitions, also one-way; nobody tells
  interrupted,  ///< in order and whole within a session; sessions end and begin again
  crowd,        ///< nothing fails, and many start together
  torn,         ///< lossy and interrupted, and now and then a node does not hear itself
  lied,         ///< somebody writes false frames to the channel, which may also drop and break
  hurried,      ///< nothing fails, and awaits follow one another faster than handlers return
  resumed,      ///< sessions break for long, and again at once; nodes stand still; nothing is lost but by that
  patient,      ///< a link that loses heartbeats most, and awaits that have time until it is good again
  paced,        ///< as calm, lossy or interrupted, under a low control rate
  outage,       ///< half of all are cut off and back, with histories too short for what they miss
  moving,       ///< several servers, between which nodes move, and which lose what they give each other
  failover,     ///< as interrupted, and another broker takes over, which has not all that the first one had
  real,         ///< as calm, lossy or interrupted, with the sizes and times of buses as they are
};

/// What may happen in a world, beside time.
enum class Happening : std::uint8_t {
  publish, burst, publish_all, await, subscribe, unsubscribe, crash, leave, join,
  partition, deafen, break_session, restart_broker, stall_link, stall_dispatcher, cancel_await,
  pause, go_half_open, speak_other_version, rush, lie, last_words, cut_servers, flee,
};
inline constexpr std::size_t happenings = 24;

struct Plan {
  std::uint64_t seed = 0;
  Family family = Family::calm;
  Family nature = Family::calm;  ///< one of the first five, or torn, or lied: what may go wrong
  Sabotage sabotage = Sabotage::none;
  std::size_t nodes = 2;       ///< at the beginning
  std::size_t most_nodes = 20;  ///< ever
  std::size_t operations = 0;  ///< in the time of chaos
  Duration chaos{};
  Duration start_within = std::chrono::milliseconds{20};  ///< that all begin
  bool long_watch = false;     ///< stay long after everything has converged: nothing may happen any more
  bool close_watch = false;    ///< look at a node whenever something has happened to it, not only now and then
  std::array<unsigned, happenings> weights{};

  // the link
  Duration delay{};   ///< one way; each node has its own, up to this
  Duration jitter{};  ///< of each copy; keeps the order
  double drop = 0;
  double duplicate = 0;
  double damage = 0;
  double reorder = 0;           ///< of the copies: so many take the time below and keep no order
  Duration reorder_by{};
  Duration confirmation{};        ///< how much later than its frame's copies a confirmation may come
  Duration longest_outage = std::chrono::milliseconds{300};  ///< of one session's end
  double mute = 0;                ///< so many heartbeats and welcomes are lost, besides
  double flaps = 0;               ///< of the sessions: they end while the node joins again
  bool direct_overtakes = false;  ///< what is sent to one node has a way of its own
  bool only_lies = false;          ///< nothing else is wrong
  bool lossless_sessions = false;  ///< the machine is told that a session loses nothing
  Duration outage{};              ///< so long half of all are cut off; 0: they are not
  bool outage_is_told = false;    ///< by the end of their sessions; otherwise they just do not hear the others
  bool fails_over = false;        ///< a restart of the broker is another one, and nodes are told so
  std::size_t servers = 1;        ///< between which nodes move
  bool begin_at_one = false;      ///< of them, so that nobody knows of the others
  bool places_told = false;       ///< by servers that do not know of each other; those of a cluster are no place
  std::size_t places = 0;  ///< the machine is told at which of so many servers it is; among those at one nothing is lost

  // the nodes
  std::size_t join_together = 1;  ///< later ones, at most
  double publish_only = 0;
  double observers = 0;
  double slow = 0;      ///< handlers
  double throwing = 0;  ///< subscribers
  std::size_t keys = 4;
  double leases = 0;              ///< of the events: revocations of two leases
  bool mixed_versions = false;    ///< some keys have events with a version and events without
  std::size_t awaited_together = 2;  ///< events of one await, at most
  double awaits_at_once = 0;      ///< of the nodes: as soon as they have joined, for everyone
  double awaits_cut = 0;          ///< soon after they were opened, by the end of the session
  Duration longest_await = std::chrono::milliseconds{900};
  double local_awaits = 0;        ///< for the publisher's own subscribers
  std::size_t frame_limit = 1'024;  ///< of the broker, bytes
  bool limit_changes = false;       ///< with every session
  bool long_keys = false;           ///< up to 4 KiB
  std::size_t longest_burst = 65;   ///< events
  std::size_t history_bytes = 0;
  std::size_t queue_bytes = 0;
  std::size_t pending_bytes = 0;
  Duration heartbeat{};
  Duration peer_timeout{};
  Duration repair_timeout{};
  std::size_t control_rate = 10'000;
  std::size_t max_peers = 64;

  /// Between two heartbeats of a node that has nothing else to say, when all are there.
  [[nodiscard]] Duration interval() const noexcept {
    const double each_second = 0.9 * static_cast<double>(control_rate);
    const std::chrono::duration<double> spacing{static_cast<double>(most_nodes * most_nodes) / each_second};
    return (std::max)(heartbeat, std::chrono::duration_cast<Duration>(spacing));
  }
  /// Whether heartbeats go as rarely as the peer timeout allows, or more so.
  [[nodiscard]] bool rarely_heard() const noexcept { return nothing_fails() || family == Family::paced; }
  /// No peer is silent that was heard for less.
  [[nodiscard]] Duration silence() const noexcept { return (std::max)(peer_timeout, 4 * interval()); }
  [[nodiscard]] bool nothing_fails() const noexcept { return nature == Family::calm || nature == Family::crowd; }
  [[nodiscard]] bool lies() const noexcept { return nature == Family::lied; }
  [[nodiscard]] bool loses() const noexcept { return nature == Family::lossy || nature == Family::torn || lies(); }
  [[nodiscard]] bool breaks() const noexcept {
    return nature == Family::interrupted || nature == Family::torn || lies();
  }
  [[nodiscard]] bool lossless() const noexcept { return lossless_sessions; }
  /// Whether all can be repaired: what no broker takes any more cannot.
  [[nodiscard]] bool ample_history() const noexcept { return history_bytes >= ample && !limit_changes; }
  void set(Happening what, unsigned weight) noexcept { weights[static_cast<std::size_t>(what)] = weight; }
  [[nodiscard]] bool may(Happening what) const noexcept { return weights[static_cast<std::size_t>(what)] != 0; }

  [[nodiscard]] bool may_await() const noexcept { return may(Happening::await) || may(Happening::rush) || awaits_at_once != 0; }
  /// Whether nodes join after others have published.
  [[nodiscard]] bool may_join() const noexcept { return may(Happening::join) || nature == Family::crowd; }

  static constexpr std::size_t ample = std::size_t{32} << 10U;
};

}  // namespace sim
