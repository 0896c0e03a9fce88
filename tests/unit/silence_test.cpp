// How peers end: silence, goodbyes, a table that forgets; and how they return.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/machine.hpp"
#include "support/receiver.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::SequenceRange;
using support::heartbeat_frame, support::Lines, support::lossless, support::Receiver,
    support::requested_by, support::roomy;

namespace {

constexpr NodeId peer = support::usual_peer, other{3};

}  // namespace

TEST_CASE("a peer is silent after the peer timeout and four announced intervals; that is one resync, peer_lost") {
  Receiver node;
  const Duration interval = GENERATE(1s, 10s);
  node.beat(1, 1, peer, interval);
  const Duration limit = (std::max<Duration>)(5s, 4 * interval);
  node.pass(limit - 1s);
  CHECK(node.heard().empty());
  node.pass(3s);
  CHECK(node.heard() == Lines{"resync: peer_lost"});
  node.pass(1min);
  CHECK(node.heard().empty());
}

TEST_CASE("a peer that was met by a frame is silent when one in a cluster of this size would be") {
  auto options = roomy();
  options.control_rate = 2;  // three nodes have a heartbeat each 9 s
  Receiver node{options, 0};
  node.frame(1, other);
  (void)node.heard();
  node.pass_heard(30s, 0);
  CHECK(node.heard().empty());
  node.pass_heard(30s, 0);
  CHECK(node.heard() == Lines{"resync: peer_lost"});
}

TEST_CASE("who said goodbye is no loss when it is silent, and is no peer any more") {
  Receiver node;
  node.on_frame(heartbeat_frame(peer, {.goodbye = true, .number = 100, .last_sequence = 1, .oldest_sequence = 1}));
  node.pass(1min);
  CHECK(node.heard().empty());
  CHECK(node.machine.peers(node.now).empty());
}

TEST_CASE("what is missing of who said goodbye is a resync, and asked of nobody") {
  Receiver node;
  node.on_frame(heartbeat_frame(peer, {.goodbye = true, .number = 100, .last_sequence = 5, .oldest_sequence = 1}));
  node.pass(2s);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  CHECK(node.requests().empty());
}

TEST_CASE("silence is no loss in a lossless session that was whole since the peer's last word") {
  Receiver node{lossless()};
  SECTION("it was") {
    node.pass(20s);
    CHECK(node.heard().empty());
  }
  SECTION("it was interrupted") {
    node.reconnect();
    node.pass(20s);
    CHECK(node.heard() == Lines{"resync: peer_lost"});
  }
  SECTION("a frame is missing all the same") {
    node.frame(3);
    (void)node.heard();
    node.pass(20s);
    CHECK(node.heard() == Lines{"resync: peer_lost"});
  }
}

TEST_CASE("no peer times out while we are cut off") {
  Receiver node;
  SECTION("disconnected") { node.on_interrupted(); }
  SECTION("deaf") { node.hears_itself = false; }
  node.pass(1min);
  CHECK(node.heard().empty());
}

TEST_CASE("a machine that was suspended takes another session, and nobody was silent meanwhile") {
  Receiver node;
  node.now += 10min;  // nobody was woken in that time
  node.machine.on_suspended(node.now);
  node.act();
  CHECK(node.reopens == 1);
  CHECK_FALSE(node.machine.connected());
  CHECK(node.staleness() >= 10min);
  node.on_interrupted();
  node.on_ready(2);
  node.pass_heard(10s, 1);
  CHECK(node.heard().empty());
}

TEST_CASE("a silent peer that returns is reconciled by what is known of it") {
  Receiver node;
  node.pass(20s);
  CHECK(node.heard() == Lines{"resync: peer_lost"});
  node.beat(3);
  node.pass(5ms);
  REQUIRE(node.requests().size() == 1);
  CHECK(requested_by(node.requests()[0]) == std::vector<SequenceRange>{{2, 3}});
  node.repaired(2);
  node.repaired(3);
  node.pass_heard(4s, 3);
  CHECK(node.heard() == Lines{"invalidate 2", "invalidate 3"});
}

TEST_CASE("the table of peers is bounded: the one heard longest ago is forgotten, and is a stranger when it returns") {
  auto options = roomy();
  options.max_peers = 2;
  Receiver node{options, 0};
  node.frame(1);
  node.pass(1s);
  node.frame(1, other);
  node.pass(1s);
  node.frame(2);
  node.pass(100ms);
  node.frame(1, NodeId{4});
  CHECK(node.machine.peers(node.now).size() == 2);
  (void)node.heard();
  node.beat(100, 90, other);
  (void)node.heard();
  node.pass(30ms);
  CHECK(node.heard() == Lines{"resync: joined"});
}

TEST_CASE("a peer that is forgotten before it fell silent may have been missed: that is a resync") {
  auto options = roomy();
  options.max_peers = 2;
  Receiver node{options};
  node.pass(1s);
  node.frame(1, other);
  (void)node.heard();
  node.frame(1, NodeId{4});
  CHECK(std::ranges::count(node.heard(), "resync: peer_lost") == 1);
}

TEST_CASE("a heartbeat of our own that comes back after a stall says nothing about who was not read meanwhile") {
  Receiver node{GENERATE(roomy(), lossless())};
  node.beat(1);
  node.await({"k"}, Quorum::everyone(), 1min);
  node.hears_itself = false;
  const std::size_t before = node.heartbeats().size();
  while (node.heartbeats().size() == before) node.pass(1ms);
  node.now += 6s;                                     // the process stands still
  node.on_frame(node.newest_heartbeat().bytes);       // what it reads first
  CHECK(node.ended.empty());                          // the peer may have the event, and has not answered
  CHECK(node.staleness() > 5s);
  CHECK(node.heard().empty());
}

TEST_CASE(
    "a peer forgotten for want of room may publish in our next outage and never be heard again: that is a resync") {
  auto options = lossless();
  options.max_peers = 1;
  Receiver node{options};
  node.beat(0, 1, other);
  CHECK(node.heard().empty());
  node.reconnect();
  node.beat(0, 1, other);
  node.pass(1s);
  CHECK(node.heard() == Lines{"resync: interrupted"});
}

TEST_CASE("who said goodbye is forgotten without a trace: it will not return") {
  auto options = lossless();
  options.max_peers = 1;
  Receiver node{options};
  node.on_frame(heartbeat_frame(peer, {.goodbye = true, .number = 100, .last_sequence = 1, .oldest_sequence = 1}));
  node.beat(0, 1, other);
  node.reconnect();
  node.pass(1s);
  node.beat(0, 1, other);
  CHECK(node.heard().empty());
}
