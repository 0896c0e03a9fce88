// Heartbeats: when they go, what they say, who answers a hello, and what a node's own prove that come back or do not.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <syncbus/core/peers/echo_monitor.hpp>
#include <syncbus/core/peers/heartbeat_schedule.hpp>
#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/machine.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::HeartbeatSchedule, core::EchoMonitor;
using support::Cluster, support::heartbeat_frame, support::heartbeat_of, support::Node, support::roomy, support::Sent,
    support::start;

namespace {

constexpr NodeId peer{2};

/// When the next `count` heartbeats go, if nothing happens.
std::vector<Duration> steps(HeartbeatSchedule& schedule, TimePoint from, std::size_t nodes, int count) {
  std::vector<Duration> all;
  for (; count != 0; --count) {
    const TimePoint due = schedule.due();
    all.push_back(due - from);
    from = due;
    (void)schedule.sent(due, nodes);
  }
  return all;
}

HeartbeatSchedule begun(Duration heartbeat, std::size_t control_rate) {
  HeartbeatSchedule schedule{heartbeat, control_rate};
  schedule.begin_session(start);
  (void)schedule.sent(start, 2);
  return schedule;
}

}  // namespace

// --- the schedule

TEST_CASE("a heartbeat goes 20 ms after the last frame, then after twice that, and so on up to the interval") {
  auto schedule = begun(1s, 10'000);
  const TimePoint frame = start + 10ms;
  schedule.restart(frame);
  CHECK(steps(schedule, frame, 2, 9) ==
        std::vector<Duration>{20ms, 40ms, 80ms, 160ms, 320ms, 640ms, 1s, 1s, 1s});
}

TEST_CASE("a session begins with a heartbeat at once") {
  HeartbeatSchedule schedule{1s, 10'000};
  CHECK(schedule.due() == (TimePoint::max)());
  schedule.begin_session(start);
  CHECK(schedule.due() <= start);
  CHECK(schedule.sent(start, 2) == 20ms);
}

TEST_CASE("while frames go out without a pause a heartbeat goes every interval all the same") {
  auto schedule = begun(1s, 10'000);
  TimePoint now = start;
  std::vector<TimePoint> sent;
  for (; now < start + 3500ms; now += 5ms) {
    if (now >= schedule.due()) {
      (void)schedule.sent(now, 2);
      sent.push_back(now);
    }
    schedule.restart(now);
  }
  CHECK(sent == std::vector<TimePoint>{start + 1s, start + 2s, start + 3s});
}

TEST_CASE("the spacing that keeps a cluster under its control rate comes first, frames or not") {
  auto schedule = begun(1s, 20'000);  // a tenth of it for answers
  (void)schedule.sent(start + 1s, 1'800);
  schedule.restart(start + 2s);
  CHECK(schedule.due() == start + 1s + 180s);
  CHECK(schedule.sent(start + 181s, 1'800) == 180s);
}

TEST_CASE("spacing survives extreme rates and sizes") {
  CHECK(core::broadcast_spacing(10'000'000, 0) == 24h);
  CHECK(core::broadcast_spacing(2, 1'000'000'000'000) >= 0s);
  CHECK(core::direct_spacing(0, 0) >= 0s);
  CHECK(core::direct_spacing(1'000, 10'000) == 100ms);
}

TEST_CASE("what is due already is not put off because others should hear soon") {
  auto schedule = begun(1s, 10'000);
  const TimePoint due = schedule.due();
  schedule.hasten(due - 1ms);
  CHECK(schedule.due() == due);
}

// --- what they say

TEST_CASE("a heartbeat announces its successor, and numbers count broadcasts only") {
  auto options = roomy();
  options.name = "cache-7";
  options.zone = "eu-1a";
  Node node{options};
  node.on_frame(heartbeat_frame(peer, {.answer_me = true, .number = 9}));
  node.pass(5s);
  const auto all = node.heartbeats();
  std::uint64_t number = 0;
  TimePoint promised{};
  for (const Sent& sent : all) {
    const auto heartbeat = heartbeat_of(sent);
    CHECK(heartbeat.name == "cache-7");
    CHECK(heartbeat.zone == "eu-1a");
    if (sent.destination != NodeId{}) {
      CHECK(heartbeat.number == number);
      continue;
    }
    CHECK(heartbeat.number == ++number);
    if (number > 1) CHECK(sent.at <= promised);
    promised = sent.at + heartbeat.interval;
  }
  CHECK(number >= 9);
}

TEST_CASE("a heartbeat says how far the frames are, and names the newest heartbeat received") {
  Node node;
  node.join();
  CHECK(node.publish("a") == core::Submitted::accepted);
  node.on_confirmed(1);
  CHECK(node.publish("b") == core::Submitted::accepted);
  node.on_frame(heartbeat_frame(peer, {.number = 77}));
  node.on_frame(heartbeat_frame(NodeId{3}, {.number = 5}, node.self));  // directed: it has no place in the order
  node.pass(20ms);
  const auto heartbeat = heartbeat_of(node.heartbeats().back());
  CHECK(heartbeat.last_sequence == 2);
  CHECK(heartbeat.oldest_sequence == 1);
  CHECK(heartbeat.newest_origin == peer);
  CHECK(heartbeat.newest_number == 77);
}

TEST_CASE("a publish_only node says so and asks for nothing") {
  auto options = roomy();
  options.publish_only = true;
  Node node{options};
  node.hears_itself = false;
  node.pass(1min);
  const auto all = node.heartbeats();
  REQUIRE(all.size() > 60);
  for (const Sent& sent : all) {
    CHECK(heartbeat_of(sent).publish_only);
    CHECK_FALSE(heartbeat_of(sent).answer_me);
  }
  CHECK(heartbeat_of(all.back()).number == all.size());
  CHECK(node.reopens == 0);  // it expects nothing back
  CHECK(node.machine.connected());
  CHECK(node.machine.joined());
}

// --- hellos

TEST_CASE("heartbeats ask for an answer until one of them came back, and the node has joined") {
  Node node{roomy(), false};
  node.hears_itself = false;
  node.on_ready(1);
  node.pass(100ms);
  REQUIRE(node.heartbeats().size() == 3);
  for (const Sent& sent : node.heartbeats()) CHECK(heartbeat_of(sent).answer_me);
  node.on_frame(node.heartbeats()[1].bytes);
  node.hears_itself = true;
  node.pass(2s);  // the hello is repeated in vain
  CHECK_FALSE(heartbeat_of(node.heartbeats().back()).answer_me);
}

TEST_CASE("a hello is answered to its sender alone; of many at once one is, and a heartbeat answers all others") {
  auto options = roomy();
  options.max_peers = 2'000;
  Node node{options};
  node.pass(10s);
  for (std::uint64_t id = 100; id != 1'100; ++id) node.on_frame(heartbeat_frame(NodeId{id}, {.number = 1}));
  node.pass(10min);
  const std::size_t before = node.others.size();
  for (std::uint64_t id = 100; id != 1'100; ++id) {
    node.on_frame(heartbeat_frame(NodeId{id}, {.answer_me = true, .number = 2}));
  }
  CHECK(node.heartbeats(before).size() == 1);
  CHECK(node.heartbeats(before)[0].destination == NodeId{100});
  CHECK_FALSE(heartbeat_of(node.heartbeats(before)[0]).answer_me);
  node.pass(101s);
  const auto later = node.heartbeats(before);
  REQUIRE(later.size() >= 2);
  CHECK(later.size() <= 3);
  CHECK(later[1].destination == NodeId{});
}

TEST_CASE("a thousand nodes stay under the control rate") {
  HeartbeatSchedule schedule{1s, 10'000};
  schedule.begin_session(start);
  (void)schedule.sent(start, 1'000);
  std::size_t broadcasts = 0, answers = 0;
  TimePoint now = start;
  for (; now < start + 1h; now += 10ms) {  // frames and hellos all the time
    schedule.restart(now);
    if (now >= schedule.due()) {
      (void)schedule.sent(now, 1'000);
      ++broadcasts;
    }
    answers += schedule.may_answer(now, 1'000) ? 1U : 0U;
  }
  CHECK(broadcasts * 1'000 * 1'000 + answers * 1'000 <= 3'600 * 10'000);
}

TEST_CASE("after a restart of the broker, when all reconnect at once, a cluster stays under its control rate") {
  const auto count = GENERATE(std::uint64_t{30}, std::uint64_t{100}, std::uint64_t{150});
  Cluster cluster;
  std::vector<Node*> nodes;
  auto options = roomy();
  options.max_peers = static_cast<std::size_t>(count);
  options.history_bytes = options.queue_bytes = options.pending_bytes = 64 * support::kib;
  for (std::uint64_t id = 1; id <= count; ++id) {
    options.self = NodeId{id};
    nodes.push_back(&cluster.add(options));
  }
  cluster.pass(20s);
  cluster.crash(*nodes.back());  // one does not come back
  nodes.pop_back();
  for (Node* const node : nodes) cluster.interrupt(*node);
  cluster.pass(3s);
  const std::size_t before = cluster.deliveries;
  for (Node* const node : nodes) cluster.reconnect(*node);
  const std::size_t chance = count * count / 4;  // each says its hello at a time of its own
  for (std::size_t second = 1; second <= 10; ++second) {
    cluster.pass(1s);
    CHECK(cluster.deliveries - before <= chance + second * options.control_rate);
  }
  for (Node* const node : nodes) CHECK(node->machine.joined());
}

// --- what comes back

TEST_CASE("a heartbeat that is not back within the peer timeout says we are deaf: reopen") {
  Node node;
  node.join();
  node.hears_itself = false;
  node.pass(100ms);
  const TimePoint sent = node.heartbeats().back().at;
  const int healths = node.healths;
  node.pass_until(sent + 4s);
  CHECK(node.machine.connected());
  CHECK(node.reopens == 0);
  node.pass(2s);
  CHECK(node.reopens == 1);
  CHECK_FALSE(node.machine.connected());
  CHECK(node.healths > healths);
  node.pass(1h);
  CHECK(node.reopens == 1);
}

TEST_CASE("a deaf node hears again in the next session, and its staleness ends with that one's join window") {
  Node node;
  node.join();
  node.hears_itself = false;
  node.pass(10s);
  REQUIRE(node.reopens == 1);
  CHECK(node.staleness() >= 9s);
  node.on_interrupted();
  node.hears_itself = true;
  node.on_ready(2);
  CHECK(node.machine.connected());
  CHECK(node.staleness() >= 9s);
  node.join();
  CHECK(node.staleness() == 0s);
}

TEST_CASE("an old heartbeat that comes late does not end deafness, the newest does") {
  Node node;
  node.join();
  node.hears_itself = false;
  const std::size_t before = node.others.size();
  node.pass(10s);
  REQUIRE(node.reopens == 1);
  node.on_frame(node.heartbeats()[0].bytes);
  node.on_frame(node.heartbeats(before)[0].bytes);
  node.pass(10ms);
  CHECK_FALSE(node.machine.connected());
  CHECK(node.reopens == 1);
  node.on_frame(node.heartbeats().back().bytes);
  CHECK(node.machine.connected());
}

TEST_CASE("a heartbeat of an earlier session proves nothing in this one") {
  EchoMonitor own{2s};
  own.begin_session(start);
  CHECK(own.send(start) == 1);
  own.begin_session(start + 1s);
  own.returned(1, start + 2s);
  CHECK_FALSE(own.returned_in_session());
  CHECK_FALSE(own.heard_until());
  CHECK(own.send(start + 3s) == 2);
  own.returned(2, start + 4s);
  CHECK(own.returned_in_session());
  CHECK(own.heard_until() == start + 3s);  // what was sent before that has been heard
}

TEST_CASE("what comes back in one go after a stall proves no more than its first") {
  EchoMonitor own{2s};
  own.begin_session(start);
  for (int i = 0; i != 5; ++i) (void)own.send(start + i * 1s);
  for (std::uint64_t number = 1; number <= 5; ++number) own.returned(number, start + 5s);
  CHECK(own.heard_until() == start);
  (void)own.send(start + 6s);
  own.returned(6, start + 7s);
  CHECK(own.heard_until() == start + 6s);
}

TEST_CASE("the time of answers is four round trips: a slow one counts at once, quick ones slowly, 20 ms at least") {
  EchoMonitor own{2s};
  own.begin_session(start);
  TimePoint now = start;
  const auto trip = [&](Duration time) {
    const auto number = own.send(now);
    now += time;
    own.returned(number, now);
    return own.answer_time();
  };
  CHECK(trip(1ms) == 20ms);
  CHECK(trip(100ms) == 400ms);
  const Duration after = trip(1ms);
  CHECK(after < 400ms);
  CHECK(after > 300ms);
  CHECK(trip(60s) == 2s);  // the longest
  own.begin_session(now);
  CHECK(own.answer_time() == 20ms);
}

TEST_CASE("what comes back of numbers never sent, or twice, changes nothing") {
  EchoMonitor own{2s};
  own.begin_session(start);
  own.returned(0, start);
  own.returned(1, start);
  own.returned(~std::uint64_t{0}, start);
  CHECK(own.newest_returned() == 0);
  for (int i = 0; i != 3; ++i) (void)own.send(start + i * 1s);
  own.returned(2, start + 5s);
  CHECK(own.newest_returned() == 2);
  CHECK(own.unanswered_since() == start + 2s);
  own.returned(1, start + 6s);
  CHECK(own.newest_returned() == 2);
  CHECK(own.heard_until() == start + 1s);
}

TEST_CASE("deafness is noticed however many heartbeats are under way") {
  EchoMonitor own{2s};
  own.begin_session(start);
  for (int i = 0; i != 1'000; ++i) (void)own.send(start + i * 1ms);
  own.returned(1, start + 1s);
  REQUIRE(own.unanswered_since());
  CHECK(*own.unanswered_since() < start + 1s);
  CHECK_FALSE(own.sent_at(1));
  CHECK(own.sent_at(1'000) == start + 999ms);
}

TEST_CASE("a slow round trip does not hold up the next session") {
  Node node;
  node.join();
  node.hears_itself = false;
  node.pass(1s);
  node.now += 1min;
  node.on_frame(node.newest_heartbeat().bytes);
  node.hears_itself = true;
  node.on_interrupted();
  node.on_ready(2);
  node.pass(25ms);
  CHECK(node.machine.joined());
}
