// Quorums: what answers amount to, and when an await ends; several machines, or one and answers made by hand.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/core/quorum/quorum_tracker.hpp>

#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/machine.hpp"
#include "support/publisher.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::AcknowledgementStatus, core::QuorumTracker, core::QuorumVerdict;
using support::Cluster, support::kib, support::Lines, support::Node, support::Publisher, support::roomy, support::Sent;
using Status = AcknowledgementStatus;

namespace {

constexpr NodeId a{11}, b{12}, c{13};

struct Electorate {
  std::vector<NodeId> nodes;
  std::map<NodeId, std::string> zones{};
  bool is_whole = true;
  std::vector<NodeId> gone{};

  template <class Visit>
  void for_each(const Visit& visit) const {
    for (const NodeId node : nodes) visit(node);
  }
  [[nodiscard]] bool whole() const { return is_whole; }
  [[nodiscard]] bool knows(NodeId node) const {
    return std::ranges::find(nodes, node) != nodes.end() || std::ranges::find(gone, node) != gone.end();
  }
  [[nodiscard]] std::optional<std::string_view> zone_of(NodeId node) const {
    const auto zone = zones.find(node);
    return zone == zones.end() ? std::nullopt : std::optional<std::string_view>{zone->second};
  }
};

}  // namespace

// --- what answers amount to

TEST_CASE("a node that applied every event is a replica, once, however often it says so") {
  QuorumTracker tracker{2, 1};
  const Electorate all{{a, b}};
  CHECK(tracker.verdict(all) == QuorumVerdict::pending);
  CHECK(tracker.answer(a, 0, Status::applied));
  CHECK_FALSE(tracker.answer(a, 0, Status::applied));
  CHECK(tracker.verdict(all) == QuorumVerdict::pending);
  CHECK(tracker.replicas() == std::vector{a});
  CHECK(tracker.answer(b, 0, Status::applied));
  CHECK(tracker.verdict(all) == QuorumVerdict::satisfied);
  CHECK(tracker.replicas() == std::vector{a, b});
}

TEST_CASE("a quorum is impossible once all have answered and too few applied") {
  QuorumTracker tracker{2, 1};
  const Electorate all{{a, b}};
  tracker.answer(a, 0, Status::applied);
  tracker.answer(b, 0, GENERATE(Status::no_subscriber, Status::failed));
  CHECK(tracker.verdict(all) == QuorumVerdict::impossible);
  CHECK(tracker.verdict(Electorate{{a, b, c}}) == QuorumVerdict::pending);
  tracker.answer(c, 0, Status::applied);
  CHECK(tracker.verdict(all) == QuorumVerdict::satisfied);  // also of one that nobody knew
}

TEST_CASE("pending is no answer, and the first final word stands") {
  QuorumTracker tracker{1, 1};
  CHECK_FALSE(tracker.answer(a, 0, Status::pending));
  CHECK_FALSE(tracker.answer(a, 0, Status::requested));
  CHECK_FALSE(tracker.answered(a, 0));
  CHECK(tracker.answer(a, 0, Status::failed));
  CHECK_FALSE(tracker.answer(a, 0, Status::applied));
  CHECK(tracker.replicas().empty());
  CHECK(tracker.answered(a, 0));
}

TEST_CASE("of several events a replica answers all, applies at least one, and fails none") {
  const Electorate one{{a}};
  QuorumTracker partial{1, 2};
  partial.answer(a, 0, Status::applied);
  CHECK(partial.verdict(one) == QuorumVerdict::pending);
  partial.answer(a, 1, Status::no_subscriber);
  CHECK(partial.verdict(one) == QuorumVerdict::satisfied);

  QuorumTracker failing{1, 2};
  failing.answer(a, 0, Status::applied);
  failing.answer(a, 1, Status::failed);
  CHECK(failing.verdict(one) == QuorumVerdict::impossible);

  QuorumTracker nothing{1, 2};
  nothing.answer(a, 1, Status::no_subscriber);
  nothing.answer(a, 0, Status::no_subscriber);
  CHECK(nothing.verdict(one) == QuorumVerdict::impossible);
  CHECK_FALSE(nothing.answer(a, 2, Status::applied));  // there is no such event
}

TEST_CASE("zones count once each, and a node without one counts for nothing") {
  const Electorate all{{a, b, c}, {{a, "east"}, {b, "east"}, {c, ""}}};
  QuorumTracker tracker{Quorum::zones(2), 1};
  for (const NodeId node : {a, b, c}) tracker.answer(node, 0, Status::applied);
  CHECK(tracker.verdict(all) == QuorumVerdict::impossible);
  CHECK(tracker.verdict(Electorate{{a, b, c}, {{a, "east"}, {b, "west"}}}) == QuorumVerdict::satisfied);
}

TEST_CASE("everyone is all who can answer: with a subscriber or without, but none that failed") {
  QuorumTracker tracker{Quorum::everyone(), 1};
  CHECK(tracker.verdict(Electorate{}) == QuorumVerdict::satisfied);
  const Electorate both{{a, b}};
  tracker.answer(a, 0, Status::applied);
  CHECK(tracker.verdict(both) == QuorumVerdict::pending);
  tracker.answer(b, 0, Status::no_subscriber);
  CHECK(tracker.verdict(both) == QuorumVerdict::satisfied);
  tracker.answer(c, 0, Status::failed);
  CHECK(tracker.verdict(Electorate{{a, b, c}}) == QuorumVerdict::impossible);
  CHECK(tracker.replicas() == std::vector{a});
}

// --- awaits that succeed

TEST_CASE("an await of two succeeds when the second replica has answered, and names both") {
  Cluster cluster;
  Node& publisher = cluster.add(1);
  cluster.add(2);
  cluster.add(3);
  cluster.pass(1s);
  const auto await_id = publisher.await({"k"}, 2);
  cluster.pass(3ms);
  REQUIRE(publisher.ended.size() == 1);
  CHECK(publisher.ended[0].await_id == await_id);
  CHECK_FALSE(publisher.ended[0].error);
  CHECK(publisher.ended[0].replicas == std::vector{NodeId{2}, NodeId{3}});
  CHECK(publisher.machine.metrics().quorums_satisfied == 1);
  CHECK(publisher.machine.metrics().acknowledgement_latency.count == 2);
}

TEST_CASE("the publisher's own node counts when its handlers heard the event") {
  Publisher node;
  const auto await_id = node.await({"k"}, 1, 5s, true);
  CHECK(node.ended.empty());
  node.machine.heard_here(await_id, 0, Status::applied);
  node.act();
  REQUIRE(node.ended.size() == 1);
  CHECK(node.ended[0].replicas == std::vector{node.self});
}

TEST_CASE("everyone is also who has answered and is not known: a forgotten one may be back") {
  QuorumTracker tracker{Quorum::everyone(), 1};
  const Electorate all{{a}};
  CHECK(tracker.answer(a, 0, Status::applied));
  SECTION("it failed") {
    CHECK(tracker.answer(b, 0, Status::failed));
    CHECK(tracker.verdict(all) == QuorumVerdict::impossible);
    CHECK(tracker.verdict(Electorate{{a}, {}, true, {b}}) == QuorumVerdict::satisfied);  // it is known, and gone
  }
  SECTION("it is not done yet") {
    CHECK_FALSE(tracker.answer(b, 0, Status::pending));
    CHECK(tracker.verdict(all) == QuorumVerdict::pending);
    CHECK(tracker.answer(b, 0, Status::no_subscriber));
    CHECK(tracker.verdict(all) == QuorumVerdict::satisfied);
  }
}

TEST_CASE("everyone without a peer is satisfied at once") {
  Publisher node;
  node.await({"k"}, Quorum::everyone());
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.outcome());
  CHECK(node.ended[0].replicas.empty());
}

TEST_CASE("everyone waits until this node has joined: before, it does not know who is there") {
  Publisher node;
  node.on_interrupted();
  node.hears_itself = false;
  SECTION("without a peer") {
    node.await({"k"}, Quorum::everyone(), 1h);
    node.pass(1min);
    node.on_ready(2);
    node.pass(3s);
    CHECK(node.ended.empty());
    SECTION("and nobody has come") {
      node.on_frame(node.heartbeats().back().bytes);
      node.hears_itself = true;
      node.pass(20s);
      REQUIRE(node.ended.size() == 1);
      CHECK_FALSE(node.outcome());
    }
    SECTION("and one that has come has to answer") {
      node.meet(a);
      node.on_frame(node.heartbeats().back().bytes);
      node.hears_itself = true;
      node.pass(20s);
      CHECK(node.ended.empty());
      node.answer(a, 1, 0, Status::applied, 2);  // the event, and once more for the answers
      REQUIRE(node.ended.size() == 1);
      CHECK(node.ended[0].replicas == std::vector{a});
    }
  }
  SECTION("but not if nobody else is to hear it") {
    const auto await_id = node.machine.open_await(
        {.quorum = Quorum::everyone(), .deadline = node.now + 1h, .heard_elsewhere = false}, node.now);
    REQUIRE(await_id);
    node.machine.heard_here(*await_id, 0, Status::applied);
    node.act();
    CHECK(node.ended.size() == 1);
  }
}

TEST_CASE("everyone does not wait for who publishes only, says goodbye, or falls silent") {
  Publisher node;
  node.meet(a, {}, true);
  node.meet(b);
  node.meet(c);
  node.await({"k"}, Quorum::everyone(), 1h);
  CHECK(node.ended.empty());
  node.answer(c, 1, 0, Status::no_subscriber);
  CHECK(node.ended.empty());
  SECTION("goodbye") { node.on_frame(support::heartbeat_frame(b, {.goodbye = true, .number = 2})); }
  SECTION("silence") {
    node.on_frame(support::heartbeat_frame(b, {.number = 2, .interval = 1s}));
    node.pass(5s);
    CHECK(node.ended.empty());
    node.pass(2s);
  }
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.outcome());
}

TEST_CASE("an await of zones takes the zones from the heartbeats, its own node's included") {
  auto options = roomy();
  options.zone = "home";
  Publisher node{options};
  node.meet(a, "east");
  const auto await_id = node.await({"k"}, Quorum::zones(2), 5s, true);
  node.answer(a, 1, 0, Status::applied);
  CHECK(node.ended.empty());
  node.machine.heard_here(await_id, 0, Status::applied);
  node.act();
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.outcome());
}

TEST_CASE("an await ends with the heartbeat that says who the peer is whose frame was heard first") {
  Publisher node;
  node.on_frame(support::events_frame(a, 1, {{.key = "theirs"}}));
  SECTION("one that publishes only, for which everyone does not wait") {
    node.await({"k"}, Quorum::everyone(), 1h);
    CHECK(node.ended.empty());
    node.meet(a, {}, true);
  }
  SECTION("one in the zone that is wanted") {
    node.await({"k"}, Quorum::zones(1), 1h);
    node.answer(a, 1, 0, Status::applied);
    CHECK(node.ended.empty());
    node.meet(a, "east");
  }
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.outcome());
}

TEST_CASE("an await of zones does not fail before the zone of who has applied it is known") {
  Publisher node;
  node.on_frame(support::events_frame(a, 1, {{.key = "theirs"}}));
  node.await({"k"}, Quorum::zones(1), 5s);
  node.answer(a, 1, 0, Status::applied);
  node.pass(2s);
  CHECK(node.ended.empty());
  SECTION("it has none") {
    node.meet(a);
    node.pass(1s);
    REQUIRE(node.ended.size() == 1);
    CHECK(node.outcome() == Errc::quorum_not_satisfied);
  }
  SECTION("it is not heard any more") {
    node.pass(3s);
    REQUIRE(node.ended.size() == 1);
    CHECK(node.outcome() == Errc::quorum_not_satisfied);
  }
}

TEST_CASE("a run of answers covers the events of several awaits in one frame, and no others") {
  Publisher node;
  node.meet(a);
  CHECK(node.publish("sent") == core::Submitted::accepted);  // what follows waits for its confirmation
  const auto first = node.await({"x", "y"}, 1);
  const auto second = node.await({"z"}, 1);
  node.on_confirmed(1);
  node.answer(a, 2, 1, Status::applied, 100);
  REQUIRE(node.ended.size() == 1);
  CHECK(node.ended[0].await_id == second);
  node.answer(a, 2, 0, Status::applied);
  REQUIRE(node.ended.size() == 2);
  CHECK(node.ended[1].await_id == first);
}

TEST_CASE("a merged repeat has the place of the event it equals, and both awaits end by one answer") {
  Publisher node;
  node.meet(a);
  CHECK(node.publish("sent") == core::Submitted::accepted);
  CHECK(node.publish("other") == core::Submitted::accepted);
  CHECK(node.publish("k") == core::Submitted::accepted);
  node.await({"k"}, 1);
  node.await({"k"}, 1);
  node.await({"k", "k"}, 1);
  node.on_confirmed(1);
  CHECK(support::lines_of(node.sent.back().bytes) == Lines{"invalidate other", "invalidate k"});
  node.answer(a, 2, 0, Status::applied);
  CHECK(node.ended.empty());
  node.answer(a, 2, 1, Status::applied);
  CHECK(node.ended.size() == 3);
}

TEST_CASE("answers about other frames, from ourselves, or about others' events end nothing") {
  Publisher node;
  node.meet(a);
  node.await({"k"}, 1);
  node.answer(a, 2, 0, Status::applied);
  node.answer(a, 1, 1, Status::applied);
  node.answer(node.self, 1, 0, Status::applied);
  node.on_frame(support::acknowledgement_frame(a, node.self, {{b, 1, 0, 1, Status::applied}}));
  CHECK(node.ended.empty());
  node.answer(a, 1, 0, Status::applied);
  CHECK(node.ended.size() == 1);
}

// --- awaits that fail

TEST_CASE("an await that nothing answers ends at its deadline, with those that did") {
  Publisher node;
  node.meet(a);
  node.meet(b);
  node.await({"k"}, 2, 3s);
  node.answer(a, 1, 0, Status::applied);
  const TimePoint begin = node.now;
  node.pass(10s);
  REQUIRE(node.ended.size() == 1);
  CHECK(node.outcome() == Errc::quorum_not_satisfied);
  CHECK(node.ended[0].at == begin + 3s);
  CHECK(node.ended[0].replicas == std::vector{a});
  CHECK(node.machine.metrics().quorums_not_satisfied == 1);
}

TEST_CASE("a canceled await ends with its reason, and what is answered later changes nothing") {
  Publisher node;
  const auto await_id = node.await({"k"}, 1);
  node.await({"l"}, 1);
  node.machine.cancel_await(await_id, Errc::canceled);
  node.act();
  REQUIRE(node.ended.size() == 1);
  CHECK(node.outcome() == Errc::canceled);
  node.answer(a, 1, 0, Status::applied);
  node.machine.cancel_await(await_id, Errc::canceled);
  node.machine.cancel_awaits(Errc::closed);
  node.act();
  REQUIRE(node.ended.size() == 2);
  CHECK(node.outcome(1) == Errc::closed);
}

TEST_CASE("no more awaits are open than allowed") {
  auto options = roomy();
  options.max_awaits = 2;
  Publisher node{options};
  const auto first = node.await({"a"}, 1);
  CHECK(node.await({"b"}, 1) != 0);
  CHECK(node.await({"c"}, 1) == 0);
  node.machine.cancel_await(first, Errc::canceled);
  CHECK(node.await({"c"}, 1) != 0);
}

TEST_CASE("an impossible quorum fails early: after an answer's time, everyone asked once more, and that time again") {
  Publisher node;
  node.meet(a);
  node.await({"k"}, 2);
  const TimePoint begin = node.now;
  node.answer(a, 1, 0, Status::applied);
  const std::size_t before = node.others.size();
  node.pass(24ms);
  CHECK(node.entries(true, before).empty());
  node.pass(1ms);
  REQUIRE(node.entries(true, before).size() == 1);
  CHECK(node.control(core::FrameType::acknowledgement, before)[0].destination == NodeId{});
  CHECK(node.ended.empty());
  node.pass(1s);
  REQUIRE(node.ended.size() == 1);
  CHECK(node.outcome() == Errc::quorum_not_satisfied);
  CHECK(node.ended[0].at >= begin + 40ms);
  CHECK(node.ended[0].at <= begin + 100ms);
  CHECK(node.entries(true, before).size() == 1);  // everyone was asked exactly once
}

TEST_CASE("an impossible quorum of this node alone fails at once") {
  Publisher node;
  const auto await_id =
      node.machine.open_await({.quorum = 2, .deadline = node.now + 5s, .heard_elsewhere = false}, node.now);
  REQUIRE(await_id);
  node.machine.submitted(*await_id);
  node.machine.heard_here(*await_id, 0, Status::applied);
  node.act();
  REQUIRE(node.ended.size() == 1);
  CHECK(node.outcome() == Errc::quorum_not_satisfied);
}

TEST_CASE("no quorum fails early while a peer that can answer has not") {
  Publisher node;
  node.meet(a);
  node.meet(b);
  node.await({"k"}, 2);
  node.answer(a, 1, 0, Status::applied);
  SECTION("it says nothing") {}
  SECTION("it says that its handler runs") { node.answer(b, 1, 0, Status::pending); }
  node.pass(4s);
  CHECK(node.ended.empty());
  node.answer(b, 1, 0, Status::applied);
  CHECK(node.ended.size() == 1);
}

TEST_CASE("no quorum fails early before the join window is over") {
  Node node;
  node.hears_itself = false;
  node.on_interrupted();
  node.on_ready(2);  // its hello does not come back
  node.await({"k"}, 1, 4s);
  node.pass(3s);
  CHECK(node.ended.empty());
  node.on_frame(node.heartbeats().back().bytes);
  node.pass(20s);
  CHECK(node.ended.size() == 1);
}

TEST_CASE("no quorum fails early while the transport is away, and the time counts anew when the frame is out again") {
  Publisher node;
  node.await({"k"}, 1, 1h);
  node.on_interrupted();
  node.pass(10min);
  CHECK(node.ended.empty());
  node.on_ready(2);
  const TimePoint out = node.now;
  node.pass(1s);
  REQUIRE(node.ended.size() == 1);
  CHECK(node.ended[0].at >= out + 40ms);
}

TEST_CASE("no quorum fails early when the transport goes away after everyone was asked") {
  Publisher node;
  node.await({"k"}, 1, 4s);
  const std::size_t before = node.others.size();
  node.pass(26ms);
  REQUIRE(node.entries(true, before).size() == 1);
  node.on_interrupted();
  node.pass(3s);
  CHECK(node.ended.empty());
}

TEST_CASE("no quorum fails early while an awaited event has not gone out") {
  Publisher node;
  CHECK(node.publish("unconfirmed") == core::Submitted::accepted);
  node.await({"k"}, 1, 4s);
  node.pass(3s);
  CHECK(node.ended.empty());
  node.on_confirmed(1);
  node.pass(500ms);
  CHECK(node.ended.size() == 1);
}

TEST_CASE("no quorum fails early before the frame was out for four round trips, however slow they are") {
  Cluster cluster;
  cluster.delay = 200ms;
  Node& publisher = cluster.add(1);
  cluster.pass(5s);
  publisher.await({"k"}, 1, 1min);
  const TimePoint begin = cluster.now();
  const std::size_t before = publisher.others.size();
  cluster.pass(30s);
  REQUIRE(publisher.ended.size() == 1);
  CHECK(publisher.ended[0].at >= begin + 2 * 4 * 200ms);  // out that long, and asked that long ago
  CHECK(publisher.entries(true, before).size() == 1);     // everyone: not again before the question can be back
}

TEST_CASE("no quorum fails early before the question to everyone has come back, which is asked until it does") {
  Publisher node;
  node.hears_itself = false;
  node.await({"k", "l"}, 1, 4s);
  const std::size_t before = node.others.size();
  node.pass(3s);
  CHECK(node.ended.empty());
  const auto questions = node.control(core::FrameType::acknowledgement, before);
  REQUIRE(questions.size() > 2);
  node.on_frame(questions.back().bytes);
  node.pass(19ms);
  CHECK(node.ended.empty());
  node.pass(1ms);
  REQUIRE(node.ended.size() == 1);
  CHECK(node.outcome() == Errc::quorum_not_satisfied);
}

TEST_CASE("no quorum fails early when a node is heard for the first time before the question to everyone is back") {
  Publisher node;
  node.hears_itself = false;  // what is broadcast waits to be read
  node.await({"k"}, 1, 4s);
  const std::size_t before = node.others.size();
  node.pass(1s);
  node.meet(a);  // it comes from before the question
  node.on_frame(node.control(core::FrameType::acknowledgement, before).front().bytes);
  node.pass(1s);
  CHECK(node.ended.empty());
  node.answer(a, 1, 0, Status::applied);
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.outcome());
}

TEST_CASE("a question to everyone of an earlier session proves nothing") {
  Publisher node;
  node.hears_itself = false;
  node.await({"k"}, 1, 1min);
  std::size_t before = node.others.size();
  node.pass(30ms);
  const auto old = node.control(core::FrameType::acknowledgement, before);
  REQUIRE(old.size() == 1);
  node.on_interrupted();
  before = node.others.size();
  node.on_ready(2);
  node.on_frame(old[0].bytes);  // a client may bring it late
  node.on_frame(node.newest_heartbeat().bytes);
  node.pass(4s);
  CHECK_FALSE(node.entries(true, before).empty());
  CHECK(node.ended.empty());
}

TEST_CASE("no quorum fails early before everyone was asked about each of its events, whoever awaits the same") {
  auto options = roomy();
  options.history_bytes = 256 * kib;
  options.pending_bytes = 1'024 * kib;
  Publisher node{options};
  int keys = 0;
  const auto large = [&keys] { return std::to_string(++keys) + std::string(1'500, '.'); };
  while (keys != 90) CHECK(node.submit({.key = large()}, false) == core::Submitted::accepted);
  node.await({"k"}, 1, 1min);
  const auto both =
      node.machine.open_await({.quorum = 1, .events = 2, .deadline = node.now + 1min, .heard_here = false}, node.now);
  REQUIRE(both);
  CHECK(node.machine.submit({.key = "k"}, false, core::Awaited{*both, 0}) ==
        core::Submitted::accepted);  // the same one
  while (node.submit({.key = large()}, false) == core::Submitted::accepted) {
  }
  while (keys != 500) node.submit({.key = large()});
  CHECK(node.machine.submit({.key = "l"}, true, core::Awaited{*both, 1}) == core::Submitted::accepted);
  node.machine.submitted(*both);
  for (std::uint64_t frame = 1; node.ended.size() != 2; ++frame) {
    REQUIRE(frame != 200);
    node.on_confirmed(frame);
    node.pass(100ms);
  }
  CHECK(node.ended[1].await_id == *both);
  const auto asked = node.entries(true);
  CHECK(std::ranges::any_of(asked, [&](const auto& entry) { return entry.sequence > asked.front().sequence; }));
}

TEST_CASE("no quorum fails early while a node that was never heard before says that its handler runs") {
  Publisher node;
  node.meet(a);
  node.await({"k"}, 2);
  node.answer(a, 1, 0, Status::applied);
  node.answer(c, 1, 0, Status::pending);
  node.pass(1s);
  CHECK(node.ended.empty());
  node.answer(c, 1, 0, Status::applied);
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.outcome());
}
