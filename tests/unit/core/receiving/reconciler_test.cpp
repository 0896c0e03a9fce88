// The rule of reconciliation: what a node does about what it did not hear of a peer; driven by frames made by hand.
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
using support::events_frame, support::heartbeat_frame, support::Lines, support::lossless, support::Node,
    support::Receiver, support::requested_by;

namespace {

constexpr NodeId peer = support::usual_peer, other{3};

}  // namespace

// --- gaps of a known peer

TEST_CASE("a missing frame is asked for and heard, late, with no resync") {
  Receiver node;
  node.frame(3);
  CHECK(node.heard() == Lines{"invalidate 3"});
  CHECK(node.requests().empty());
  node.pass(2ms);
  REQUIRE(node.requests().size() == 1);
  CHECK(node.requests()[0].destination == peer);
  CHECK(requested_by(node.requests()[0]) == std::vector<SequenceRange>{{2, 2}});
  node.repaired(2);
  CHECK(node.heard() == Lines{"invalidate 2"});
  node.pass_heard(10s, 3);
  CHECK(node.heard().empty());
  CHECK(node.requests().size() == 1);
  CHECK(node.machine.metrics().gaps == 1);
  CHECK(node.machine.metrics().frames_repaired == 1);
}

TEST_CASE("a frame that is only late is not asked for") {
  Receiver node;
  node.frame(3);
  node.frame(2);
  CHECK(node.heard() == Lines{"invalidate 3", "invalidate 2"});
  node.pass_heard(10s, 3);
  CHECK(node.requests().empty());
  CHECK(node.heard().empty());
}

TEST_CASE("a heartbeat tells of the last frames that were lost") {
  Receiver node;
  node.beat(4);
  node.pass(2ms);
  REQUIRE(node.requests().size() == 1);
  CHECK(requested_by(node.requests()[0]) == std::vector<SequenceRange>{{2, 4}});
}

TEST_CASE("what the history no longer has is a resync at once, unrepairable, and the rest is asked for") {
  Receiver node;
  node.beat(9, 6);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  node.pass(2ms);
  REQUIRE(node.requests().size() == 1);
  CHECK(requested_by(node.requests()[0]) == std::vector<SequenceRange>{{6, 9}});
  node.repaired(4);  // the resync covered it
  CHECK(node.heard().empty());
  CHECK(node.machine.metrics().duplicates == 1);
}

TEST_CASE("what does not come within the repair timeout while the peer is heard is one resync") {
  Receiver node;
  node.frame(3);
  node.frame(5);
  (void)node.heard();
  node.pass_heard(900ms, 5);
  CHECK(node.heard().empty());
  node.pass_heard(200ms, 5);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  node.pass_heard(10s, 5);
  CHECK(node.heard().empty());
  CHECK(node.machine.peers(node.now)[0].lag == 0);
}

TEST_CASE("every frame that comes gives the others the repair timeout again") {
  Receiver node;
  node.frame(4);
  (void)node.heard();
  node.pass_heard(900ms, 4);
  node.repaired(2);
  node.pass_heard(900ms, 4);
  CHECK(node.heard() == Lines{"invalidate 2"});
  node.pass_heard(200ms, 4);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
}

TEST_CASE("the repair timeout does not run while the peer is not heard, and its return begins it anew") {
  Receiver node;
  node.beat(1, 1, peer, 200ms);
  node.frame(3);
  (void)node.heard();
  node.pass(50ms);
  node.beat(3, 1, peer, 200ms);
  node.pass(3s);
  CHECK(node.heard().empty());
  const std::size_t before = node.others.size();
  node.beat(3, 1, peer, 200ms);
  node.pass(10ms);
  CHECK(node.heard().empty());
  CHECK_FALSE(node.requests(before).empty());
  node.repaired(2);
  CHECK(node.heard() == Lines{"invalidate 2"});
}

TEST_CASE("the repair timeout does not run while we are disconnected") {
  Receiver node;
  node.frame(3);
  node.pass(50ms);
  node.beat(3);
  (void)node.heard();
  node.on_interrupted();
  node.pass(20s);
  CHECK(node.heard().empty());
  node.on_ready(2);
  const std::size_t before = node.others.size();
  node.beat(3);
  node.pass(10ms);
  CHECK_FALSE(node.requests(before).empty());
  node.repaired(2);
  CHECK(node.heard() == Lines{"invalidate 2"});
}

TEST_CASE("more gaps than a tracker holds give up the oldest, as a resync") {
  Receiver node;
  for (std::uint64_t sequence = 3; sequence <= 3 + 2 * 64; sequence += 2) node.frame(sequence);
  const Lines lines = node.heard();
  CHECK(std::ranges::count(lines, "resync: unrepairable") == 1);
}

// --- strangers

TEST_CASE("where nobody listens yet a stranger's past is none of ours") {
  Node node;
  node.listening = false;
  node.on_frame(events_frame(peer, 7, {{.key = "seven"}}));
  node.on_frame(heartbeat_frame(other, {.number = 1, .last_sequence = 1'000, .oldest_sequence = 500}));
  node.pass(3s);
  CHECK(node.heard() == Lines{"invalidate seven"});
  CHECK(node.requests().empty());
}

TEST_CASE("a stranger that published nothing before is no loss") {
  Receiver node;
  node.frame(1, other);
  node.on_frame(heartbeat_frame(NodeId{4}, {.number = 1, .oldest_sequence = 1}));
  node.pass(200ms);
  CHECK(node.heard() == Lines{"invalidate 1"});
  CHECK(node.requests().empty());
}

TEST_CASE("of a stranger's past a few frames are asked for, if its history still has all") {
  Receiver node;
  node.beat(64, 1, other);
  node.pass(2ms);
  REQUIRE(node.requests().size() == 1);
  CHECK(requested_by(node.requests()[0]) == std::vector<SequenceRange>{{1, 64}});
  for (std::uint64_t sequence = 1; sequence <= 64; ++sequence) node.repaired(sequence, other);
  node.pass(100ms);
  CHECK(node.heard().size() == 64);
  CHECK(node.machine.metrics().frames_repaired == 64);
}

TEST_CASE("a stranger's longer or forgotten past is one resync, joined, when the join window closes") {
  Receiver node;
  SECTION("longer") { node.beat(65, 1, other); }
  SECTION("forgotten") { node.beat(10, 2, other); }
  SECTION("seen by a frame") {
    node.frame(66, other);
    CHECK(node.heard() == Lines{"invalidate 66"});
  }
  CHECK(node.heard().empty());
  node.pass(20ms);
  CHECK(node.heard() == Lines{"resync: joined"});
  node.pass(2s);
  CHECK(node.requests().empty());
}

TEST_CASE("the strangers of one join window are one resync") {
  Receiver node;
  for (std::uint64_t id = 10; id != 20; ++id) {
    node.beat(1'000, 900, NodeId{id});
    node.pass(1ms);
  }
  node.pass(20ms);
  CHECK(node.heard() == Lines{"resync: joined"});
}

TEST_CASE("in the first session of a transport that loses nothing a stranger's past is none of ours") {
  Receiver node{lossless()};
  node.frame(100, other);
  node.pass(100ms);
  CHECK(node.heard() == Lines{"invalidate 100"});
  CHECK(node.requests().empty());
}

TEST_CASE("in a later session it may be: a stranger may have published while we were away") {
  Receiver node{lossless()};
  node.reconnect();
  node.join();
  node.beat(1);
  node.frame(100, other);
  node.pass(100ms);
  CHECK(node.heard() == Lines{"invalidate 100", "resync: joined"});
}

TEST_CASE("a stranger that comes from another broker is a resync, joined, wherever it was and whatever it sent") {
  Receiver node{lossless()};
  const std::uint64_t last = GENERATE(0U, 5U, 100U);
  const bool frame_first = GENERATE(false, true);  // of who publishes only: nothing tells it to say hello
  if (frame_first) node.frame(last + 1, other);
  (void)node.heard();
  const core::HeartbeatView hello{.moved = true, .number = 7, .last_sequence = last + (frame_first ? 1 : 0)};
  node.on_frame(heartbeat_frame(other, hello));
  node.pass(100ms);
  CHECK(node.heard() == Lines{"resync: joined"});
  CHECK(node.requests().empty());
  node.on_frame(heartbeat_frame(other, {.moved = true, .number = 8, .last_sequence = hello.last_sequence}));
  node.pass(100ms);
  CHECK(node.heard().empty());
}

TEST_CASE("strangers that come from another broker together are one resync, and known peers none") {
  Receiver node{lossless()};
  node.on_frame(heartbeat_frame(peer, {.moved = true, .number = 7, .last_sequence = 1}));
  node.pass(100ms);
  CHECK(node.heard().empty());
  for (std::uint64_t id = 10; id != 20; ++id) {
    node.on_frame(heartbeat_frame(NodeId{id}, {.moved = true, .number = 1, .last_sequence = 500}));
  }
  node.pass(100ms);
  CHECK(node.heard() == Lines{"resync: joined"});
}

TEST_CASE("who does not listen yet when a stranger comes from another broker has lost nothing") {
  Node node{lossless()};
  node.listening = false;
  node.join();
  node.on_frame(heartbeat_frame(other, {.moved = true, .number = 7, .last_sequence = 100}));
  node.listening = true;
  node.pass(1s);
  CHECK(node.heard().empty());
}

TEST_CASE("a node on another broker than before has a resync, and says so until it hears itself there") {
  Receiver node{lossless()};
  node.on_interrupted();
  node.machine.on_lost(true, true);
  node.on_ready(2);
  const auto hello = support::heartbeat_of(node.newest_heartbeat());
  CHECK(hello.answer_me);
  CHECK(hello.moved);
  node.join();
  CHECK(node.heard() == Lines{"resync: interrupted"});
  node.pass(2s);
  CHECK_FALSE(support::heartbeat_of(node.newest_heartbeat()).moved);
  node.reconnect();
  CHECK(support::heartbeat_of(node.newest_heartbeat()).answer_me);
  CHECK_FALSE(support::heartbeat_of(node.newest_heartbeat()).moved);
}

TEST_CASE("what a node could not say of its move in one session it says in the next") {
  Node node{lossless()};
  node.join();
  node.hears_itself = false;
  node.on_interrupted();
  node.machine.on_lost(true, true);
  for (std::uint64_t session = 2; session != 4; ++session) {
    node.on_ready(session);
    CHECK(support::heartbeat_of(node.newest_heartbeat()).moved);
    node.on_interrupted();
  }
}

TEST_CASE("who only publishes says of its move what one heartbeat can say in a session that goes on") {
  auto options = lossless();
  options.publish_only = true;
  Node node{options};
  node.pass(1s);
  node.on_interrupted();
  node.machine.on_lost(false, true);
  node.on_ready(2);
  const std::size_t before = node.others.size();
  node.pass(3s);
  const auto said = node.heartbeats(before);
  REQUIRE(said.size() > 1);
  CHECK(support::heartbeat_of(node.heartbeats(0).back()).moved == false);
  const auto moved = std::ranges::count_if(node.heartbeats(), [](const auto& sent) {
    return support::heartbeat_of(sent).moved;
  });
  CHECK(moved == 1);
}

TEST_CASE("a heartbeat to us alone may overtake frames: where nothing is lost no stranger is met by it") {
  Receiver node{lossless()};
  node.on_frame(heartbeat_frame(other, {.number = 3, .last_sequence = 5}, node.self));
  node.frame(5, other);  // under way when the heartbeat was written
  CHECK(node.heard() == Lines{"invalidate 5"});
}

TEST_CASE("what a stranger broadcasts again after it was met is no past: it may never have been stored before") {
  Receiver node{lossless()};
  node.beat(5, 1, other);  // of a frame that the broker had not taken
  CHECK(node.heard().empty());
  for (int again = 0; again != 2; ++again) {
    node.frame(4, other);
    node.frame(5, other);
  }
  CHECK(node.heard() == Lines{"invalidate 4", "invalidate 5"});
  node.frame(6, other);
  node.frame(6, other);
  CHECK(node.heard() == Lines{"invalidate 6"});
  CHECK(node.requests().empty());
}

TEST_CASE("a copy that comes twice from before the first meeting is heard once, in whatever order") {
  Receiver node{lossless()};
  node.beat(70, 1, other);
  for (const std::uint64_t sequence : {69U, 66U, 69U, 70U, 66U, 67U, 70U}) node.frame(sequence, other);
  CHECK(node.heard() == Lines{"invalidate 69", "invalidate 66", "invalidate 70", "invalidate 67"});
  for (int again = 0; again != 2; ++again) node.frame(6, other);  // more than a publisher sends again: the 70 was a lie?
  CHECK(node.heard() == Lines{"invalidate 6"});
}

TEST_CASE("who has begun to listen while it was cut off hears of what a peer for whom there is no room may have published") {
  auto options = lossless();
  options.max_peers = 1;
  Receiver node{options};
  node.listening = false;
  node.frame(1, other);  // there is no room for it
  CHECK(node.heard() == Lines{"invalidate 1"});
  node.on_interrupted();
  SECTION("somebody listens now") {
    node.listening = true;
    node.on_ready(2);
    node.beat(1);
    node.join();
    CHECK(node.heard() == Lines{"resync: interrupted"});
  }
  SECTION("nobody does") {
    node.on_ready(2);
    node.join();
    node.listening = true;
    node.pass(1s);
    CHECK(node.heard().empty());
  }
}

// --- interruptions

TEST_CASE("an interruption is reconciled before it is a resync") {
  Receiver node;
  node.on_interrupted();
  const std::size_t before = node.others.size();
  node.pass(10s);
  node.on_ready(2);
  CHECK(support::heartbeat_of(node.heartbeats(before)[0]).answer_me);
  CHECK(node.heard().empty());
  SECTION("nothing was missed") {
    node.beat(1);
    node.pass_heard(4s, 1);
    CHECK(node.heard().empty());
    CHECK(node.requests().empty());
  }
  SECTION("history has it") {
    node.beat(3);
    node.pass(5ms);
    CHECK(requested_by(node.requests().back()) == std::vector<SequenceRange>{{2, 3}});
    node.repaired(2);
    node.repaired(3);
    node.pass_heard(4s, 3);
    CHECK(node.heard() == Lines{"invalidate 2", "invalidate 3"});
  }
  SECTION("history has it no more") {
    node.beat(100, 50);
    node.pass(30ms);
    CHECK(node.heard() == Lines{"resync: interrupted"});
  }
  SECTION("it does not come") {
    node.beat(3);
    node.pass_heard(2s, 3);
    CHECK(node.heard() == Lines{"resync: interrupted"});
  }
  CHECK(node.machine.metrics().reconnects == 1);
}

TEST_CASE("what an interruption cost of many peers is one resync") {
  Receiver node;
  for (std::uint64_t id = 10; id != 20; ++id) node.beat(0, 1, NodeId{id});
  node.reconnect();
  for (std::uint64_t id = 10; id != 20; ++id) node.beat(100, 90, NodeId{id});
  node.pass(30ms);
  SECTION("it waits for who has not spoken yet") {
    CHECK(node.heard().empty());
    CHECK(node.staleness() >= 30ms);
    node.beat(100, 90);
    CHECK(node.heard() == Lines{"resync: interrupted"});
  }
  SECTION("but for two heartbeats at most") {
    node.pass(1'950ms);
    CHECK(node.heard().empty());
    CHECK(node.staleness() >= 1'950ms);
    node.pass(50ms);
    CHECK(node.heard() == Lines{"resync: interrupted"});
  }
  SECTION("and stands for what is asked for") {
    node.frame(103, NodeId{10});
    node.pass(20ms);
    CHECK_FALSE(node.requests().empty());
    CHECK(node.heard() == Lines{"invalidate 103"});
    node.beat(100, 90);
    CHECK(node.heard() == Lines{"resync: interrupted"});
    node.pass_heard(4s, 100);
    CHECK(node.heard().empty());
    for (const Peer& known : node.machine.peers(node.now)) CHECK(known.lag == 0);
  }
}

TEST_CASE("what is missed after an interruption is over is unrepairable again") {
  Receiver node;
  node.reconnect();
  node.beat(1);
  node.join();
  node.beat(100, 90);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
}

TEST_CASE("a repair for others of a stranger's old frame is no word about how far that stranger is") {
  Receiver node{lossless()};
  node.on_frame(support::repair_frame(other, {}, events_frame(other, 500, {{.key = "old"}})));
  node.beat(1'000, 990, other);
  node.pass(100ms);
  CHECK(node.heard().empty());
  CHECK(node.requests().empty());
  CHECK(node.machine.metrics().gaps == 0);
}

TEST_CASE("a frame that a stranger's question had asked for is no word about how far that stranger is") {
  Receiver node{lossless()};
  node.on_frame(support::acknowledgement_frame(other, {},
                                               {{other, 3, 0, 1, core::AcknowledgementStatus::requested},
                                                {other, 1, 0, 1, core::AcknowledgementStatus::requested}}));
  REQUIRE(node.requests().size() == 2);
  node.repaired(1, other);
  node.repaired(3, other);
  CHECK(node.heard() == Lines{"invalidate 1", "invalidate 3"});
  SECTION("its own word is, if nothing was lost before") {
    node.on_frame(heartbeat_frame(other, {.number = 7, .last_sequence = 5}, node.self));  // may have overtaken 4 and 5
    node.frame(4, other);
    node.beat(4, 3, other);
    node.frame(5, other);
    node.pass(100ms);
    CHECK(node.heard() == Lines{"invalidate 4", "invalidate 5"});
    CHECK(node.requests().size() == 2);
    CHECK(node.machine.metrics().gaps == 0);
  }
  SECTION("its silence hides nothing, if nothing was lost before") {
    for (int i = 0; i != 20; ++i) node.pass_heard(1s, 1);
    CHECK(node.heard().empty());
  }
  SECTION("after an interruption what it may have published since then is missing") {
    node.reconnect();
    node.join();
    node.beat(5, 1, other);
    node.pass(30ms);
    CHECK(requested_by(node.requests().back()) == std::vector<SequenceRange>{{4, 5}});
  }
}

TEST_CASE("the silence of a peer that was met by a repair is a loss, for it may have published more") {
  Receiver node{lossless()};
  node.reconnect();
  node.beat(1);
  node.join();
  node.on_frame(support::repair_frame(other, {}, events_frame(other, 1, {{.key = "one"}})));  // of 5, perhaps
  for (int i = 0; i != 20; ++i) node.pass_heard(1s, 1);
  CHECK(node.heard() == Lines{"invalidate one", "resync: peer_lost"});
}

TEST_CASE("a peer that is heard and never hears us is given up, though it asks with each heartbeat") {
  Receiver node;
  node.frame(3);
  (void)node.heard();
  for (std::uint64_t number = 50; number != 60; ++number) {
    node.pass(500ms);
    node.on_frame(heartbeat_frame(
        peer, {.answer_me = true, .number = number, .last_sequence = 3, .oldest_sequence = 1, .interval = 1s}));
  }
  CHECK(node.heard() == Lines{"resync: unrepairable"});
}
