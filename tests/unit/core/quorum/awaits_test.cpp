// What a publisher does for its awaits: asking who has not answered, events that wait for room, frames beyond the ring.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/machine.hpp"
#include "support/publisher.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::Submitted;
using support::Cluster, support::kib, support::Lines, support::Node, support::Publisher, support::roomy,
    support::Sent;
using Status = core::AcknowledgementStatus;

namespace {

constexpr NodeId a{11}, b{12};

/// Publishes and has it confirmed, so often that the ring forgets what was there.
void overwrite_history(Publisher& node) {
  for (int i = 0; i != 200; ++i) {
    (void)node.publish(std::to_string(i) + std::string(1'000, '.'));
    node.on_confirmed(node.sent.back().sequence);
  }
}

core::ProtocolOptions with_small_ring() {
  auto options = roomy();
  options.history_bytes = 64 * kib;
  return options;
}

std::vector<TimePoint> times_of(const std::vector<Sent>& frames) {
  std::vector<TimePoint> times;
  for (const Sent& frame : frames) times.push_back(frame.at);
  return times;
}

}  // namespace

// --- questions

TEST_CASE("only those whose answers are missing are asked, each alone, about the events of the await") {
  Publisher node;
  node.meet(a);
  node.meet(b);
  node.await({"x", "y"}, 2);
  node.answer(a, 1, 0, Status::applied);
  node.answer(a, 1, 1, Status::applied);
  const std::size_t before = node.others.size();
  node.pass(25ms);
  const auto questions = node.control(core::FrameType::acknowledgement, before);
  REQUIRE(questions.size() == 1);
  CHECK(questions[0].destination == b);
  CHECK(node.entries(true, before) == std::vector<core::Acknowledgement>{{node.self, 1, 0, 2, Status::requested}});
}

TEST_CASE("questions are repeated ever more rarely, up to every 400 ms") {
  Publisher node;
  node.meet(a);
  node.await({"k"}, 1, 10s);
  const TimePoint begin = node.now;
  const std::size_t before = node.others.size();
  node.pass(2s);
  const auto times = times_of(node.control(core::FrameType::acknowledgement, before));
  const std::vector<TimePoint> expected{begin + 25ms,  begin + 50ms,  begin + 100ms, begin + 200ms,
                                        begin + 400ms, begin + 800ms, begin + 1200ms, begin + 1600ms, begin + 2s};
  CHECK(times == expected);
}

TEST_CASE("the questions of many awaits to one node are one frame") {
  Publisher node;
  node.meet(a);
  for (int i = 0; i != 100; ++i) node.await({std::to_string(i)}, 1);
  node.on_confirmed(1);
  const std::size_t before = node.others.size();
  node.pass(25ms);
  CHECK(node.control(core::FrameType::acknowledgement, before).size() == 1);
  CHECK(node.entries(true, before).size() == 2);  // the runs of two frames
}

TEST_CASE("nobody is asked while the transport is away, nor before the event went out") {
  Publisher node;
  node.meet(a);
  const std::size_t before = node.others.size();
  SECTION("away") {
    node.await({"k"}, 1, 1h);
    node.on_interrupted();
  }
  SECTION("not out") {
    CHECK(node.publish("unconfirmed") == Submitted::accepted);
    node.await({"k"}, 1, 1h);
  }
  node.pass(10s);
  CHECK(node.entries(true, before).empty());
}

TEST_CASE("a lost answer is asked for and given again, a lost frame is asked for and heard") {
  Cluster cluster;
  Node& publisher = cluster.add(1);
  Node& replica = cluster.add(2);
  cluster.pass(1s);
  const bool of_events = GENERATE(false, true);
  int losses = 1;
  cluster.loses = [&](const Node&, const Node&, const Sent& frame) {
    const bool answer = frame.type == core::FrameType::acknowledgement && frame.destination == publisher.self;
    return (answer || (of_events && frame.type == core::FrameType::events)) && losses-- > 0;
  };
  publisher.await({"k"}, 1);
  cluster.pass(100ms);
  REQUIRE(publisher.ended.size() == 1);
  CHECK_FALSE(publisher.ended[0].error);
  CHECK(replica.heard() == Lines{"invalidate k"});
}

// --- while there is no room

TEST_CASE("what is awaited while disconnected is broadcast in its place, and again as an invalidation to be answered") {
  Publisher node;
  node.meet(a);
  node.on_interrupted();
  const auto await_id = node.machine.open_await({.quorum = 1, .deadline = node.now + 1min}, node.now);
  REQUIRE(await_id);
  const core::WireEvent set{.type = EventType::set, .key = "k", .version = 7};
  CHECK(node.machine.submit(set, true, core::Awaited{*await_id, 0}) == Submitted::accepted);
  node.machine.submitted(*await_id);
  CHECK(node.publish("later") == Submitted::accepted);
  node.on_ready(2);
  REQUIRE(node.sent.size() == 1);
  CHECK(support::lines_of(node.sent[0].bytes) == Lines{"set k v7", "invalidate later", "invalidate k v7"});
  node.answer(a, 1, 0, Status::applied);
  CHECK(node.ended.empty());
  node.answer(a, 1, 2, Status::applied);
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.ended[0].error);
}

TEST_CASE("an awaited invalidation of an outage that nothing newer follows is broadcast once") {
  Publisher node;
  node.meet(a);
  node.on_interrupted();
  node.await({"k"}, 1, 1min);
  node.on_ready(2);
  REQUIRE(node.sent.size() == 1);
  CHECK(support::lines_of(node.sent[0].bytes) == Lines{"invalidate k"});
  node.answer(a, 1, 0, Status::applied);
  CHECK(node.ended.size() == 1);
}

TEST_CASE("an await that ended before there was room asks nobody for answers any more") {
  Publisher node;
  node.on_interrupted();
  node.await({"k"}, 1, 1s);
  node.pass(2s);
  REQUIRE(node.ended.size() == 1);
  node.on_ready(2);
  REQUIRE(node.sent.size() == 1);
  CHECK(support::lines_of(node.sent[0].bytes) == Lines{"invalidate k"});
}

TEST_CASE("awaits of an outage take memory while they are open, and no longer") {
  auto options = with_small_ring();
  Publisher node{options};
  node.on_interrupted();
  std::size_t opened = 0;
  for (; opened != 10'000 && node.await({std::to_string(opened) + std::string(100, '.')}, 1, 1s) != 0; ++opened) {
    CHECK((opened + 1) * 100 <= options.history_bytes);
  }
  CHECK(opened > 50);
  CHECK(opened < options.max_awaits);
  node.pass(2s);
  CHECK(node.ended.size() == opened);
  CHECK(node.await({"again"}, 1, 1s) != 0);
}

TEST_CASE("an awaited event that is too large for the new session holds up nobody else's") {
  Publisher node;
  node.meet(a);
  node.on_interrupted();
  node.await({std::string(10 * kib, 'x')}, 1, 1min);
  node.await({"small"}, 1, 1min);
  node.on_ready(2, 4 * kib);
  REQUIRE_FALSE(node.sent.empty());
  const auto lines = support::lines_of(node.sent[0].bytes);
  REQUIRE(lines.back() == "invalidate small");
  node.answer(a, node.sent[0].sequence, static_cast<std::uint32_t>(lines.size() - 1), Status::applied);
  CHECK(node.ended.size() == 1);
}

// --- frames beyond the ring

TEST_CASE("a frame with an open await is repaired after the ring has forgotten it, until the await ends") {
  Publisher node{with_small_ring()};
  node.meet(a);
  node.meet(b);
  const auto await_id = node.await({"k"}, 2, 1h);
  node.on_confirmed(1);
  overwrite_history(node);
  const std::size_t before = node.others.size();
  node.on_frame(support::repair_request_frame(a, node.self, {{1, 1}}));
  node.on_frame(support::repair_request_frame(a, node.self, {{2, 2}}));
  REQUIRE(node.repairs(before).size() == 1);
  CHECK(node.repairs(before)[0].destination == a);
  const Sent sent = node.repairs(before)[0];
  core::RepairView repair;
  REQUIRE(core::decode_repair(support::header_of(sent.bytes), repair) == core::FrameError::ok);
  CHECK(support::lines_of(repair.frame) == Lines{"invalidate k"});

  node.machine.cancel_await(await_id, Errc::canceled);
  node.pass(1s);
  node.on_frame(support::repair_request_frame(a, node.self, {{1, 1}}));
  CHECK(node.repairs(before).size() == 1);
}

TEST_CASE("frames beyond the ring count in the history's bytes, are bounded, and go with their awaits") {
  const auto options = with_small_ring();
  Publisher node{options};
  node.meet(a);
  std::vector<core::AwaitId> await_ids;
  for (int i = 0; i != 300; ++i) {
    await_ids.push_back(node.await({std::to_string(i) + std::string(1'000, '.')}, 1, 1h));
    node.on_confirmed(node.sent.back().sequence);
    CHECK(node.machine.metrics().history_bytes <= options.history_bytes);
  }
  CHECK(await_ids.back() == 0);  // the frames of too many are held
  CHECK(await_ids[30] != 0);
  const auto held = node.machine.metrics().history_bytes;
  node.machine.cancel_awaits(Errc::closed);
  node.act();
  CHECK(node.machine.metrics().history_bytes < held);
  CHECK(node.await({"k"}, 1) != 0);
}

TEST_CASE("frames that awaits opened earlier need are kept only as far as they fit") {
  const auto options = with_small_ring();
  Publisher node{options};
  node.meet(a);
  for (int i = 0; i != 1'000; ++i) {  // all opened at once: nothing is beyond the ring yet
    REQUIRE(node.machine.open_await({.quorum = 1, .deadline = node.now + 1h}, node.now));
  }
  for (core::AwaitId await_id = 1; await_id <= 1'000; ++await_id) {
    const std::string key = std::to_string(await_id) + std::string(1'000, '.');
    REQUIRE(node.machine.submit({.key = key}, true, core::Awaited{await_id, 0}) == Submitted::accepted);
    node.act();
    node.on_confirmed(node.sent.back().sequence);
    CHECK(node.machine.metrics().history_bytes <= options.history_bytes);
  }
}

TEST_CASE("lost answers are given again however many events a frame has") {
  Cluster cluster;
  auto options = roomy(NodeId{1});
  options.max_awaits = 65'536;
  Node& publisher = cluster.add(options);
  options.self = b;
  cluster.add(options);
  cluster.pass(100ms);
  const TimePoint lost_until = cluster.now() + 30ms;
  cluster.loses = [&](const Node& from, const Node&, const Sent& frame) {
    return from.self == b && frame.type == core::FrameType::acknowledgement && cluster.now() < lost_until;
  };
  std::vector<std::string> keys;
  for (int i = 0; i != 5'000; ++i) keys.push_back(std::to_string(i));
  publisher.await(keys, 1, 10s);
  cluster.pass(1s);
  REQUIRE(publisher.ended.size() == 1);
  CHECK_FALSE(publisher.ended[0].error);
  CHECK(publisher.sent.size() == 1);
}

TEST_CASE("the events of open awaits are bounded in number, and what waits for room in bytes") {
  auto options = with_small_ring();
  options.max_awaits = 1'000;
  Publisher node{options};
  std::vector<std::string> keys;
  for (int i = 0; i != 600; ++i) keys.push_back(std::to_string(i) + std::string(100, '.'));
  SECTION("in number") {
    const auto first = node.await(keys, 1);
    CHECK(first != 0);
    CHECK(node.await(keys, 1) == 0);
    node.machine.cancel_await(first, Errc::canceled);
    CHECK(node.await(keys, 1) != 0);
  }
  SECTION("in bytes") {
    node.on_interrupted();
    CHECK(node.await(keys, 1) != 0);
    CHECK(node.machine.metrics().history_bytes <= options.history_bytes);
    CHECK(node.await({"one more"}, 1) == 0);
  }
}

TEST_CASE("each of the awaits that are allowed has room for the answers of all peers, however few are allowed") {
  constexpr std::uint64_t peers = 300;
  auto options = roomy();
  options.max_peers = peers;
  options.max_awaits = 64;
  Publisher node{options};
  for (std::uint64_t peer = 100; peer != 100 + peers; ++peer) node.meet(NodeId{peer});
  for (std::size_t i = 0; i != options.max_awaits; ++i) node.await({std::to_string(i)}, Quorum{peers});
  node.on_confirmed(1);
  REQUIRE(node.sent.size() == 2);  // the first alone, then the others
  for (std::uint64_t peer = 100; peer != 100 + peers; ++peer) {
    node.answer(NodeId{peer}, 1, 0, Status::applied);
    node.answer(NodeId{peer}, 2, 0, Status::applied, static_cast<std::uint32_t>(options.max_awaits - 1));
  }
  REQUIRE(node.ended.size() == options.max_awaits);
  for (const auto& ended : node.ended) CHECK_FALSE(ended.error);
}
