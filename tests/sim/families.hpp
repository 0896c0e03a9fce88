// What each family of worlds has that others have not.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "sim/plan.hpp"
#include "sim/random.hpp"

namespace sim::families {

/// What may go wrong in a world.
[[nodiscard]] constexpr Family nature_of(Family family, std::uint64_t seed) noexcept {
  constexpr Family natures[] = {Family::calm, Family::lossy, Family::interrupted};
  switch (family) {
    case Family::hurried: return Family::calm;
    case Family::patient: return Family::lossy;
    case Family::resumed:
    case Family::outage:
    case Family::failover:
    case Family::moving: return Family::interrupted;
    case Family::paced:
    case Family::real: return natures[seed / 1'000 % 3];
    default: return family;
  }
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
  plan.set(Happening::join, random.chance(0.7) ? 3 : 0);
  plan.set(Happening::await, random.chance(0.7) ? 10 : 0);
  plan.set(Happening::burst, random.chance(0.7) ? 10 : 0);
}

/// Answers to several awaits go together, and each is the one that its await still needs: all keys have versions, so
/// that the auditor knows when enough have heard them.
inline void set_hurry(Plan& plan, Random& random) noexcept {
  plan.nodes = 2 + random.below(2);
  plan.keys = 2;
  plan.mixed_versions = false;
  plan.leases = plan.throwing = plan.publish_only = plan.observers = 0;
  plan.max_peers = 64;
  plan.places = 0;
  plan.lossless_sessions = true;
  plan.slow = 0.3;
  plan.set(Happening::await, 10);
  plan.set(Happening::rush, 20);
  plan.set(Happening::join, 0);
  plan.set(Happening::leave, 0);
  plan.set(Happening::stall_dispatcher, 6);
  plan.set(Happening::subscribe, 6);
  plan.set(Happening::speak_other_version, 0);
}

/// Long enough for silences, and with room for all history: what is lost is lost for good by a death alone.
inline void set_resumption(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  plan.lossless_sessions = true;
  plan.places = 0;
  plan.limit_changes = false;
  plan.max_peers = 64;
  plan.chaos = random.between(2'000ms, 6'000ms);
  plan.operations = 10 + random.below(40);
  plan.heartbeat = random.between(150ms, 300ms);
  plan.peer_timeout = random.between(400ms, 900ms);
  plan.repair_timeout = 250ms;
  plan.longest_outage = 700ms;
  plan.longest_await = random.chance(0.5) ? 900ms : 3'000ms;
  plan.awaits_cut = random.chance(0.5) ? 0.4 : 0;
  plan.flaps = random.chance(0.6) ? 0.6 : 0;
  plan.observers = random.chance(0.4) ? 0.5 : 0;
  plan.slow = 0;
  plan.history_bytes = Plan::ample;
  plan.queue_bytes = 65'536;
  plan.pending_bytes = 16'384;
  plan.set(Happening::stall_dispatcher, 0);
  plan.set(Happening::await, 10);
  plan.set(Happening::pause, random.chance(0.5) ? 4 : 0);
  plan.set(Happening::break_session, random.chance(0.7) ? 6 : 0);
  plan.set(Happening::last_words, random.chance(0.5) ? 3 : 0);
  if (random.chance(0.3)) {  // or nothing but nodes that stand still, for whom nobody waits who only watch
    plan.observers = 0.5;
    plan.publish_only = plan.throwing = plan.flaps = plan.awaits_cut = 0;
    plan.longest_await = 3'000ms;
    plan.weights = {};
    plan.set(Happening::publish, 20);
    plan.set(Happening::await, 20);
    plan.set(Happening::pause, 15);
    return;
  }
  if (!random.chance(0.5)) return;  // or so quiet that nobody is overdue when a short outage ends
  plan.heartbeat = random.between(500ms, 800ms);
  plan.peer_timeout = 4 * plan.heartbeat;
  plan.longest_outage = 2'000ms;
  plan.flaps = 0.7;
  plan.chaos = random.between(10'000ms, 20'000ms);
  plan.observers = plan.awaits_cut = 0;
  plan.weights = {};
  plan.set(Happening::publish, 20);
  plan.set(Happening::break_session, 10);
}

/// An await that was cut off from who has to hear it is satisfied once that is over: all that it needs is still there.
inline void set_patience(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  constexpr double rates[] = {0, 0.01, 0.05, 0.2};
  plan.lossless_sessions = false;
  plan.places = 0;
  plan.limit_changes = false;
  plan.max_peers = 64;
  plan.drop = random.pick(rates);
  plan.duplicate = plan.damage = 0;
  plan.mute = random.chance(0.5) ? 0.7 : 0;
  plan.longest_await = 4'000ms;
  plan.throwing = plan.slow = 0;
  plan.history_bytes = Plan::ample;
  plan.queue_bytes = 65'536;
  plan.pending_bytes = 16'384;
  plan.set(Happening::stall_dispatcher, 0);
  plan.set(Happening::await, 15);
  plan.set(Happening::partition, random.chance(0.7) ? 6 : 0);
  plan.set(Happening::join, random.chance(0.7) ? 4 : 0);
}

/// The rest is as it may be on a bad link; now and then nothing else is wrong.
inline void set_lies(Plan& plan, Random& random) noexcept {
  plan.set(Happening::lie, 10 + static_cast<unsigned>(random.below(60)));
  plan.operations += random.below(60);
  plan.max_peers = 512;
  plan.places = 0;
  plan.lossless_sessions = random.chance(0.5);
  if (!random.chance(0.5)) return;
  plan.only_lies = true;
  plan.drop = plan.duplicate = plan.damage = plan.reorder = 0;
  for (const auto what : {Happening::partition, Happening::break_session, Happening::restart_broker,
                          Happening::stall_link, Happening::crash, Happening::pause, Happening::go_half_open}) {
    plan.set(what, 0);
  }
}

/// Little may be said besides events, so that all say rarely how far they are.
inline void set_pace(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  plan.most_nodes = plan.nodes + 3;
  plan.max_peers = 64;
  const std::chrono::duration<double> interval = random.between(300ms, 2'000ms);
  const double pairs = static_cast<double>(plan.most_nodes * plan.most_nodes);
  plan.control_rate = 10 * (1 + static_cast<std::size_t>(pairs / (9 * interval.count())));
  plan.chaos = random.between(3'000ms, 10'000ms);
  plan.operations = 15 + random.below(40);
}

/// Half of all are cut off at one moment, and are back together; what was published meanwhile is longer than history.
inline void set_outage(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  constexpr std::size_t sizes[] = {4, 6, 8, 12, 16, 24, 40};
  plan.nodes = plan.most_nodes = random.pick(sizes);
  plan.max_peers = 512;
  plan.places = 0;
  plan.lossless_sessions = random.chance(0.5);
  plan.limit_changes = false;
  plan.start_within = 20ms;
  plan.long_watch = plan.close_watch = false;
  plan.publish_only = plan.observers = plan.flaps = plan.awaits_at_once = plan.slow = 0;
  plan.weights = {};
  plan.set(Happening::publish, 20);
  plan.set(Happening::burst, 5);
  plan.set(Happening::await, 3);
  plan.heartbeat = 100ms;
  plan.peer_timeout = 4 * plan.interval() + random.between(50ms, 500ms);  // for all
  plan.outage = random.between(300ms, 6'000ms);
  plan.outage_is_told = random.chance(0.5);
  plan.chaos = 3'000ms + plan.outage;
  plan.operations = 4 * plan.nodes + random.below(60);
  plan.history_bytes = random.chance(0.5) ? 1'024 : 4'096;
  plan.frame_limit = 512;
  plan.queue_bytes = 1U << 20U;
  plan.pending_bytes = 1U << 18U;
  plan.longest_outage = 50ms;
}

/// Several servers, each with its nodes, which go to another one when theirs dies, and now and then of themselves; what
/// one gives to another is late, or does not come for a while.
inline void set_moves(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  plan.servers = 2 + random.below(2);
  plan.places_told = random.chance(0.3);
  plan.begin_at_one = !plan.places_told && random.chance(0.5);
  plan.places = 0;
  plan.lossless_sessions = false;
  plan.direct_overtakes = false;
  plan.max_peers = 64;
  plan.limit_changes = false;
  plan.chaos = random.between(1'000ms, 5'000ms);
  plan.operations = 15 + random.below(40);
  plan.set(Happening::go_half_open, 0);
  plan.set(Happening::break_session, random.chance(0.7) ? 5 : 0);
  plan.set(Happening::restart_broker, random.chance(0.5) ? 2 : 0);
  plan.set(Happening::cut_servers, random.chance(0.7) ? 4 : 0);
  plan.set(Happening::last_words, random.chance(0.3) ? 2 : 0);
  plan.set(Happening::flee, !plan.places_told && random.chance(0.7) ? 3 : 0);
}

/// As of Redis with replicas: all come to the next broker, each in its time, and strangers are there by then.
inline void set_failover(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  plan.fails_over = plan.lossless_sessions = true;
  plan.places = 0;
  plan.max_peers = 64;
  plan.chaos = random.between(500ms, 3'000ms);
  plan.longest_outage = random.chance(0.5) ? 300ms : 1'000ms;
  plan.set(Happening::restart_broker, 3);
  plan.set(Happening::crash, random.chance(0.5) ? 1 : 0);
  plan.set(Happening::join, random.chance(0.5) ? 2 : 0);
}

/// The sizes and times that a bus has by itself, keys as long as they may be, and bursts that fill them.
inline void set_real_sizes(Plan& plan, Random& random) noexcept {
  using namespace std::chrono_literals;
  plan.nodes = 2 + random.below(2);
  plan.most_nodes = 6;
  plan.max_peers = 4'096;
  plan.long_keys = true;
  plan.keys = 16;
  plan.limit_changes = false;
  plan.close_watch = plan.long_watch = false;
  plan.flaps = 0;
  plan.frame_limit = std::size_t{1} << 20U;
  plan.history_bytes = std::size_t{8} << 20U;
  plan.queue_bytes = std::size_t{64} << 20U;
  plan.pending_bytes = std::size_t{8} << 20U;
  plan.heartbeat = 1s;
  plan.peer_timeout = 5s;
  plan.repair_timeout = 1s;
  plan.chaos = random.between(5s, 20s);
  plan.longest_outage = 2s;
  plan.longest_await = 5s;
  plan.longest_burst = random.chance(0.5) ? 3'000 : 300;
  plan.set(Happening::burst, 6);
}

}  // namespace sim::families
