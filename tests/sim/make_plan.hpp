// What a seed decides before anything happens.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "sim/families.hpp"
#include "sim/plan.hpp"
#include "sim/random.hpp"

namespace sim {

namespace plan_parts {

inline void set_life(Plan& plan, Random& random) noexcept {
  plan.set(Happening::publish, 20);
  plan.set(Happening::burst, random.chance(0.5) ? 4 : 0);
  plan.set(Happening::publish_all, random.chance(0.2) ? 1 : 0);
  plan.set(Happening::await, random.chance(0.6) ? 6 : 0);
  plan.set(Happening::subscribe, random.chance(0.5) ? 3 : 0);
  plan.set(Happening::unsubscribe, random.chance(0.5) ? 2 : 0);
  plan.set(Happening::join, random.chance(0.4) ? 1 : 0);
  plan.set(Happening::leave, random.chance(0.3) ? 1 : 0);
  plan.set(Happening::stall_dispatcher, random.chance(0.3) ? 2 : 0);
}

inline void set_faults(Plan& plan, Random& random) noexcept {
  constexpr double rates[] = {0, 0, 0.01, 0.05, 0.2, 0.4};
  plan.set(Happening::crash, random.chance(0.3) ? 1 : 0);
  if (plan.loses()) {
    plan.drop = random.pick(rates);
    plan.duplicate = random.pick(rates) / 2;
    plan.damage = random.pick(rates) / 4;
    plan.reorder = random.chance(0.4) ? random.pick(rates) : 0;
    plan.reorder_by = random.between(std::chrono::milliseconds{1}, std::chrono::milliseconds{40});
    plan.set(Happening::partition, random.chance(0.5) ? 3 : 0);
  }
  if (plan.nature == Family::torn) plan.set(Happening::deafen, random.chance(0.5) ? 2 : 0);
  if (plan.breaks()) {
    plan.set(Happening::break_session, random.chance(0.8) ? 3 : 0);
    plan.set(Happening::restart_broker, random.chance(0.3) ? 1 : 0);
    plan.set(Happening::stall_link, random.chance(0.3) ? 1 : 0);
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
  plan.lossless_sessions = plan.nature == Family::interrupted || (plan.nothing_fails() && random.chance(0.5));
  if (random.chance(0.5)) return;
  plan.leases = random.chance(0.3) ? 0.2 : 0;
  plan.mixed_versions = random.chance(0.4);
  plan.awaited_together = random.chance(0.3) ? 5 : 2;
  plan.local_awaits = random.chance(0.2) ? 0.2 : 0;
  if (plan.loses() || plan.breaks()) {
    plan.set(Happening::pause, random.chance(0.3) ? 2 : 0);
    plan.limit_changes = random.chance(0.3);
  }
  plan.set(Happening::go_half_open, plan.breaks() && random.chance(0.3) ? 2 : 0);
  plan.flaps = plan.breaks() && random.chance(0.3) ? 0.5 : 0;
  if (plan.flaps != 0) {  // with short histories, so that a session has a loss to tell of
    plan.history_bytes = 1'024;
    plan.frame_limit = 512;
    plan.set(Happening::break_session, 10);
    plan.set(Happening::burst, 10);
  }
  plan.set(Happening::rush, random.chance(0.3) && plan.may(Happening::await) ? 3 : 0);
  plan.set(Happening::speak_other_version, random.chance(0.1) ? 1 : 0);
  plan.set(Happening::cancel_await, random.chance(0.3) && plan.may(Happening::await) ? 4 : 0);
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
  if (seed % 100 == 17) plan.family = Family::hurried;
  if (seed % 100 == 27 || seed % 100 == 28) plan.family = Family::resumed;
  if (seed % 100 == 37) plan.family = Family::patient;
  if (seed % 100 == 47) plan.family = Family::paced;
  if (seed % 500 == 67) plan.family = Family::outage;
  if (seed % 100 == 77) plan.family = Family::moving;
  if (seed % 100 == 97) plan.family = Family::failover;
  if (seed % 1'000 == 87) plan.family = Family::real;
  plan.nature = families::nature_of(plan.family, seed);
  plan.nodes = random.pick(sizes);
  plan.operations = 8 + random.below(28);
  plan.chaos = random.between(50ms, 1'500ms);
  plan.long_watch = random.chance(1.0 / 16);
  plan.close_watch = random.chance(1.0 / 8);
  plan.delay = random.between(20us, 2ms);
  plan.jitter = random.chance(0.5) ? random.between(0us, 2ms) : Duration{};
  plan.direct_overtakes = plan.nature == Family::interrupted && random.chance(0.3);
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
  if (plan.family == Family::crowd) families::set_crowd(plan, more);
  Random others{seed ^ 0x0B5E55EDU};
  plan_parts::set_others(plan, others);
  Random where{seed ^ 0x914CEU};
  plan_parts::set_places(plan, where);
  switch (plan.family) {
    case Family::lied: families::set_lies(plan, more); break;
    case Family::hurried: families::set_hurry(plan, more); break;
    case Family::resumed: families::set_resumption(plan, more); break;
    case Family::patient: families::set_patience(plan, more); break;
    case Family::paced: families::set_pace(plan, more); break;
    case Family::outage: families::set_outage(plan, more); break;
    case Family::failover: families::set_failover(plan, more); break;
    case Family::moving: families::set_moves(plan, more); break;
    case Family::real: families::set_real_sizes(plan, more); break;
    default: break;
  }
  return plan;
}

}  // namespace sim
