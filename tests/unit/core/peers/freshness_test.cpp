// Staleness from evidence: what a heartbeat proves that names another, and what proof waits for.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <syncbus/base/split_mix64.hpp>
#include <syncbus/core/peers/freshness.hpp>
#include <syncbus/core/peers/oldest_waiting.hpp>
#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/machine.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::Freshness, core::HeartbeatPositions, core::SequenceTracker;
using support::Cluster, support::events_frame, support::heartbeat_frame, support::heartbeat_of, support::Lines,
    support::Node, support::roomy, support::Sent, support::start;

namespace {

constexpr NodeId peer{2}, other{3};
constexpr auto most = ~std::uint64_t{0};

/// A node alone, and peers whose heartbeats a test writes.
struct Witness : Node {
  explicit Witness(const core::ProtocolOptions& options = roomy()) : Node{options} {
    join();
    beat({.number = 1});
    pass(1s);
  }

  void beat(core::HeartbeatView heartbeat, NodeId of = peer) {
    heartbeat.oldest_sequence = 1;
    heartbeat.interval = 1s;
    on_frame(heartbeat_frame(of, heartbeat));
  }
  /// The newest heartbeat of our own.
  [[nodiscard]] Sent newest() const { return newest_heartbeat(); }
  [[nodiscard]] std::uint64_t newest_number() const { return heartbeat_of(newest()).number; }
};

}  // namespace

// --- where heartbeats lie among our own

TEST_CASE("the position of a heartbeat is the newest of ours before it; of a lost one, that of the one before") {
  HeartbeatPositions positions;
  positions.received(5, 2);
  positions.received(7, 3);
  CHECK(positions.own_before(4) == 0);
  CHECK(positions.own_before(5) == 2);
  CHECK(positions.own_before(6) == 2);
  CHECK(positions.own_before(7) == 3);
  CHECK(positions.own_before(most) == 3);
  positions.received(6, 9);  // late: its place is not known
  CHECK(positions.own_before(6) == 2);
  for (std::uint64_t number = 8; number != 100; ++number) positions.received(number, number);
  CHECK(positions.own_before(50) == 0);  // forgotten, so nothing is proved
}

// --- claims

TEST_CASE("a claim is proved when nothing is missing and the handlers of what was queued by then have returned") {
  SequenceTracker tracker{0};
  Freshness freshness{start};
  freshness.claim(start + 1s, 2, tracker, 0, 0);
  CHECK(freshness.fresh_at() == start);
  tracker.observe(1);
  tracker.observe(2);
  freshness.prove(tracker, 2, 1);
  CHECK(freshness.fresh_at() == start);
  freshness.prove(tracker, 9, 2);  // what was queued later does not matter
  CHECK(freshness.fresh_at() == start + 1s);
}

TEST_CASE("newer claims do not put off the proof of the oldest, and an older one takes nothing back") {
  SequenceTracker tracker{0};
  tracker.observe(1);
  Freshness freshness{start};
  for (int i = 1; i != 100; ++i) freshness.claim(start + i * 1s, 1, tracker, static_cast<std::uint64_t>(i), 0);
  freshness.prove(tracker, 100, 1);
  CHECK(freshness.fresh_at() == start + 1s);
  freshness.prove(tracker, 100, 100);
  CHECK(freshness.fresh_at() == start + 99s);
  freshness.claim(start + 5s, 1, tracker, 100, 100);
  CHECK(freshness.fresh_at() == start + 99s);
}

// --- in the machine

TEST_CASE("without peers nothing is stale, and with one that says nothing staleness grows") {
  Node node;
  node.pass(10s);
  CHECK(node.staleness() == 0s);
  node.on_frame(heartbeat_frame(peer, {.number = 1, .interval = 1s}));
  CHECK(node.staleness() == 0s);
  node.pass(3s);
  CHECK(node.staleness() == 3s);
}

TEST_CASE("a heartbeat that names one of ours proves freshness at the time when that was sent") {
  Witness node;
  const TimePoint sent = node.newest().at;
  node.pass(300ms);
  node.beat({.number = 2, .newest_origin = node.self, .newest_number = node.newest_number()});
  CHECK(node.now - node.staleness() >= sent);
  CHECK(node.now - node.staleness() == node.newest().at);
}

TEST_CASE("a heartbeat that names nothing, a stranger's or a forgotten one proves nothing") {
  Witness node;
  const Duration before = node.staleness();
  SECTION("nothing") { node.beat({.number = 2}); }
  SECTION("a stranger's") { node.beat({.number = 2, .newest_origin = NodeId{77}, .newest_number = 1}); }
  SECTION("of ours, before the first") { node.beat({.number = 2, .newest_origin = node.self}); }
  CHECK(node.staleness() == before);
}

TEST_CASE("that ours arrived before the peer's proves nothing: it may have been under way") {
  Witness node;
  const std::uint64_t named = node.newest_number();
  const TimePoint sent = node.newest().at;
  node.pass(2s);
  REQUIRE(node.newest_number() > named);
  node.beat({.number = 2, .newest_origin = node.self, .newest_number = named});
  CHECK(node.now - node.staleness() == sent);
}

TEST_CASE("a heartbeat that names another peer's proves what lies before that in our own order") {
  Witness node;
  node.beat({.number = 50}, other);
  const TimePoint before = node.newest().at;
  const auto own = node.newest_number();
  node.pass(2s);
  REQUIRE(node.newest_number() > own);
  for (const NodeId id : {peer, other}) node.beat({.number = 60, .newest_origin = other, .newest_number = 50}, id);
  CHECK(node.now - node.staleness() == before);
}

TEST_CASE("ours that did not come back proves nothing, whatever a peer says") {
  Witness node;
  const TimePoint returned = node.newest().at;
  node.hears_itself = false;
  node.pass(2s);
  node.beat({.number = 2, .newest_origin = node.self, .newest_number = node.newest_number()});
  CHECK(node.now - node.staleness() == returned);
}

TEST_CASE("of several peers the stalest counts; silent and gone ones do not") {
  Witness node;
  node.beat({.number = 1}, other);
  const TimePoint met = node.now;
  for (int i = 0; i != 3; ++i) {
    node.pass(1s);
    node.beat({.number = 10U + static_cast<unsigned>(i),
               .newest_origin = node.self,
               .newest_number = node.newest_number()});
  }
  CHECK(node.now - node.staleness() == met);
  node.beat({.goodbye = true, .number = 2}, other);
  CHECK(node.staleness() < 1s);
}

TEST_CASE("proof waits for handlers") {
  Witness node;
  const Duration before = node.staleness();
  node.on_frame(events_frame(peer, 1, {{.key = "k"}}));
  node.beat({.number = 2, .last_sequence = 1, .newest_origin = node.self, .newest_number = node.newest_number()});
  CHECK(node.staleness() == before);
  REQUIRE(node.take());
  CHECK(node.staleness() == before);  // it runs
  node.returned();
  CHECK(node.now - node.staleness() == node.newest().at);
}

TEST_CASE("proof waits for what is missing") {
  Witness node;
  const Duration before = node.staleness();
  node.beat({.number = 2, .last_sequence = 1, .newest_origin = node.self, .newest_number = node.newest_number()});
  const TimePoint sent = node.newest().at;
  CHECK(node.staleness() == before);
  node.on_frame(events_frame(peer, 1, {{.key = "k"}}));
  CHECK(node.staleness() == before);
  (void)node.heard();
  CHECK(node.now - node.staleness() == sent);
}

TEST_CASE("proof waits for events that a peer has accepted and not sent") {
  Witness node;
  const Duration before = node.staleness();
  node.beat({.number = 2, .ahead = GENERATE(std::uint64_t{1}, core::ahead_unknown), .newest_origin = node.self,
             .newest_number = node.newest_number()});
  CHECK(node.staleness() == before);
}

TEST_CASE("proof waits for a resync that is held back") {
  Witness node;
  const Duration before = node.staleness();
  node.on_frame(events_frame(other, 100, {{.key = "k"}}));  // a stranger with a past
  node.beat({.number = 2, .newest_origin = node.self, .newest_number = node.newest_number()});
  CHECK(node.heard() == Lines{"invalidate k"});
  CHECK(node.staleness() >= before);
  node.pass(20ms);
  CHECK(node.heard() == Lines{"resync: joined"});
}

TEST_CASE("numbers of any size prove no more than what came back") {
  Witness node;
  const TimePoint sent = node.newest().at;
  node.beat({.number = most, .newest_origin = node.self, .newest_number = most});
  node.beat({.number = most, .newest_origin = peer, .newest_number = most});
  CHECK(node.now - node.staleness() <= sent);
  node.beat({.number = most, .last_sequence = most, .newest_origin = other, .newest_number = most}, other);
  CHECK(node.now - node.staleness() <= sent);
}

// --- health

TEST_CASE("an interruption makes a node stale from when it last heard itself until the end of the next join window is "
          "heard") {
  Node node;
  node.join();
  node.pass(1s);
  const TimePoint heard = node.newest_heartbeat().at;
  node.pass(100ms);
  node.on_interrupted();
  CHECK(node.now - node.staleness() == heard);
  node.pass(5s);
  node.on_ready(2);
  node.on_frame(events_frame(peer, 1, {{.key = "k"}}));
  CHECK(node.take());
  node.pass(30ms);
  CHECK(node.now - node.staleness() <= heard);  // a handler runs still
  node.returned();
  CHECK(node.staleness() < 1s);
}

TEST_CASE("a join window that closes while the node is cut off again proves nothing") {
  Node node;
  node.join();
  node.on_interrupted();
  node.pass(1s);
  node.on_ready(2);  // its hello is back at once: the window would end in 20 ms
  node.on_interrupted();
  node.pass(10s);
  CHECK(node.staleness() >= 11s);
}

TEST_CASE("health is told when staleness passes the peer timeout, and when it falls below") {
  Witness node;
  const int before = node.healths;
  node.pass(3500ms);
  CHECK(node.healths == before);
  node.beat({.number = 2});
  node.pass(3s);
  CHECK(node.healths == before + 1);
  node.beat({.number = 3, .newest_origin = node.self, .newest_number = node.newest_number()});
  node.pass(1s);
  CHECK(node.healths == before + 2);
}

TEST_CASE("in a quiet cluster staleness stays below two heartbeat intervals and the delays") {
  Cluster cluster;
  Node& one = cluster.add(1);
  Node& two = cluster.add(2);
  cluster.add(3);
  cluster.pass(5s);
  for (int i = 0; i != 200; ++i) {
    cluster.pass(50ms);
    CHECK(one.staleness() <= 2100ms);
    CHECK(two.staleness() <= 2100ms);
  }
}

TEST_CASE("what a peer sent before it ended is still owed: staleness grows until the handlers have returned from it") {
  Witness node;
  node.on_frame(events_frame(peer, 1, {{.key = "k"}}));
  node.beat({.number = 2, .last_sequence = 1});
  SECTION("it says goodbye") { node.beat({.goodbye = true, .number = 3, .last_sequence = 1}); }
  SECTION("it crashes") {}
  node.pass(10s);
  CHECK(node.staleness() > 9s);
  CHECK_FALSE(node.heard().empty());
  CHECK(node.staleness() < 2s);
}

TEST_CASE("what is missing of a peer that said goodbye is owed until a resync stands for it") {
  Witness node;
  node.beat({.goodbye = true, .number = 3, .last_sequence = 1});
  node.pass(500ms);
  CHECK(node.staleness() >= 500ms);
  node.pass(1s);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  CHECK(node.staleness() == 0s);
}

// --- what is known to be missing, or waits, from whomever

TEST_CASE("the oldest of what waits is never told younger than it is, nor much older") {
  detail::SplitMix64 random{7};
  core::OldestWaiting waiting;
  std::deque<TimePoint> known;
  std::uint64_t last = 0, settled = 0;
  TimePoint now = start;
  for (int step = 0; step != 10'000; ++step) {
    now += std::chrono::milliseconds{random.next() % 10};
    if (known.empty() || random.next() % 2 == 0) {
      waiting.added(last++, settled, now);
      known.push_back(now);
    } else {
      known.pop_front();
      ++settled;
    }
    if (known.empty()) continue;
    REQUIRE(waiting.since(settled) <= known.front());
    if (known.size() == 1 && settled + 1 == last) REQUIRE(known.front() - waiting.since(settled) <= 2s);
  }
}

TEST_CASE("what is missing of who publishes only, or waits for a handler, counts from when it is known") {
  Node node;
  node.join();
  const auto beat = [&node](std::uint64_t number) {
    node.on_frame(heartbeat_frame(peer, {.publish_only = true, .number = number, .interval = 1h}));
  };
  beat(1);
  node.pass(10s);
  CHECK(node.staleness() == 0s);
  SECTION("a frame is missing, and then waits as a resync") {
    node.on_frame(events_frame(peer, 2, {{.key = "2"}}));
    CHECK(node.heard() == Lines{"invalidate 2"});
    node.pass(900ms);
    CHECK(node.staleness() == 900ms);
    node.pass(600ms);
    beat(2);
    node.pass(500ms);
    CHECK(node.staleness() == 2s);
    CHECK(node.heard() == Lines{"resync: unrepairable"});
    CHECK(node.staleness() == 0s);
  }
  SECTION("an event waits") {
    node.on_frame(events_frame(peer, 1, {{.key = "1"}}));
    node.pass(60s);
    CHECK(node.staleness() == 60s);
    CHECK(node.heard() == Lines{"invalidate 1"});
    CHECK(node.staleness() == 0s);
  }
}

TEST_CASE("a stranger whose past is owed may have published since this node began to listen") {
  Node node;
  node.join();
  node.pass(10s);
  CHECK(node.staleness() == 0s);
  SECTION("it has published nothing") {
    node.on_frame(heartbeat_frame(peer, {.number = 1, .interval = 1s}));
    CHECK(node.staleness() == 0s);
  }
  SECTION("a frame is missing") {
    node.on_frame(heartbeat_frame(peer, {.number = 1, .last_sequence = 1, .oldest_sequence = 1, .interval = 1s}));
    CHECK(node.staleness() > 10s);
  }
  SECTION("it has accepted what it has not sent") {
    node.on_frame(heartbeat_frame(peer, {.number = 1, .ahead = 1, .oldest_sequence = 1, .interval = 1s}));
    CHECK(node.staleness() > 10s);
  }
  SECTION("too much is missing, and the resync waits") {
    node.on_frame(events_frame(peer, 100, {{.key = "100"}}));
    node.pass(200ms);
    CHECK(node.staleness() > 10s);
  }
}
