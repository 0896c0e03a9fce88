// What a seed decides before anything happens: the kind of world, how bad its link is, what may befall its nodes.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include <syncbus/options.hpp>

#include "sim/random.hpp"
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
};

/// What may happen in a world, beside time.
enum class Happening : std::uint8_t {
  publish, burst, publish_all, await, subscribe, unsubscribe, crash, leave, join,
  partition, deafen, break_session, restart_broker, stall_link, stall_dispatcher, cancel_await,
  pause, go_half_open, speak_other_version, rush, lie,
};
inline constexpr std::size_t happenings = 21;

struct Plan {
  std::uint64_t seed = 0;
  Family family = Family::calm;
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
  double flaps = 0;               ///< of the sessions: they end while the node joins again
  bool direct_overtakes = false;  ///< what is sent to one node has a way of its own
  bool only_lies = false;          ///< nothing else is wrong
  bool lossless_sessions = false;  ///< the machine is told that a session loses nothing
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
  double local_awaits = 0;        ///< for the publisher's own subscribers
  std::size_t frame_limit = 1'024;  ///< of the broker, bytes
  bool limit_changes = false;       ///< with every session
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
  /// No peer is silent that was heard for less.
  [[nodiscard]] Duration silence() const noexcept { return (std::max)(peer_timeout, 4 * interval()); }
  [[nodiscard]] bool nothing_fails() const noexcept { return family == Family::calm || family == Family::crowd; }
  [[nodiscard]] bool lies() const noexcept { return family == Family::lied; }
  [[nodiscard]] bool loses() const noexcept { return family == Family::lossy || family == Family::torn || lies(); }
  [[nodiscard]] bool breaks() const noexcept {
    return family == Family::interrupted || family == Family::torn || lies();
  }
  [[nodiscard]] bool lossless() const noexcept { return lossless_sessions; }
  /// Whether all can be repaired: what no broker takes any more cannot.
  [[nodiscard]] bool ample_history() const noexcept { return history_bytes >= ample && !limit_changes; }
  [[nodiscard]] bool may(Happening what) const noexcept { return weights[static_cast<std::size_t>(what)] != 0; }

  [[nodiscard]] bool may_await() const noexcept { return may(Happening::await) || may(Happening::rush) || awaits_at_once != 0; }
  /// Whether nodes join after others have published.
  [[nodiscard]] bool may_join() const noexcept { return may(Happening::join) || family == Family::crowd; }

  static constexpr std::size_t ample = std::size_t{32} << 10U;
};

namespace plan_parts {

inline void set(Plan& plan, Happening what, unsigned weight) noexcept {
  plan.weights[static_cast<std::size_t>(what)] = weight;
}

inline void set_life(Plan& plan, Random& random) noexcept {
  set(plan, Happening::publish, 20);
  set(plan, Happening::burst, random.chance(0.5) ? 4 : 0);
  set(plan, Happening::publish_all, random.chance(0.2) ? 1 : 0);
  set(plan, Happening::await, random.chance(0.6) ? 6 : 0);
  set(plan, Happening::subscribe, random.chance(0.5) ? 3 : 0);
  set(plan, Happening::unsubscribe, random.chance(0.5) ? 2 : 0);
  set(plan, Happening::join, random.chance(0.4) ? 1 : 0);
  set(plan, Happening::leave, random.chance(0.3) ? 1 : 0);
  set(plan, Happening::stall_dispatcher, random.chance(0.3) ? 2 : 0);
}

inline void set_faults(Plan& plan, Random& random) noexcept {
  constexpr double rates[] = {0, 0, 0.01, 0.05, 0.2, 0.4};
  set(plan, Happening::crash, random.chance(0.3) ? 1 : 0);
  if (plan.loses()) {
    plan.drop = random.pick(rates);
    plan.duplicate = random.pick(rates) / 2;
    plan.damage = random.pick(rates) / 4;
    plan.reorder = random.chance(0.4) ? random.pick(rates) : 0;
    plan.reorder_by = random.between(std::chrono::milliseconds{1}, std::chrono::milliseconds{40});
    set(plan, Happening::partition, random.chance(0.5) ? 3 : 0);
  }
  if (plan.family == Family::torn) set(plan, Happening::deafen, random.chance(0.5) ? 2 : 0);
  if (plan.breaks()) {
    set(plan, Happening::break_session, random.chance(0.8) ? 3 : 0);
    set(plan, Happening::restart_broker, random.chance(0.3) ? 1 : 0);
    set(plan, Happening::stall_link, random.chance(0.3) ? 1 : 0);
  }
}

inline void set_sizes(Plan& plan, Random& random) noexcept {
  constexpr std::size_t histories[] = {1'024, 2'048, 4'096, Plan::ample, Plan::ample};
  constexpr std::size_t queues[] = {1'024, 2'048, 4'096, 65'536, 65'536};
  constexpr std::size_t pendings[] = {512, 1'024, 2'048, 16'384, 16'384};
  constexpr std::size_t limits[] = {512, 1'024, 4'096};
  const bool faulty = plan.loses() || plan.breaks();
  plan.history_bytes = faulty ? random.pick(histories) : Plan::ample;
  plan.queue_bytes = faulty ? random.pick(queues) : 65'536;
  plan.pending_bytes = faulty ? random.pick(pendings) : 16'384;
  plan.frame_limit = random.pick(limits);
  if (plan.history_bytes < 2 * plan.frame_limit) plan.frame_limit = plan.history_bytes / 2;
}

/// What half of the worlds have besides; drawn by itself, so that it leaves the rest of a world as it was.
inline void set_more(Plan& plan, Random& random) noexcept {
  plan.lossless_sessions = plan.family == Family::interrupted || (plan.nothing_fails() && random.chance(0.5));
  if (random.chance(0.5)) return;
  plan.leases = random.chance(0.3) ? 0.2 : 0;
  plan.mixed_versions = random.chance(0.4);
  plan.awaited_together = random.chance(0.3) ? 5 : 2;
  plan.local_awaits = random.chance(0.2) ? 0.2 : 0;
  if (plan.loses() || plan.breaks()) {
    set(plan, Happening::pause, random.chance(0.3) ? 2 : 0);
    plan.limit_changes = random.chance(0.3);
  }
  set(plan, Happening::go_half_open, plan.breaks() && random.chance(0.3) ? 2 : 0);
  plan.flaps = plan.breaks() && random.chance(0.3) ? 0.5 : 0;
  if (plan.flaps != 0) {  // with short histories, so that a session has a loss to tell of
    plan.history_bytes = 1'024;
    plan.frame_limit = 512;
    set(plan, Happening::break_session, 10);
    set(plan, Happening::burst, 10);
  }
  set(plan, Happening::rush, random.chance(0.3) && plan.may(Happening::await) ? 3 : 0);
  set(plan, Happening::speak_other_version, random.chance(0.1) ? 1 : 0);
  set(plan, Happening::cancel_await, random.chance(0.3) && plan.may(Happening::await) ? 4 : 0);
}

/// Tables with room for fewer than there are, and nodes that watch; drawn by itself, likewise.
inline void set_others(Plan& plan, Random& random) noexcept {
  if (random.chance(0.1)) plan.max_peers = 1 + random.below(plan.nodes);
  if (random.chance(0.1)) plan.observers = 0.3;
}

/// Whether nodes are at servers that have a name, one or two. Where that is, nothing else tells that anything is whole.
inline void set_places(Plan& plan, Random& random) noexcept {
  if (plan.loses()) plan.places = random.chance(0.25) ? 2 : 0;
  if (!plan.loses() && plan.family != Family::dropping) plan.places = random.chance(0.4) ? 1 : 0;
  if (plan.places != 0) plan.lossless_sessions = false;
}

/// Many nodes; now and then as many as heartbeats of 10,000 deliveries a second are made for, and more.
inline void set_crowd(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  constexpr std::size_t sizes[] = {8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 50, 64, 100};
  constexpr Duration starts[] = {0ms, 1ms, 5ms, 20ms, 100ms, 500ms};
  plan.nodes = random.chance(0.02) ? 300 : random.pick(sizes);
  plan.most_nodes = plan.nodes + 20;
  plan.max_peers = 512;
  plan.start_within = random.pick(starts);
  plan.long_watch = plan.close_watch = false;
  plan.operations = 50 + random.below(150);
  plan.chaos = random.between(300ms, 2'000ms);
  plan.awaits_at_once = random.chance(0.5) ? 0.3 : 0;
  plan.join_together = 1 + random.below(8);
  set(plan, Happening::join, random.chance(0.7) ? 3 : 0);
  set(plan, Happening::await, random.chance(0.7) ? 10 : 0);
  set(plan, Happening::burst, random.chance(0.7) ? 10 : 0);
}

/// The rest is as it may be on a bad link; now and then nothing else is wrong.
inline void set_lies(Plan& plan, Random& random) noexcept {
  set(plan, Happening::lie, 10 + static_cast<unsigned>(random.below(60)));
  plan.operations += random.below(60);
  plan.max_peers = 512;
  plan.places = 0;
  plan.lossless_sessions = random.chance(0.5);
  if (!random.chance(0.5)) return;
  plan.only_lies = true;
  plan.drop = plan.duplicate = plan.damage = plan.reorder = 0;
  for (const auto what : {Happening::partition, Happening::break_session, Happening::restart_broker,
                          Happening::stall_link, Happening::crash, Happening::pause, Happening::go_half_open}) {
    set(plan, what, 0);
  }
}

}  // namespace plan_parts

[[nodiscard]] inline Plan make_plan(std::uint64_t seed) noexcept {
  using namespace std::chrono_literals;
  constexpr Family families[] = {Family::calm,        Family::dropping,    Family::lossy,       Family::lossy,
                                 Family::lossy,       Family::lossy,       Family::torn,        Family::interrupted,
                                 Family::interrupted, Family::interrupted};
  constexpr std::size_t sizes[] = {2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 7};
  Random random{seed};
  Plan plan{.seed = seed, .family = families[seed % 10]};
  if (seed % 500 == 7) plan.family = Family::crowd;
  if (seed % 100 == 57) plan.family = Family::lied;
  plan.nodes = random.pick(sizes);
  plan.operations = 8 + random.below(28);
  plan.chaos = random.between(50ms, 1'500ms);
  plan.long_watch = random.chance(1.0 / 16);
  plan.close_watch = random.chance(1.0 / 8);
  plan.delay = random.between(20us, 2ms);
  plan.jitter = random.chance(0.5) ? random.between(0us, 2ms) : Duration{};
  plan.direct_overtakes = plan.family == Family::interrupted && random.chance(0.3);
  plan.confirmation = random.chance(0.3) ? random.between(0us, 100ms) : Duration{};
  plan.keys = 1 + random.below(random.chance(0.3) ? 16 : 6);
  plan.heartbeat = random.between(80ms, 300ms);
  plan.peer_timeout = random.between(400ms, 900ms);
  plan.repair_timeout = random.between(250ms, 400ms);
  plan.slow = random.chance(0.4) ? 0.3 : 0;
  plan.throwing = random.chance(0.2) ? 0.3 : 0;
  plan.publish_only = random.chance(0.1) ? 0.3 : 0;
  plan_parts::set_life(plan, random);
  if (plan.loses() || plan.breaks()) plan_parts::set_faults(plan, random);
  if (plan.family == Family::dropping) plan.drop = 0.01 + 0.04 * static_cast<double>(random.below(100)) / 100;
  plan_parts::set_sizes(plan, random);
  Random more{~seed};
  plan_parts::set_more(plan, more);
  if (plan.family == Family::crowd) plan_parts::set_crowd(plan, more);
  Random others{seed ^ 0x0B5E55EDU};
  plan_parts::set_others(plan, others);
  Random where{seed ^ 0x914CEU};
  plan_parts::set_places(plan, where);
  if (plan.lies()) plan_parts::set_lies(plan, more);
  return plan;
}

}  // namespace sim
