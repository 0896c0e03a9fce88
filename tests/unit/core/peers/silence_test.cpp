// How peers end: silence, goodbyes, a table that forgets; and how they return.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/error.hpp>
#include <syncbus/quorum.hpp>

#include "support/catch.hpp"
#include "support/control_frames.hpp"
#include "support/machine.hpp"
#include "support/receiver.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::SequenceRange;
using support::events_frame, support::heartbeat_frame, support::heartbeat_of, support::Lines, support::lossless, support::Node,
    support::Receiver, support::requested_by, support::roomy, support::welcome_frame;

namespace {

constexpr NodeId peer = support::usual_peer, other{3};

/// Our server is this one, and the peer says that it is there.
void meet_at(Receiver& node, std::uint64_t place) {
  node.machine.on_place(place);
  node.place = place;
  node.beat(1);
}

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

TEST_CASE("silence is no loss at our own server, if the peer could be at no other and our session was whole") {
  constexpr std::uint64_t here = 7, elsewhere = 8;
  Receiver node;
  node.machine.on_place(here);
  const auto say = [&](std::uint64_t place, NodeId of = peer) {
    node.place = place;
    node.beat(of == peer ? 1 : 0, 1, of);
  };
  SECTION("it was, and so for hours") {
    say(here);
    node.pass(4h);
    CHECK(node.heard().empty());
  }
  SECTION("its newest heartbeat did not tell where it is") {
    say(here);
    say(0);
    node.pass(20s);
    CHECK(node.heard() == Lines{"resync: peer_lost"});
  }
  SECTION("it is at another server, of which ours may lose messages") {
    say(elsewhere);
    node.pass(20s);
    CHECK(node.heard() == Lines{"resync: peer_lost"});
  }
  SECTION("another peer is at another server, where this one may have gone") {
    say(here);
    say(elsewhere, other);
    node.pass(20s);
    const Lines heard = node.heard();
    REQUIRE(heard.size() >= 1);
    CHECK(std::ranges::count(heard, "resync: peer_lost") == std::ssize(heard));
  }
  SECTION("another server turns up afterwards, where this one may have been") {
    say(here);
    node.pass(20s);
    CHECK(node.heard().empty());
    say(elsewhere, other);
    node.pass(2s);
    CHECK(std::ranges::count(node.heard(), "resync: peer_lost") == 1);
  }
  SECTION("we learn that there is another server") {
    say(here);
    node.machine.on_place(0);
    node.pass(20s);
    CHECK(node.heard() == Lines{"resync: peer_lost"});
  }
  SECTION("the session was interrupted after its last word") {
    say(here);
    node.reconnect();
    node.pass(20s);
    CHECK(node.heard() == Lines{"resync: peer_lost"});
  }
  SECTION("it goes on at the server after an interruption of ours") {
    say(here);
    node.reconnect();
    say(here);
    node.pass(20s);
    CHECK(node.heard().empty());
  }
  SECTION("a frame is missing all the same") {
    say(here);
    node.frame(3);
    (void)node.heard();
    node.pass(20s);
    CHECK(node.heard() == Lines{"resync: peer_lost"});
  }
}

TEST_CASE("an interruption is one loss, however long after a harmless silence: the peer may have been back") {
  Receiver node{GENERATE(roomy(), lossless())};
  meet_at(node, 7);
  node.pass(GENERATE(50s, 1h));
  CHECK(node.heard().empty());
  node.reconnect();
  node.pass(20s);
  CHECK(node.heard() == Lines{"resync: peer_lost"});
  node.reconnect();
  node.pass(20s);
  CHECK(node.heard().empty());
}

TEST_CASE("what others say of where nodes are makes no session at one server several") {
  Receiver node;
  meet_at(node, 7);
  // A node that was there when the server was started again, and has not heard of it yet.
  node.on_frame(welcome_frame(peer, {{.node = other, .number = 1, .place = 6}}));
  node.pass(20s);
  CHECK(node.heard().empty());
}

TEST_CASE("a node whose place a welcome told need not tell it itself") {
  Receiver node;
  meet_at(node, 7);
  node.on_frame(welcome_frame(peer, {{.node = other, .number = 1, .interval = 1s, .place = 7}}));
  node.frame(1, other);
  (void)node.heard();
  node.pass(20s);
  CHECK(node.heard().empty());
}

TEST_CASE("heartbeats and welcomes tell where this node is, and of others what they told") {
  Node node;
  node.machine.on_place(7);
  node.join();
  node.on_frame(heartbeat_frame(peer, {.number = 1, .place = 9, .interval = 1s}));
  node.pass(2s);
  CHECK(heartbeat_of(node.newest_heartbeat()).place == 7);
  node.on_frame(heartbeat_frame(other, {.answer_me = true, .greets = true, .number = 1, .hello = 1, .interval = 1s}));
  node.pass(5ms);
  const auto welcomes = node.control(core::FrameType::welcome);
  REQUIRE(welcomes.size() == 1);
  core::WelcomeView view;
  REQUIRE(core::decode_welcome(support::header_of(welcomes[0].bytes), view) == core::FrameError::ok);
  std::vector<std::uint64_t> places;
  for (core::WelcomeEntry entry; view.next(entry);) places.push_back(entry.place);
  CHECK(std::ranges::count(places, 7) == 1);
  CHECK(std::ranges::count(places, 9) == 1);
}

TEST_CASE("a peer that has been silent for ten peer timeouts is listed no more, until it is heard again") {
  Receiver node{GENERATE(roomy(), lossless())};
  node.beat(1);
  node.pass(20s);
  REQUIRE(node.machine.peers(node.now).size() == 1);
  CHECK(node.machine.peers(node.now)[0].silent_for >= 19s);
  node.pass(40s);
  CHECK(node.machine.peers(node.now).empty());
  node.beat(1);
  CHECK(node.machine.peers(node.now).size() == 1);
}

TEST_CASE("no peer leaves the list while we are cut off") {
  Receiver node;
  node.beat(1);
  node.on_interrupted();
  node.pass(1h);
  CHECK(node.machine.peers(node.now).size() == 1);
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

// --- more peers than the table has room for

namespace {

core::ProtocolOptions with_room_for(std::size_t peers, core::ProtocolOptions options) {
  options.max_peers = peers;
  return options;
}

/// Each of the peers of these numbers has a heartbeat a second, which proves that it had heard us.
void pass_with(Receiver& node, Duration time, const std::vector<std::uint64_t>& peers) {
  static std::uint64_t number = 1'000;
  for (; time > 0s; time -= 1s) {
    node.pass(1s);
    for (const std::uint64_t id : peers) {
      node.on_frame(heartbeat_frame(NodeId{id}, {.number = ++number,
                                                 .last_sequence = 1,
                                                 .oldest_sequence = 1,
                                                 .interval = 1s,
                                                 .newest_origin = node.self,
                                                 .newest_number = heartbeat_of(node.newest_heartbeat()).number}));
    }
  }
}

}  // namespace

TEST_CASE("the table of peers is bounded, and who is there is not forgotten for one more") {
  Receiver node{with_room_for(2, GENERATE(roomy(), lossless())), 0};
  for (std::uint64_t round = 1; round != 5; ++round) {
    for (std::uint64_t number = 2; number != 6; ++number) node.frame(round, NodeId{number});
    node.pass(1s);
  }
  const auto peers = node.machine.peers(node.now);
  REQUIRE(peers.size() == 2);
  CHECK(peers[0].id == NodeId{2});
  CHECK(peers[1].id == NodeId{3});
}

TEST_CASE("one more live peer than there is room for costs a resync a minute where frames may be lost, else none") {
  const auto options = with_room_for(2, GENERATE(roomy(), lossless()));
  Receiver node{options};
  node.beat(1, 1, other);
  (void)node.heard();
  node.handlers_run = true;
  pass_with(node, 10min, {2, 3, 4});
  const Lines heard = node.heard();
  CHECK(heard.size() == (options.lossless_sessions ? 0U : 10U));
  CHECK(std::ranges::count(heard, "resync: overflow") == static_cast<std::ptrdiff_t>(heard.size()));
}

TEST_CASE("what a peer publishes for whom there is no room is heard as an invalidation, also when it comes again") {
  Receiver node{with_room_for(1, GENERATE(roomy(), lossless()))};
  constexpr NodeId extra{9};
  const auto set = [&](std::uint64_t sequence) {
    node.on_frame(events_frame(extra, sequence, {{.type = EventType::set, .key = "k", .version = sequence}}));
  };
  for (const std::uint64_t sequence : {7U, 8U, 7U}) set(sequence);
  Lines heard = node.heard();
  std::erase(heard, "resync: overflow");
  CHECK(heard == Lines{"invalidate k v7", "invalidate k v8", "invalidate k v7"});
  CHECK(node.requests().empty());
  CHECK(node.machine.metrics().frames_left_out == 3);
}

TEST_CASE("while a live peer is left out, everyone cannot be known to have applied an event, and others can") {
  Receiver node{with_room_for(1, GENERATE(roomy(), lossless()))};
  constexpr NodeId extra{9};
  node.beat(0, 1, extra);
  const auto everyone = node.await({"k"}, Quorum::everyone(), 5s);
  node.on_confirmed(1);
  const auto two = node.await({"l"}, 2, 5s);
  REQUIRE(node.sent.size() == 2);
  for (const auto& frame : node.sent) {
    for (const NodeId from : {peer, extra}) {
      node.on_frame(support::acknowledgement_frame(
          from, node.self, {{node.self, frame.sequence, 0, 1, core::AcknowledgementStatus::applied}}));
    }
  }
  REQUIRE(node.ended.size() == 1);
  CHECK(node.ended[0].await_id == two);
  CHECK(node.ended[0].replicas.size() == 2);  // who is left out counts where it answers
  pass_with(node, 6s, {2, 9});
  REQUIRE(node.ended.size() == 2);
  CHECK(node.ended[1].await_id == everyone);
  CHECK(node.ended[1].error == Errc::quorum_not_satisfied);
  SECTION("until it has not been heard for as long as makes a peer silent") {
    pass_with(node, 7s, {2});
    node.on_confirmed(2);
    static_cast<void>(node.await({"m"}, Quorum::everyone(), 5s));
    node.on_frame(support::acknowledgement_frame(
        peer, node.self, {{node.self, node.sent.back().sequence, 0, 1, core::AcknowledgementStatus::applied}}));
    REQUIRE(node.ended.size() == 3);
    CHECK_FALSE(node.ended[2].error);
  }
}

TEST_CASE("a quorum of nodes does not fail early while a live peer is left out that may answer") {
  Receiver node{with_room_for(1, GENERATE(roomy(), lossless()))};
  constexpr NodeId extra{9};
  node.beat(0, 1, extra);
  static_cast<void>(node.await({"k"}, 2, 5s));
  const auto answer = [&](NodeId from) {
    node.on_frame(support::acknowledgement_frame(
        from, node.self, {{node.self, 1, 0, 1, core::AcknowledgementStatus::applied}}));
  };
  answer(peer);
  node.pass(2s);
  CHECK(node.ended.empty());
  CHECK_FALSE(node.entries(true).empty());
  answer(extra);
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.ended[0].error);
}

TEST_CASE("while a live peer is left out the node is stale, and says so; when it is gone a resync stands for what may be lost") {
  const auto options = with_room_for(1, GENERATE(roomy(), lossless()));
  Receiver node{options};
  pass_with(node, 5s, {2});
  node.handlers_run = true;
  const int healths = node.healths;
  constexpr std::uint64_t extra = 9;
  pass_with(node, 10s, {2, extra});
  CHECK(node.machine.health(node.now).peers_left_out);
  CHECK(node.staleness() >= 9s);
  const int told = node.healths;
  CHECK(told > healths);
  pass_with(node, 2min, {2});
  CHECK_FALSE(node.machine.health(node.now).peers_left_out);
  CHECK(node.heard() == (options.lossless_sessions ? Lines{} : Lines{"resync: overflow", "resync: overflow"}));
  CHECK(node.staleness() < 3s);
  CHECK(node.healths > told);
}

TEST_CASE("who is to be forgotten next is found for several at once, without those that are heard again") {
  Receiver node{with_room_for(64, roomy()), 0};
  for (std::uint64_t id = 3; id != 66; ++id) {
    node.beat(0, 1, NodeId{id});
    node.pass(10ms);
  }
  node.pass(30s);  // all are silent
  node.beat(0, 1, NodeId{100});  // for whom the usual peer is forgotten, who was heard longest ago
  node.beat(0, 1, NodeId{4});
  node.beat(0, 1, NodeId{101});
  node.beat(0, 1, NodeId{102});
  std::vector<std::uint64_t> known;
  for (const Peer& one : node.machine.peers(node.now)) known.push_back(one.id.value);
  CHECK(known.size() == 64);
  for (const std::uint64_t id : {4U, 6U, 100U, 101U, 102U}) CHECK(std::ranges::count(known, id) == 1);
  for (const std::uint64_t id : {2U, 3U, 5U}) CHECK(std::ranges::count(known, id) == 0);
}

TEST_CASE("one that is left out is there as long as frames of any kind come of it") {
  Receiver node{with_room_for(1, GENERATE(roomy(), lossless()))};
  constexpr std::uint64_t extra = 9;
  pass_with(node, 10s, {2, extra});
  REQUIRE(node.machine.health(node.now).peers_left_out);
  for (int second = 0; second != 60; ++second) {
    pass_with(node, 1s, {2});
    node.on_frame(support::repair_request_frame(NodeId{extra}, node.self, {{1, 1}}));
  }
  CHECK(node.machine.health(node.now).peers_left_out);
  pass_with(node, 2min, {2});
  CHECK_FALSE(node.machine.health(node.now).peers_left_out);
}

TEST_CASE("the gone and the silent make room for one more, the gone first, and nobody is left out") {
  Receiver node{with_room_for(3, GENERATE(roomy(), lossless())), 0};
  node.frame(1, NodeId{3});
  node.frame(1, NodeId{4});
  pass_with(node, 10s, {2, 4});
  node.on_frame(heartbeat_frame(NodeId{4}, {.goodbye = true, .number = 1'000'000, .last_sequence = 1, .oldest_sequence = 1}));
  (void)node.heard();  // of node 3, which is silent
  const auto known = [&](std::uint64_t number) {
    return std::ranges::count(node.machine.peers(node.now), NodeId{number}, &Peer::id) == 1;
  };
  node.frame(1, NodeId{5});
  CHECK(known(3));
  node.frame(1, NodeId{6});
  CHECK_FALSE(known(3));
  CHECK(known(5));
  CHECK(known(6));
  CHECK_FALSE(node.machine.health(node.now).peers_left_out);
  CHECK(node.heard() == Lines{"invalidate 1", "invalidate 1"});
}

TEST_CASE("what a forgotten peer sends again when it returns comes as an invalidation, and what is new as it is") {
  Receiver node{with_room_for(1, GENERATE(roomy(), lossless())), 0};
  const auto set = [&](std::uint64_t sequence) {
    node.on_frame(events_frame(peer, sequence, {{.type = EventType::set, .key = "k", .version = sequence}}));
  };
  set(1);
  set(2);
  node.pass(20s);
  node.beat(0, 1, other);  // pushes the silent one out
  node.on_frame(heartbeat_frame(other, {.goodbye = true, .number = 1'000'000, .oldest_sequence = 1}));
  (void)node.heard();
  set(1);
  node.beat(2);
  set(2);
  set(3);
  Lines heard = node.heard();
  std::erase(heard, "resync: joined");
  CHECK(heard == Lines{"invalidate k v1", "invalidate k v2", "set k v3"});
}

TEST_CASE("what one sends again that was left out comes as an invalidation, though it counts it as not sent") {
  const bool waits_for_room = GENERATE(false, true);
  Receiver node{with_room_for(1, GENERATE(roomy(), lossless()))};
  constexpr NodeId extra{9};
  const auto set = [&](std::uint64_t sequence) {
    node.on_frame(events_frame(extra, sequence, {{.type = EventType::set, .key = "k", .version = sequence}}));
  };
  for (const std::uint64_t sequence : {1U, 2U}) set(sequence);
  node.on_frame(heartbeat_frame(peer, {.goodbye = true, .number = 99, .last_sequence = 1, .oldest_sequence = 1}));
  (void)node.heard();
  node.on_frame(heartbeat_frame(extra, {.answer_me = true,  // its session begins
                                        .number = 9,
                                        .last_sequence = 1,
                                        .ahead = waits_for_room ? core::ahead_unknown : 1,
                                        .oldest_sequence = 1}));
  set(2);
  node.on_frame(heartbeat_frame(extra, {.number = 10, .last_sequence = 2, .oldest_sequence = 1}));
  set(3);
  Lines heard = node.heard();
  std::erase_if(heard, [](const std::string& line) { return line.starts_with("resync"); });
  CHECK(std::ranges::count(heard, "set k v2") == 0);
  CHECK(std::ranges::count(heard, "set k v3") == 1);
}

TEST_CASE("what may have been published in an outage by one that was left out, and may never be heard again, is a resync") {
  Receiver node{with_room_for(1, lossless())};
  node.beat(0, 1, other);
  CHECK(node.heard().empty());
  node.reconnect();
  node.beat(1);
  node.pass(1s);
  CHECK(node.heard() == Lines{"resync: interrupted"});
}

TEST_CASE("a stranger that is left out may have published in an outage before: where nothing else is lost that is one resync") {
  Receiver node{with_room_for(1, lossless())};
  node.reconnect();
  node.pass(1s);
  node.beat(1);
  CHECK(node.heard().empty());
  pass_with(node, 2min, {2, 9});
  CHECK(node.heard() == Lines{"resync: overflow"});
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

TEST_CASE("a silent peer that had to be forgotten may be back in our next outage: that is a resync") {
  Receiver node{with_room_for(1, lossless())};
  node.pass(20s);
  node.beat(0, 1, other);
  CHECK(node.heard().empty());
  node.reconnect();
  node.beat(0, 1, other);
  node.pass(1s);
  CHECK(node.heard() == Lines{"resync: interrupted"});
}

TEST_CASE("who said goodbye is forgotten without a trace: it will not return") {
  Receiver node{with_room_for(1, lossless())};
  node.on_frame(heartbeat_frame(peer, {.goodbye = true, .number = 100, .last_sequence = 1, .oldest_sequence = 1}));
  node.beat(0, 1, other);
  node.reconnect();
  node.pass(1s);
  node.beat(0, 1, other);
  CHECK(node.heard().empty());
}
