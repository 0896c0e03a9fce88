// The simulator under test: its auditor finds bugs that are planted, by their right names, and a seed is one world.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <syncbus/core/wire/codec.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>

#include "sim/auditor.hpp"
#include "sim/label.hpp"
#include "sim/link.hpp"
#include "sim/make_plan.hpp"
#include "sim/plan.hpp"
#include "sim/sabotage.hpp"
#include "sim/trace_hash.hpp"
#include "sim/world.hpp"
#include "support/catch.hpp"

namespace {

using sim::Family;
using sim::Sabotage;

/// What the auditor says of worlds of a family with a bug, until it says `expected`.
struct Finding {
  std::string sentence{};  ///< empty: it never does
  std::uint64_t worlds = 0;
  std::string otherwise{};  ///< the first other sentence, if there was one
};

Finding find(Sabotage bug, Family family, const std::string& expected, std::uint64_t most_worlds) {
  sim::World world;
  Finding finding;
  for (std::uint64_t seed = 1; finding.worlds != most_worlds; ++seed) {
    if (sim::make_plan(seed).family != family) continue;
    ++finding.worlds;
    const std::string& problem = world.run(seed, nullptr, bug);
    if (problem.find(expected) != std::string::npos) {
      finding.sentence = problem;
      return finding;
    }
    if (finding.otherwise.empty()) finding.otherwise = problem;
  }
  return finding;
}

struct Planted {
  const char* what;
  Sabotage bug;
  Family family;
  const char* expected;  ///< in the sentence of the auditor
};

/// A link between two nodes, and no shell around them.
struct BareLink : sim::Link {
  BareLink() {
    plan_.most_nodes = 2;
    plan_.limit_changes = false;
    now_ = start;
    healed_ = true;
    uncut_all();
    auditor_.begin({.most_nodes = 2});
    for (const syncbus::NodeId id : {syncbus::NodeId{1}, syncbus::NodeId{2}}) {
      nodes_.push_back(std::make_unique<sim::Node>(auditor_.node_began(id, 0, false), options(id)));
      nodes_.back()->delay = std::chrono::milliseconds{1};
      begin_session(*nodes_.back());
    }
  }

  [[nodiscard]] static syncbus::core::ProtocolOptions options(syncbus::NodeId id) {
    return {.self = id, .queue_bytes = 1'024};
  }
  void settle(sim::Node&) override {}

  /// Whether what the first node sends now comes to the second.
  [[nodiscard]] bool carries() {
    std::vector<std::byte> frame(syncbus::core::max_heartbeat_bytes);
    frame.resize(syncbus::core::encode_heartbeat(frame, nodes_[0]->id, {}, {.number = 1}));
    timeline_.clear();
    hand_over(*nodes_[0], {.kind = syncbus::core::Action::Kind::broadcast, .bytes = frame});
    bool came = false;
    while (!timeline_.empty()) {
      const sim::Moment moment = timeline_.take();
      now_ = moment.at;
      if (moment.kind == sim::Moment::Kind::at_broker) reach_broker(moment);
      came = came || (moment.kind == sim::Moment::Kind::copy && moment.node == 1);
    }
    return came;
  }
  void end_session_of_paused() {
    nodes_[0]->paused_until = now_ + std::chrono::seconds{1};
    interrupt(*nodes_[0]);
    now_ = nodes_[0]->paused_until;
  }
};

std::uint64_t hash_of(sim::World& world, std::uint64_t seed) {
  sim::TraceHash hash;
  static_cast<void>(world.run(seed, &hash.out()));
  return hash.value();
}

}  // namespace

TEST_CASE("a planted bug is found, by the promise that it breaks") {
  constexpr std::uint64_t most_worlds = 6'000;  // a queue that is full is rare
  constexpr Planted bugs[] = {
      {"events withheld", Sabotage::withhold_events, Family::calm, "promise 1"},
      {"events withheld where all is looked at", Sabotage::withhold_events, Family::calm, "promise 2"},
      {"a handler skipped", Sabotage::skip_handler, Family::calm, "promise 1"},
      {"a handler skipped, and acknowledged", Sabotage::skip_handler, Family::calm, "has not heard all"},
      {"no answers", Sabotage::swallow_answers, Family::calm, "promise 3"},
      {"frames held back", Sabotage::dawdle, Family::calm, "promise 3"},
      {"an answer forged", Sabotage::forge_answer, Family::calm, "promise 3: replica none"},
      {"a replica named twice", Sabotage::name_twice, Family::calm, "is counted twice"},
      {"an await given up at once", Sabotage::give_up_at_once, Family::calm, "before its deadline, and"},
      {"awaits refused", Sabotage::refuse_awaits, Family::calm, "refuses an await"},
      {"resyncs for no reason, on a good link", Sabotage::invent_resync, Family::calm, "promise 4"},
      {"resyncs for no reason, on a bad one", Sabotage::invent_resync, Family::torn, "promise 4"},
      {"no staleness", Sabotage::feign_freshness, Family::lossy, "promise 2"},
      {"too much history", Sabotage::hoard_history, Family::interrupted, "promise 5: history"},
      {"too long a queue", Sabotage::hoard_frames, Family::interrupted, "promise 5: queue"},
      {"a type mistaken", Sabotage::mistake_type, Family::calm, "which nobody has published"},
      {"a version mistaken", Sabotage::mistake_version, Family::calm, "which nobody has published"},
      {"late events in their old place", Sabotage::disorder, Family::lossy, "promise 6"},
      {"a flush cut short", Sabotage::cut_flush_short, Family::interrupted, "promise 9"},
      {"other versions ignored", Sabotage::ignore_versions, Family::calm, "version 0 of key -1 of nobody here"},
      {"heartbeats ignored", Sabotage::ignore_heartbeats, Family::calm, "does not know node"},
  };
  for (const Planted& planted : bugs) {
    const Finding finding = find(planted.bug, planted.family, planted.expected, most_worlds);
    INFO(planted.what << ", in " << finding.worlds << " worlds; otherwise: " << finding.otherwise);
    CHECK(finding.sentence != "");
  }
}

TEST_CASE("a resync that is heard twice is found, whatever its cause") {
  using enum syncbus::ResyncCause;
  for (const syncbus::ResyncCause cause : {overflow, unrepairable, peer_lost, interrupted, joined, requested}) {
    const std::string expected = "that nothing explains: " + std::string{to_string(cause)};
    const Finding finding = find(Sabotage::repeat_resync, Family::torn, expected, 20'000);
    INFO(to_string(cause) << ", in " << finding.worlds << " worlds");
    CHECK(finding.sentence != "");
  }
}

TEST_CASE("what a stranger broadcasts again after it was met is heard once, for it may never have been stored before") {
  constexpr syncbus::NodeId publisher{1}, hearer{2};
  constexpr syncbus::TimePoint now{std::chrono::hours{1}};
  sim::Auditor auditor;
  auditor.begin({.heard_once = true, .lossless = true, .ample_history = true, .queue_bytes = 4'096});
  const auto from = auditor.node_began(publisher, 0, false);
  const auto to = auditor.node_began(hearer, 0, false);
  auditor.connected(to, 1'024, now);
  static_cast<void>(auditor.subscribed(to, sim::every_key, false, now));
  auditor.copy_came(from, to, {.kind = sim::Label::Kind::heartbeat, .whole = true, .sequence = 4}, now);
  sim::Label clearing{.kind = sim::Label::Kind::events, .whole = true, .sequence = 4, .bytes = 64};
  clearing.tops[static_cast<std::size_t>(syncbus::ResyncCause::requested)] = 1;
  const auto hear = [&] {
    auditor.copy_came(from, to, clearing, now);
    auditor.resync_heard(to, {syncbus::ResyncCause::requested, publisher}, now);
  };
  SECTION("sent again") {
    hear();
    CHECK(auditor.problem() == "");
    hear();
  }
  SECTION("repaired") {
    clearing.kind = sim::Label::Kind::repair;
    hear();
  }
  CHECK(auditor.problem().find("that nothing explains: requested") != std::string::npos);
}

TEST_CASE("a welcome in several frames says how far all are whom it names, once all of it has come") {
  using namespace std::chrono_literals;
  constexpr syncbus::NodeId welcomer{1}, publisher{2}, joiner{3};
  constexpr syncbus::TimePoint now{std::chrono::hours{1}};
  sim::Auditor auditor;
  auditor.begin({.nothing_fails = true, .most_nodes = 3});
  const auto from = auditor.node_began(welcomer, 0, false);
  const auto of = auditor.node_began(publisher, 0, true);
  const auto to = auditor.node_began(joiner, 0, false);
  auditor.connected(to, 1'024, now);
  sim::Label part{.kind = sim::Label::Kind::welcome, .whole = true, .welcome = 1, .parts = 2};
  part.names = {{.node = publisher, .heartbeat = 1, .sequence = 1}};
  auditor.copy_came(from, to, part, now);
  const bool all = GENERATE(true, false);
  part.part = 1;
  part.names = {{.node = joiner}};
  if (all) auditor.copy_came(from, to, part, now);
  static_cast<void>(auditor.subscribed(to, sim::every_key, false, now));
  auditor.copy_came(of, to, {.kind = sim::Label::Kind::heartbeat, .whole = true, .sequence = 1}, now + 1s);
  auditor.sample(to, true, 0s, {}, now + 2s);
  CHECK(auditor.problem().empty() == all);  // what was published before is none of ours, if that was told
}

TEST_CASE("where nothing fails, only what is older than a subscriber may come late") {
  sim::Auditor auditor;
  auditor.begin({.nothing_fails = true, .strict_order = true, .most_nodes = 2});
  const auto from = auditor.node_began(syncbus::NodeId{1}, 0, false);
  const auto to = auditor.node_began(syncbus::NodeId{2}, 0, false);
  const auto publish = [&](std::uint64_t version) {
    static_cast<void>(auditor.accepted(from, 1, syncbus::EventType::set, version, {}));
  };
  publish(1);
  const auto subscriber = auditor.subscribed(to, 1, false, {});
  publish(2);
  publish(3);
  const auto hear = [&](std::uint64_t version) {
    static_cast<void>(auditor.event_begins(subscriber, syncbus::EventType::invalidate, from, 1, version));
  };
  hear(3);
  hear(1);  // a question about it, which is awaited, has brought it
  CHECK(auditor.problem() == "");
  hear(2);
  CHECK(auditor.problem().find("promise 6") != std::string::npos);
}

TEST_CASE("where awaits ask for what was heard already, each copy of a frame may fill the queue") {
  sim::Auditor auditor;
  auditor.begin({.queue_bytes = 100, .pending_bytes = 100});
  const auto from = auditor.node_began(syncbus::NodeId{1}, 0, false);
  const auto to = auditor.node_began(syncbus::NodeId{2}, 0, false);
  const sim::Label frame{.kind = sim::Label::Kind::events, .whole = true, .sequence = 1, .bytes = 64};
  for (int copy = 0; copy != 2; ++copy) {
    auditor.copy_came(from, to, frame, {});
    auditor.resync_heard(to, {syncbus::ResyncCause::overflow, {}}, {});
    auditor.idle(to, {});
  }
  CHECK(auditor.problem() == "");
}

TEST_CASE("an await for everyone may end at its deadline when its frame did not go out or come back, and for no less") {
  using namespace std::chrono_literals;
  constexpr syncbus::TimePoint opened{std::chrono::hours{1}}, deadline = opened + 50ms;
  sim::Auditor auditor;
  auditor.begin({.answer_time = 150ms, .await_time = 400ms, .history_bytes = 4'096});
  const auto node = auditor.node_began(syncbus::NodeId{1}, 0, false);
  auditor.connected(node, 1'024, opened - 1s);
  auditor.await_opened(
      {.node = node, .await_id = 1, .quorum = syncbus::Quorum::everyone(), .opened = opened, .deadline = deadline});
  auditor.await_has(node, 1, auditor.accepted(node, 1, syncbus::EventType::invalidate, 0, opened));
  const sim::Label frame{.kind = sim::Label::Kind::events, .whole = true, .sequence = 1, .bytes = 64, .entries = 1};
  const auto end = [&] {
    auditor.await_ended(node, 1, make_error_code(syncbus::Errc::quorum_not_satisfied), {}, deadline);
    return auditor.problem();
  };
  SECTION("not out") { CHECK(end() == ""); }
  SECTION("not back") {
    auditor.handed_over(node, frame);
    CHECK(end() == "");
  }
  SECTION("back, over a connection that is half open now") {
    auditor.handed_over(node, frame);
    auditor.echo_came(node, frame, opened + 1ms);
    auditor.went_half_open(node);
    CHECK(end() == "");
  }
  SECTION("back") {
    auditor.handed_over(node, frame);
    auditor.echo_came(node, frame, opened + 1ms);
    CHECK(end().find("though nothing hindered it") != std::string::npos);
  }
}

TEST_CASE("an await may miss its deadline when history may have had no room for it, and for no less") {
  using namespace std::chrono_literals;
  constexpr syncbus::TimePoint opened{std::chrono::hours{1}}, deadline = opened + 500ms;
  const std::size_t published_before = GENERATE(0U, 2U);
  sim::Auditor auditor;
  auditor.begin({.answer_time = 150ms, .await_time = 400ms, .history_bytes = 1'024, .pending_bytes = 4'096});
  const auto node = auditor.node_began(syncbus::NodeId{1}, 0, false);
  auditor.connected(node, 512, opened - 1s);
  const auto publish = [&] { return auditor.accepted(node, 1, syncbus::EventType::invalidate, 0, opened); };
  for (std::size_t i = 0; i != published_before; ++i) publish();
  auditor.await_opened(
      {.node = node, .await_id = 1, .quorum = syncbus::Quorum::everyone(), .opened = opened, .deadline = deadline});
  auditor.await_has(node, 1, publish());
  auditor.await_ended(node, 1, make_error_code(syncbus::Errc::quorum_not_satisfied), {}, deadline);
  CHECK((auditor.problem() == "") == (published_before == 2));
}

TEST_CASE("an await may be satisfied late by who has too many peers to keep their zones or answers, and by no other") {
  using namespace std::chrono_literals;
  using syncbus::Quorum;
  struct Late {
    std::size_t max_peers;
    Quorum quorum;
    bool after_another;  ///< whose answers fill what is kept of strangers'
    bool may_be;
  };
  const Late late = GENERATE(Late{2, Quorum::zones(1), false, false}, Late{1, Quorum::zones(1), false, true},
                             Late{1, Quorum{1}, false, false}, Late{1, Quorum{1}, true, true});
  constexpr syncbus::TimePoint opened{std::chrono::hours{1}};
  sim::Auditor auditor;
  auditor.begin({.nothing_fails = true,
                 .lossless = true,
                 .peer_timeout = 1s,
                 .way_back = 15ms,
                 .most_nodes = 3,
                 .max_peers = late.max_peers,
                 .answers_of_strangers = 5});
  for (const std::uint64_t id : {1U, 2U, 3U}) {
    auditor.connected(auditor.node_began(syncbus::NodeId{id}, 1, false), 1'024, opened - 1s);
  }
  const sim::Label heartbeat{.kind = sim::Label::Kind::heartbeat, .whole = true};
  for (const sim::NodeNumber peer : {1U, 2U}) auditor.copy_came(peer, 0, heartbeat, opened - 1ms);
  const auto subscriber = auditor.subscribed(1, 1, false, opened - 1ms);
  if (late.after_another) auditor.await_opened({.node = 0, .await_id = 2, .opened = opened, .deadline = opened + 5ms});
  auditor.await_opened({.node = 0, .await_id = 1, .quorum = late.quorum, .opened = opened, .deadline = opened + 1s});
  const std::error_code missed = make_error_code(syncbus::Errc::quorum_not_satisfied);
  if (late.after_another) auditor.await_ended(0, 2, missed, {}, opened + 5ms);
  auditor.await_has(0, 1, auditor.accepted(0, 1, syncbus::EventType::set, 1, opened));
  const auto call = auditor.event_begins(subscriber, syncbus::EventType::set, 0, 1, 1);
  auditor.returned(call, opened + 1ms);
  auditor.await_ended(0, 1, {}, {syncbus::NodeId{2}}, opened + 40ms);
  INFO(auditor.problem());
  CHECK((auditor.problem() == "") == late.may_be);
}

TEST_CASE("what a node sends in a session that is over is lost, also before it has learned that it is") {
  BareLink link;
  CHECK(link.carries());
  link.end_session_of_paused();
  CHECK_FALSE(link.carries());
}

TEST_CASE("a gap where nothing is lost is found") {
  sim::Auditor auditor;
  auditor.begin({.nothing_fails = true, .lossless = true});
  const auto node = auditor.node_began(syncbus::NodeId{1}, 0, false);
  syncbus::Metrics metrics;
  auditor.check_counters(node, metrics);
  CHECK(auditor.problem() == "");
  metrics.gaps = 1;
  auditor.check_counters(node, metrics);
  CHECK(auditor.problem().find("promise 4") != std::string::npos);
}

TEST_CASE("a seed is one world, whatever was run in the same memory before") {
  sim::World used;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    sim::World fresh;
    const std::uint64_t hash = hash_of(fresh, seed);
    INFO("seed " << seed);
    CHECK(hash_of(used, seed) == hash);
    CHECK(hash_of(used, seed) == hash);
    CHECK(hash_of(used, seed + 1) != hash);
  }
}
