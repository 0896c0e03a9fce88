// Repair: when a receiver asks, how often and how widely a publisher answers, and what it all costs.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include <syncbus/core/peers/repair_timer.hpp>
#include <syncbus/core/protocol.hpp>
#include <syncbus/core/sending/repair_queue.hpp>

#include "support/all_resyncs.hpp"
#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/machine.hpp"
#include "support/receiver.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::RepairQueue, core::RepairTimer, core::SequenceRange;
using support::Cluster, support::events_frame, support::heartbeat_frame, support::Lines, support::Node,
    support::repair_request_frame, support::roomy, support::Sent, support::start;

namespace {

constexpr NodeId a{11}, b{12}, c{13};
constexpr SequenceRange history{1, 1'000};
constexpr auto most = ~std::uint64_t{0};

std::size_t count(RepairQueue& answers) {
  std::size_t all = 0;
  while (answers.next()) ++all;
  return all;
}

}  // namespace

// --- who is answered

TEST_CASE("the first who asks is answered alone, a second within 50 ms has it broadcast, others are ignored so long") {
  RepairQueue answers;
  answers.request(a, {7, 7}, history, start);
  auto answer = answers.next();
  REQUIRE(answer);
  CHECK(answer->sequence == 7);
  CHECK(answer->destination == a);

  answers.request(b, {7, 7}, history, start + 49ms);
  answer = answers.next();
  REQUIRE(answer);
  CHECK(answer->destination == NodeId{});

  for (const Duration after : {50ms, 60ms, 98ms}) {
    answers.request(a, {7, 7}, history, start + after);
    answers.request(b, {7, 7}, history, start + after);
    answers.request(c, {7, 7}, history, start + after);
    CHECK(answers.empty());
  }
  answers.request(c, {7, 7}, history, start + 99ms);
  answer = answers.next();
  REQUIRE(answer);
  CHECK(answer->destination == c);
}

TEST_CASE("an answer that still waits when a second asks is widened, not doubled") {
  RepairQueue answers;
  answers.request(a, {7, 7}, history, start);
  answers.request(b, {7, 7}, history, start + 1ms);
  CHECK(answers.next()->destination == NodeId{});
  CHECK(answers.empty());
}

TEST_CASE("who asks twice within 50 ms is answered once, later again") {
  RepairQueue answers;
  answers.request(a, {7, 7}, history, start);
  answers.request(a, {7, 7}, history, start + 49ms);
  CHECK(count(answers) == 1);
  answers.request(a, {7, 7}, history, start + 50ms);
  CHECK(count(answers) == 1);
}

TEST_CASE("only what history has is answered, and no more than a bounded number") {
  RepairQueue answers;
  answers.request(a, {1, most}, {5, 7}, start);
  CHECK(answers.next()->sequence == 5);
  CHECK(count(answers) == 2);
  answers.request(a, {most, most}, history, start);
  answers.request(a, {8, 8}, {9, 7}, start);
  CHECK(answers.empty());
  answers.request(b, {1, most}, {1, 1'000'000}, start);
  CHECK(count(answers) == RepairQueue::max_waiting);
  for (int i = 0; i != 100; ++i) {
    answers.request(b, {1 + 256U * static_cast<unsigned>(i), most}, {1, 1'000'000}, start);
    CHECK(count(answers) <= RepairQueue::max_waiting);
  }
}

TEST_CASE("a publisher answers with the frame as it was sent, and only for its own") {
  Node node;
  node.join();
  CHECK(node.publish("k") == core::Submitted::accepted);
  const std::size_t before = node.others.size();
  node.on_frame(repair_request_frame(a, node.self, {{1, 3}}));
  REQUIRE(node.repairs(before).size() == 1);
  CHECK(node.repairs(before)[0].destination == a);
  const Sent sent = node.repairs(before)[0];
  core::RepairView repair;
  REQUIRE(core::decode_repair(support::header_of(sent.bytes), repair) == core::FrameError::ok);
  CHECK(std::ranges::equal(repair.frame, node.sent[0].bytes));
  node.on_frame(repair_request_frame(a, b, {{1, 1}}));
  CHECK(node.repairs(before).size() == 1);
}

// --- when to ask

TEST_CASE("the random delay grows with the peers, 0.1 ms each, up to 200 ms") {
  CHECK(core::repair_spread(0) == 0ms);
  CHECK(core::repair_spread(1) == 100us);
  CHECK(core::repair_spread(1'999) == 199900us);
  CHECK(core::repair_spread(2'000) == 200ms);
  CHECK(core::repair_spread(static_cast<std::size_t>(most)) == 200ms);
}

TEST_CASE("a gap is asked for after the grace and its delay, again after 60 ms, and ever more rarely, up to 240 ms") {
  RepairTimer clock;
  clock.found(start, 5ms, true);
  CHECK(clock.due() == start + 6ms);
  TimePoint now = start + 6ms;
  for (const Duration pause : {60ms, 120ms, 240ms, 240ms}) {
    clock.asked(now, 0, 20ms);
    CHECK(clock.due() == now + pause);
    now = clock.due();
  }
  clock.filled(now);  // something came: the rest may be on its way
  CHECK(clock.due() >= now + 60ms);
}

TEST_CASE("a gap beside another is asked for no later than that") {
  RepairTimer clock;
  clock.found(start, 100ms, true);
  clock.found(start + 1ms, 200ms, false);
  CHECK(clock.due() == start + 101ms);
  clock.found(start + 2ms, 0ms, false);
  CHECK(clock.due() == start + 3ms);
}

TEST_CASE("requests of many nodes spread over the delay, each its own") {
  std::set<TimePoint> times;
  auto options = roomy();
  options.max_peers = 3'000;
  for (std::uint64_t id = 1; id != 20; ++id) {
    options.self = NodeId{id};
    Node node{options};
    node.join();
    for (std::uint64_t other = 100; other != 1'100; ++other) {
      node.on_frame(heartbeat_frame(NodeId{other}, {.number = 1, .interval = 1h}));
    }
    const TimePoint found = node.now;
    node.on_frame(events_frame(NodeId{100}, 1, {{.key = "a"}}));
    node.on_frame(events_frame(NodeId{100}, 3, {{.key = "b"}}));
    node.pass(101ms);
    REQUIRE_FALSE(node.requests().empty());
    CHECK(node.requests()[0].at >= found + 1ms);
    times.insert(node.requests()[0].at);
  }
  CHECK(times.size() >= 19);
  CHECK(*times.rbegin() - *times.begin() > 50ms);
}

// --- what it costs

TEST_CASE("a hundred gaps of one receiver cost at most 1.2 requests each, and one answer each") {
  Cluster cluster;
  Node& publisher = cluster.add(1);
  Node& receiver = cluster.add(2);
  cluster.pass(1s);
  bool lost = false;
  cluster.loses = [&](const Node& from, const Node& to, const Sent& frame) {
    return &from == &publisher && &to == &receiver && frame.type == core::FrameType::events && (lost = !lost);
  };
  for (int i = 0; i != 200; ++i) {
    (void)publisher.publish(std::to_string(i));
    cluster.pass(10ms);
  }
  cluster.pass(2s);
  CHECK(receiver.machine.metrics().gaps == 100);
  CHECK(receiver.machine.metrics().frames_repaired == 100);
  CHECK(receiver.requests().size() <= 120);
  CHECK(publisher.repairs().size() <= 120);
  const Lines heard = receiver.heard();
  CHECK(heard.size() == 200);
  CHECK(std::ranges::none_of(heard, [](const std::string& line) { return line.starts_with("resync"); }));
}

TEST_CASE("a loss near the publisher is repaired for all by few answers") {
  Cluster cluster;
  Node& publisher = cluster.add(1);
  std::vector<Node*> receivers;
  for (std::uint64_t id = 2; id != 12; ++id) receivers.push_back(&cluster.add(id));
  cluster.pass(1s);
  cluster.loses = [&](const Node& from, const Node&, const Sent& frame) {
    return &from == &publisher && frame.type == core::FrameType::events && frame.sequence == 1;
  };
  (void)publisher.publish("lost");
  cluster.pass(5s);
  CHECK(publisher.repairs().size() <= 2);
  for (Node* const node : receivers) CHECK(node->heard() == Lines{"invalidate lost"});
}

TEST_CASE("after a partition heals everything that history has is repaired, without a resync") {
  Cluster cluster;
  Node& publisher = cluster.add(1);
  Node& receiver = cluster.add(2);
  cluster.pass(1s);
  const bool both_ways = GENERATE(true, false);
  bool cut = true;
  cluster.loses = [&](const Node& from, const Node& to, const Sent&) {
    return cut && ((&from == &publisher && &to == &receiver) || (both_ways && &from == &receiver && &to == &publisher));
  };
  for (int i = 0; i != 20; ++i) {
    (void)publisher.publish(std::to_string(i));
    cluster.pass(100ms);
  }
  cut = false;
  cluster.pass(3s);
  const Lines heard = receiver.heard();
  CHECK(heard.size() == 20);
  CHECK(std::ranges::none_of(heard, [](const std::string& line) { return line.starts_with("resync"); }));
}

TEST_CASE("a long repair goes on while it makes progress, also of a peer of which no later frame was heard") {
  Cluster cluster;
  Node& publisher = cluster.add(1);
  Node& receiver = cluster.add(2);
  cluster.pass(1s);
  bool cut = true;
  cluster.loses = [&](const Node& from, const Node& to, const Sent&) {
    return cut && &from == &publisher && &to == &receiver;
  };
  constexpr std::size_t lost = 10 * RepairQueue::max_waiting;
  for (std::size_t i = 0; i != lost; ++i) {
    (void)publisher.publish(std::to_string(i));
    cluster.pass(2ms);  // it is confirmed, so the next one is a frame of its own
  }
  cut = false;
  cluster.pass(3s);
  CHECK(receiver.machine.metrics().gaps == lost);
  CHECK(receiver.machine.metrics().frames_repaired == lost);
  CHECK(receiver.heard().size() == lost);
  CHECK(support::all_resyncs(receiver.machine.metrics()) == 0);
}

TEST_CASE("however long a round trip takes, a gap costs one repair") {
  Cluster cluster;
  cluster.delay = 100ms;
  Node& publisher = cluster.add(1);
  Node& receiver = cluster.add(2);
  cluster.pass(3s);
  bool lossy = false;
  cluster.loses = [&](const Node& from, const Node& to, const Sent& frame) {
    return lossy && &from == &publisher && &to == &receiver && frame.type == core::FrameType::events;
  };
  for (int i = 0; i != 10; ++i) {
    lossy = true;
    (void)publisher.publish("lost " + std::to_string(i));
    cluster.collect();
    lossy = false;
    cluster.pass(3s);
  }
  CHECK(receiver.machine.metrics().frames_repaired == 10);
  CHECK(publisher.repairs().size() == 10);
}

// --- a heartbeat that overtakes repairs

namespace {

/// Frames 2 to 4 are missing, and were asked for; frame 5 was heard.
struct Asking : support::Receiver {
  Asking() {
    frame(5);
    pass(5ms);
    (void)heard();
  }
};

}  // namespace

TEST_CASE("what was asked for may be under way when a heartbeat says that history has it no longer") {
  Asking node;
  REQUIRE(node.requests().size() == 1);
  node.beat(9, 5);  // by a shorter way than repairs: over NATS they are read by another thread
  CHECK(node.heard().empty());
  for (const std::uint64_t sequence : {2U, 3U, 4U}) node.repaired(sequence);
  CHECK(node.heard() == Lines{"invalidate 2", "invalidate 3", "invalidate 4"});
  for (std::uint64_t sequence = 6; sequence != 10; ++sequence) node.frame(sequence);
  (void)node.heard();
  node.pass_heard(3s, 9);
  CHECK(node.heard().empty());
}

TEST_CASE("what history has no longer and does not come when it should is a resync, once, and is not asked for again") {
  Asking node;
  node.beat(5, 5);
  node.repaired(3);
  node.pass(300ms);
  CHECK(node.heard() == Lines{"invalidate 3", "resync: unrepairable"});
  node.beat(5, 5);
  node.pass_heard(3s, 5);
  CHECK(node.heard().empty());
  CHECK(node.requests().size() == 1);
}

TEST_CASE("what came last of what was asked for shows that the rest is lost, if history has it no longer") {
  Asking node;
  node.beat(5, 4);  // 4 is there yet
  node.repaired(4);
  node.repaired(2);
  CHECK(node.heard() == Lines{"invalidate 4", "invalidate 2"});
  node.beat(5, 5);
  node.pass(300ms);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
}

TEST_CASE("what was not asked for is given up at once when history has it no longer") {
  support::Receiver node;
  node.frame(5);
  (void)node.heard();
  node.beat(5, 5);
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  CHECK(node.requests().empty());
}

// --- a node that returns to many publishers with long histories

namespace {

constexpr std::uint64_t publishers = 16, missed = 64;  // full frames of each: 2 MiB

/// A node that hears of what it missed while it was cut off; a broker that sends it repairs, so many bytes a
/// millisecond, and holds back the rest.
struct Returning : support::Receiver {
  explicit Returning(std::size_t bytes_a_millisecond) : Receiver{large()}, rate{bytes_a_millisecond} {
    for (std::uint64_t i = 0; i != publishers; ++i) frame(1, publisher(i));
    (void)heard();
    reconnect();
    beat_all();
    on_own();
  }

  [[nodiscard]] static core::ProtocolOptions large() {
    auto options = roomy();
    options.queue_bytes = 64 * 1024 * support::kib;
    options.max_peers = 32;
    return options;
  }
  [[nodiscard]] static NodeId publisher(std::uint64_t i) { return NodeId{100 + i}; }

  void beat_all() {
    for (std::uint64_t i = 0; i != publishers; ++i) beat(1 + missed, 1, publisher(i));
  }

  /// A millisecond: requests reach their publishers, whose answers reach the broker.
  void step() {
    on_own();
    for (left += rate; !held.empty() && held.front().size() <= left; held.pop_front()) {
      left -= held.front().size();
      held_bytes -= held.front().size();
      on_frame(held.front());
    }
    if (held.empty()) left = 0;
    pass(1ms);
    (void)heard();
  }

  std::size_t rate, left = 0;
  std::deque<support::Frame> held{};
  std::size_t held_bytes = 0, most_held = 0;
  std::uint64_t frames_asked = 0;

 private:
  void on_own() {
    const auto all = requests();
    for (; seen != all.size(); ++seen) {
      for (const auto& range : support::requested_by(all[seen])) {
        for (std::uint64_t sequence = range.first; sequence <= range.last; ++sequence) {
          const NodeId from = all[seen].destination;
          held.push_back(support::repair_frame(from, self, events_frame(from, sequence, {{.key = key}})));
          held_bytes += held.back().size();
          ++frames_asked;
        }
      }
    }
    most_held = (std::max)(most_held, held_bytes);
  }

  const std::string key = std::string(32'000, 'k');
  std::size_t seen = 0;
};

}  // namespace

TEST_CASE("a node that returns to many publishers is sent no more at once than a broker holds for it") {
  Returning node{0};
  for (int i = 0; i != 40; ++i) node.step();  // nothing comes yet
  CHECK(node.most_held <= std::size_t{5} << 20U);
  CHECK(node.most_held >= std::size_t{2} << 20U);
}

TEST_CASE("what waits for its turn to be repaired is not given up for that") {
  Returning node{10'000};  // bytes a millisecond: all takes three times the repair timeout
  for (int i = 0; i != 6'000 && node.machine.metrics().frames_repaired != publishers * missed; ++i) {
    if (i % 500 == 0) node.beat_all();
    node.step();
  }
  CHECK(node.machine.metrics().frames_repaired == publishers * missed);
  CHECK(support::all_resyncs(node.machine.metrics()) == 0);
  CHECK(node.frames_asked <= publishers * missed * 12 / 10);
  CHECK(node.most_held <= std::size_t{8} << 20U);
}
