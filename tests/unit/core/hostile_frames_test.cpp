// Valid frames with numbers that nobody means, and inputs in any order: nothing grows without bound, nothing spins.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/core/quorum/quorum_tracker.hpp>
#include <syncbus/core/wire/acknowledgement_frame.hpp>

#include "fuzz/protocol_check.hpp"
#include "support/catch.hpp"
#include "support/machine.hpp"
#include "support/publisher.hpp"
#include "support/receiver.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::AcknowledgementStatus;
using support::acknowledgement_frame, support::events_frame, support::Frame, support::heartbeat_frame, support::kib,
    support::Lines, support::Node, support::repair_frame, support::repair_request_frame, support::roomy;

namespace {

constexpr NodeId self{1}, honest{2};
constexpr auto most = ~std::uint64_t{0};
constexpr std::array<std::uint64_t, 12> extremes{0,  1,  2,  3,  64, 65, 1'000, 1ULL << 31U, 1ULL << 32U,
                                                 1ULL << 63U, most - 1, most};

struct Dice {
  std::mt19937_64 engine;

  std::uint64_t upto(std::uint64_t last) { return std::uniform_int_distribution<std::uint64_t>{0, last}(engine); }
  std::uint64_t extreme() { return extremes[upto(extremes.size() - 1)]; }
  bool chance(std::uint64_t in) { return upto(in - 1) == 0; }
  NodeId node() { return NodeId{chance(10) ? 3 + extreme() % (most - 3) : 3 + upto(20)}; }

  Frame frame() {
    const NodeId from = node();
    const std::uint64_t sequence = (std::max)(extreme(), std::uint64_t{1});
    switch (upto(5)) {
      case 0: return events_frame(from, sequence, {{.key = "k", .awaited = chance(2)}});
      case 1: return repair_frame(from, self, events_frame(node(), sequence, {{.key = "k"}}));
      case 2: {
        const std::uint64_t last = (std::max)(extreme(), std::uint64_t{1});
        const core::SequenceRange range{(std::min)(sequence, last), (std::max)(sequence, last)};
        return repair_request_frame(from, chance(2) ? self : node(), {range});
      }
      case 3:
        return acknowledgement_frame(from, chance(2) ? self : NodeId{},
                                     {{chance(2) ? self : from, sequence, static_cast<std::uint32_t>(upto(1'000)),
                                       static_cast<std::uint32_t>(1 + upto(10'000'000)),
                                       static_cast<AcknowledgementStatus>(upto(4))}});
      default:
        return heartbeat_frame(chance(20) ? self : from,
                               {.answer_me = chance(4), .goodbye = chance(20), .publish_only = chance(10),
                                .number = extreme(), .last_sequence = extreme(), .ahead = extreme(),
                                .oldest_sequence = extreme(),
                                .interval = std::chrono::microseconds{chance(2) ? 0 : 86'400'000'000},
                                .newest_origin = chance(3) ? self : node(), .newest_number = extreme()});
    }
  }
};

core::ProtocolOptions small() {
  auto options = roomy();
  options.history_bytes = 64 * kib;
  options.queue_bytes = 16 * kib;
  options.pending_bytes = 16 * kib;
  options.max_awaits = 64;
  return options;
}

void check_bounds(Node& node, const core::ProtocolOptions& options) {
  const Metrics metrics = node.machine.metrics();
  CHECK(metrics.queue_bytes <= options.queue_bytes + options.pending_bytes);
  CHECK(metrics.history_bytes <= options.history_bytes);
  CHECK(node.machine.peers(node.now).size() <= options.max_peers);
  CHECK(node.staleness() >= 0s);
}

}  // namespace

TEST_CASE("whatever numbers control frames carry, answers, memory and time stay bounded, and an honest peer is heard") {
  const auto options = small();
  Dice dice{std::mt19937_64{GENERATE(range(1U, 21U))}};
  Node node{options};
  node.join();
  std::uint64_t sequence = 0;
  for (int round = 0; round != 50; ++round) {
    for (int i = 0; i != 20; ++i) {
      const std::size_t before = node.wire.size();
      node.on_frame(dice.frame());
      CHECK(node.wire.size() - before <= core::RepairQueue::max_waiting + 8);
    }
    check_bounds(node, options);
    (void)node.heard();
    ++sequence;
    const std::string key = std::to_string(sequence);
    node.on_frame(events_frame(honest, sequence, {{.key = key}}));
    const Lines heard = node.heard();
    CHECK(std::ranges::find(heard, "invalidate " + key) != heard.end());
    node.pass(10ms);
    node.wire.clear();
  }
  CHECK(node.machine.metrics().invalid_frames == 0);
}

TEST_CASE("a heartbeat with the largest numbers costs one resync, and a later honest word of others is unharmed") {
  Node node;
  node.join();
  node.on_frame(events_frame(honest, 1, {{.key = "a"}}));
  node.on_frame(heartbeat_frame(NodeId{3}, {.number = 1, .interval = 1s}));
  (void)node.heard();
  node.on_frame(heartbeat_frame(
      NodeId{3},
      {.number = most, .last_sequence = most, .oldest_sequence = most, .newest_origin = self, .newest_number = most}));
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  node.on_frame(events_frame(honest, 2, {{.key = "b"}}));
  CHECK(node.heard() == Lines{"invalidate b"});
}

TEST_CASE("a request for everything there could be is answered with what there is") {
  Node node;
  node.join();
  (void)node.publish("k");
  const std::size_t before = node.others.size();
  node.on_frame(repair_request_frame(honest, self, {{1, most}}));
  CHECK(node.repairs(before).size() == 1);
}

// --- wakes

TEST_CASE("whatever happens the machine asks to be woken a bounded number of times a second, and never at once again") {
  auto options = small();
  options.publish_only = GENERATE(false, true);
  Dice dice{std::mt19937_64{GENERATE(range(1U, 31U))}};
  Node node{options, false};
  bool connected = false;
  for (int second = 0; second != 60; ++second) {
    const int before = node.wakes;
    int inputs = 0;
    for (const TimePoint end = node.now + 1s; node.now < end; ++inputs) {
      switch (dice.upto(9)) {
        case 0:
          if (!connected && dice.chance(3)) {
            connected = true;
            node.on_ready(node.session + 1, dice.chance(5) ? 200 : max_frame_bytes);
          }
          break;
        case 1:
          if (connected && dice.chance(20)) {
            connected = false;
            node.on_interrupted();
          }
          break;
        case 2: node.hears_itself = !dice.chance(3); break;
        case 3: (void)node.publish(std::to_string(dice.upto(100))); break;
        case 4:
          node.await({std::to_string(dice.upto(100))}, static_cast<int>(dice.upto(3)),
                     1ms * static_cast<int>(dice.upto(2'000)));
          break;
        case 5:
          if (connected && !node.sent.empty()) node.on_confirmed(node.sent.back().sequence);
          break;
        case 6: (void)node.heard(); break;
        case 7:
          if (dice.chance(1'000)) node.machine.say_goodbye();
          node.act();
          break;
        default:
          if (connected && !options.publish_only) node.on_frame(dice.frame());
      }
      node.pass(1ms * static_cast<int>(dice.upto(100)));
      if (node.wire.size() > 10'000) node.wire.clear();
    }
    // Each of up to 64 awaits and of 16 peers has a time of its own, which every input may move once.
    CHECK(node.wakes - before <= 200 + 64 * 10 + 16 * 20 + 4 * inputs);
  }
}

TEST_CASE("left alone a machine sleeps, in whatever state: a few wakes a second at most, and none while disconnected") {
  Node node;
  node.join();
  node.on_frame(heartbeat_frame(honest, {.number = 1, .interval = 1s}));
  node.on_frame(events_frame(honest, 5, {{.key = "k"}}));
  enum class State { heard, disconnected, deaf, gone, window };
  const auto state = GENERATE(State::heard, State::disconnected, State::deaf, State::gone, State::window);
  node.await({"k"}, 3, 1min);
  switch (state) {
    case State::heard: break;
    case State::disconnected: node.on_interrupted(); break;
    case State::deaf: node.hears_itself = false; break;
    case State::gone:
      node.machine.say_goodbye();
      node.act();
      break;
    case State::window:
      node.hears_itself = false;
      node.on_interrupted();
      node.on_ready(2);
      break;
  }
  node.pass(2min);
  const int before = node.wakes;
  node.pass(1h);
  // A heartbeat a second, and while a peer could be there, though nothing proves it, a request every 240 ms.
  CHECK(node.wakes - before <= (state == State::disconnected ? 0 : 5 * 3'600 + 1'000));
}

TEST_CASE("no input of the fuzzer's corpus brings the machine above its bounds, or to no rest") {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator{SYNCBUS_FUZZ_CORPUS "/protocol"}) {
    INFO(entry.path().filename().string());
    std::ifstream file{entry.path(), std::ios::binary};
    const std::string script{std::istreambuf_iterator<char>{file}, {}};
    CHECK(support::HauntedMachine{std::as_bytes(std::span{script})}.run() == "");
    ++files;
  }
  CHECK(files >= 20);
}

TEST_CASE("who lies about how far a peer is costs resyncs, and none of its events") {
  const auto lie = GENERATE(std::uint64_t{40}, std::uint64_t{1'000}, most);
  support::Receiver node;
  core::HeartbeatView forged{.number = 1'000, .last_sequence = lie, .oldest_sequence = 1, .interval = 1s};
  SECTION("by a heartbeat") { node.on_frame(heartbeat_frame(honest, forged)); }
  SECTION("by a frame") { node.on_frame(events_frame(honest, lie, {{.key = "forged"}})); }
  SECTION("by a heartbeat, that no history has it any more") {
    forged.oldest_sequence = lie;
    node.on_frame(heartbeat_frame(honest, forged));
  }
  node.pass_heard(3s, 1);
  (void)node.heard();
  Lines expected;
  for (std::uint64_t sequence = 2; sequence != 600; ++sequence) {
    if (sequence == lie) continue;  // its number was taken by a forged frame, which nothing tells from it
    node.frame(sequence);
    expected.push_back("invalidate " + std::to_string(sequence));
  }
  CHECK(node.heard() == expected);
  node.frame(602);  // what is lost now is noticed
  node.pass(5ms);
  REQUIRE_FALSE(node.requests().empty());
  CHECK((support::requested_by(node.requests().back()).back() == core::SequenceRange{600, 601}));
}

TEST_CASE("who goes on after a goodbye has not said it") {
  support::Receiver node;
  node.on_frame(heartbeat_frame(honest, {.goodbye = true, .number = 3, .last_sequence = 1, .oldest_sequence = 1}));
  CHECK(node.machine.peers(node.now).empty());
  node.pass_heard(1s, 1);
  CHECK(node.machine.peers(node.now).size() == 1);
}

// --- what one frame can make a node do, and keep

namespace {

/// An acknowledgement frame of so many entries, which are all the same.
Frame many(NodeId from, NodeId to, const core::Acknowledgement& entry, std::size_t entries) {
  Frame frame(core::header_bytes + 1 + 2 * entries * core::max_acknowledgement_bytes);
  core::AcknowledgementWriter writer{frame};
  core::Acknowledgement other = entry;
  for (std::size_t i = 0; i != entries; ++i) {
    other.index = entry.index + static_cast<std::uint32_t>(i % 2);  // the writer would join those that follow each other
    REQUIRE(writer.add(other));
  }
  frame.resize(writer.finish(from, to));
  return frame;
}

/// The least of a few tries, of how long `call` takes.
template <class Call>
Duration time_of(const Call& call) {
  Duration least = Duration::max();
  for (int i = 0; i != 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    least = (std::min)(least, Duration{std::chrono::steady_clock::now() - begin});
  }
  return least;
}

core::ProtocolOptions many_awaits() {
  auto options = roomy();
  options.max_awaits = 65'536;
  return options;
}

/// A publisher with one frame of so many events, each of which has an await of its own.
struct Awaiting : support::Publisher {
  explicit Awaiting(int awaits) : Publisher{many_awaits()} {
    meet(honest);
    await({"first"}, 3, 1h);  // what follows waits for its confirmation, and goes in one frame
    for (int i = 0; i != awaits; ++i) await({std::to_string(i)}, 3, 1h);
    on_confirmed(1);
    REQUIRE(support::lines_of(sent.back().bytes).size() == static_cast<std::size_t>(awaits));
  }
};

/// A node whose handlers have returned from one frame of so many events: every other one had no subscriber.
struct Answered : Node {
  explicit Answered(std::size_t events) : Node{many_awaits()} {
    join();
    on_frame(heartbeat_frame(honest, {.number = 1, .oldest_sequence = 1, .interval = 1h}));
    const core::WireEvent event{.key = "k", .awaited = true};
    Frame frame(core::events_header_bytes + events * core::encoded_size(event));
    core::begin_events_frame(frame, honest);
    std::byte* at = frame.data() + core::events_header_bytes;
    for (std::size_t i = 0; i != events; ++i) at = core::encode_event(at, event);
    core::seal_events_frame(frame, 1);
    handler = [this](std::string_view) { return (odd_ = !odd_) ? Status::applied : Status::no_subscriber; };
    on_frame(frame);
    (void)heard();
    pass(1s);
  }

 private:
  bool odd_ = false;
};

}  // namespace

TEST_CASE("answers of nodes that nobody knows are kept in bounded number, over all awaits") {
  const auto status = GENERATE(AcknowledgementStatus::pending, AcknowledgementStatus::no_subscriber);
  core::VoterRoom room{100};
  core::QuorumTracker first{3, 1, &room}, second{3, 8'000, &room};
  for (std::uint64_t id = 1; id <= 2'000; ++id) {
    (void)first.answer(NodeId{id}, 0, status);
    (void)second.answer(NodeId{id}, 0, status);
  }
  CHECK(first.voters() + second.voters() <= 100);
  CHECK(second.voters() <= 10);  // each takes the memory of many
  CHECK(first.answer(NodeId{5'000}, 0, AcknowledgementStatus::applied, true));  // of one that is known
}

TEST_CASE("a node that is known needs no place for saying that it is not done yet") {
  core::QuorumTracker tracker{3, 8'000};
  CHECK_FALSE(tracker.answer(honest, 0, AcknowledgementStatus::pending, true));
  CHECK(tracker.voters() == 0);
}

TEST_CASE("the room for answers is there again when their awaits have ended") {
  support::Publisher node{many_awaits()};
  node.meet(honest);
  for (int round = 0; round != 40; ++round) {
    const auto await_id = node.await({"k"}, 1, 1h);
    for (std::uint64_t id = 1; id <= 3'000; ++id) {
      node.answer(NodeId{100'000 + id}, node.sent.back().sequence, 0, AcknowledgementStatus::no_subscriber);
    }
    node.answer(NodeId{99'999}, node.sent.back().sequence, 0, AcknowledgementStatus::applied);
    REQUIRE(node.ended.size() == static_cast<std::size_t>(round + 1));
    CHECK(node.ended.back().await_id == await_id);
    node.on_confirmed(node.sent.back().sequence);
  }
}

TEST_CASE("an answer that names an event again and again costs no more than one that names it once") {
  Awaiting node{2'000};
  const std::uint64_t sequence = node.sent.back().sequence;
  const auto answers = [&](std::size_t entries) {
    const Frame frame = many(honest, node.self, {node.self, sequence, 0, 1'999, AcknowledgementStatus::pending}, entries);
    return time_of([&] { node.machine.on_frame(frame, true, node.now); });
  };
  const Duration once = answers(1);
  CHECK(answers(4'000) <= 50 * once + 5ms);  // it was 4,000 times
}

TEST_CASE("a question about all events of a frame takes as long as its answer") {
  const auto question = [](std::size_t events) {
    Answered node{events};
    const auto all = static_cast<std::uint32_t>(events);
    const Frame frame = many(honest, node.self, {honest, 1, 0, all, AcknowledgementStatus::requested}, 20);
    const Duration time = time_of([&] { node.machine.on_frame(frame, true, node.now); });
    const std::size_t before = node.others.size();
    node.act();
    CHECK(node.entries(false, before).size() <= 5 * core::FrameWork::least);
    return time;
  };
  const Duration small = question(1'000);
  CHECK(question(8'000) <= 32 * small + 5ms);  // it was 64 times, and hundreds of milliseconds
}

TEST_CASE("of a frame full of questions about frames that nobody has seen, a bounded number is asked for") {
  Node node;
  node.join();
  node.on_frame(heartbeat_frame(honest, {.number = 1, .oldest_sequence = 1, .interval = 1h}));
  Frame frame(std::size_t{256} * kib);
  core::AcknowledgementWriter writer{frame};
  for (std::uint64_t i = 0; i != 13'000; ++i) {
    REQUIRE(writer.add({honest, 5'000'000 + i, 0, 1, AcknowledgementStatus::requested}));
  }
  frame.resize(writer.finish(honest, node.self));
  const std::size_t before = node.others.size();
  node.on_frame(frame);
  node.pass(50ms);
  CHECK(node.control(core::FrameType::repair_request, before).size() <= core::Inbox::max_wanted);
}

TEST_CASE("whoever asks for how much in how many names, a publisher sends its history again four times a second") {
  const auto options = roomy();
  Node node{options};
  node.join();
  const std::string key(16 * kib, 'k');
  for (int i = 0; i != 50; ++i) {
    (void)node.publish(key);
    node.on_confirmed(node.sent.back().sequence);
  }
  std::size_t bytes = 0;
  for (std::uint64_t from = 1'000; from != 2'000; ++from) {
    const std::size_t before = node.others.size();
    node.on_frame(repair_request_frame(NodeId{from}, node.self, {{1, most}}));
    for (const auto& repair : node.repairs(before)) bytes += repair.bytes.size();
    node.pass(1ms);
    node.wire.clear();
  }
  CHECK(bytes <= 5 * options.history_bytes + options.history_bytes / 4);
}

// --- lies about a peer

TEST_CASE("who lies about the number of a peer's heartbeat is believed until the peer has said others") {
  const auto lie = GENERATE(std::uint64_t{40}, most);
  const bool goodbye = GENERATE(false, true);
  support::Receiver node;
  node.pass_heard(1s, 1);
  node.on_frame(heartbeat_frame(honest, {.goodbye = goodbye,
                                         .publish_only = true,
                                         .number = lie,
                                         .last_sequence = 1,
                                         .oldest_sequence = 1,
                                         .interval = 24h,
                                         .name = "liar",
                                         .zone = "forged"}));
  node.pass_heard(2s, 1);
  const auto peers = node.machine.peers(node.now);
  REQUIRE(peers.size() == 1);
  CHECK(peers[0].name.empty());
  CHECK(peers[0].zone.empty());
  node.pass(30s);  // and it has crashed
  CHECK(node.heard() == Lines{"resync: peer_lost"});
}

TEST_CASE("an interval of a day hides a crash for minutes, not for days") {
  support::Receiver node;
  node.on_frame(heartbeat_frame(honest, {.number = 100, .last_sequence = 1, .oldest_sequence = 1, .interval = 24h}));
  node.pass(5min);
  CHECK(node.heard() == Lines{"resync: peer_lost"});
}

TEST_CASE("a forged heartbeat makes nobody stale for ever") {
  const auto lie = GENERATE(std::uint64_t{12}, std::uint64_t{40}, most);
  const auto ahead = GENERATE(std::uint64_t{0}, most / 2);
  support::Receiver node;
  const auto beat = [&](std::uint64_t number, std::uint64_t more) {
    node.on_frame(heartbeat_frame(honest, {.number = number,
                                           .last_sequence = 1,
                                           .ahead = more,
                                           .oldest_sequence = 1,
                                           .interval = 1s,
                                           .newest_origin = node.self,
                                           .newest_number = support::heartbeat_of(node.newest_heartbeat()).number}));
    node.pass(500ms);
  };
  beat(10, 0);
  beat(11, 0);
  beat(lie, ahead);
  for (std::uint64_t number = 12; number != 20; ++number) beat(number, 0);
  CHECK(node.staleness() <= 2s);
}

TEST_CASE("who lies about how far a peer is before anybody has heard it costs resyncs, and none of its events") {
  const auto lie = GENERATE(std::uint64_t{40}, std::uint64_t{100}, std::uint64_t{1'000}, most - 1);
  const auto by = GENERATE(std::string{"welcome"}, std::string{"answer"}, std::string{"repair"});
  CAPTURE(lie, by);
  auto options = support::lossless();
  Node node{options, false};
  node.listening = by != "answer" && GENERATE(false, true);
  node.on_ready(1);
  if (by == "welcome") {
    node.on_frame(support::welcome_frame(NodeId{3}, {{.node = honest, .number = 1, .last_sequence = lie}}));
  }
  if (by == "answer") {
    node.on_frame(heartbeat_frame(honest, {.number = 1, .last_sequence = lie, .oldest_sequence = 1, .interval = 1s},
                                  node.self));
  }
  if (by == "repair") node.on_frame(repair_frame(NodeId{3}, node.self, events_frame(honest, lie, {{.key = "forged"}})));
  node.pass(300ms);
  node.listening = true;
  (void)node.heard();
  Lines expected;
  for (std::uint64_t sequence = 1; sequence != 600; ++sequence) {
    const std::string key = std::to_string(sequence);
    node.on_frame(events_frame(honest, sequence, {{.key = key}}));
    if (sequence != lie) expected.push_back("invalidate " + key);
  }
  Lines heard = node.heard();
  std::erase_if(heard, [&](const std::string& line) {
    return line.starts_with("resync") || line == "invalidate " + std::to_string(lie);
  });
  CHECK(heard == expected);
}

TEST_CASE("what is missing by a lie counts a million frames at most") {
  support::Receiver node;
  node.on_frame(heartbeat_frame(honest, {.number = 100, .last_sequence = most, .oldest_sequence = 1, .interval = 1s}));
  CHECK(node.machine.metrics().gaps == 1'000'000);
}

TEST_CASE("what is sent again because of a lie is late: a set of before comes as an invalidation") {
  support::Receiver node{roomy(), 0};
  const auto frame = [](std::uint64_t sequence) {
    return events_frame(honest, sequence, {{.type = EventType::set, .key = "k", .version = sequence}});
  };
  for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) node.on_frame(frame(sequence));
  for (const std::uint64_t number : {most - 1, most}) {
    node.on_frame(heartbeat_frame(honest, {.number = number, .last_sequence = 0, .oldest_sequence = 1, .interval = 1s}));
    node.pass(1100ms);
  }
  CHECK(node.heard() == Lines{"set k v1", "set k v2", "set k v3", "resync: unrepairable"});
  node.beat(3);
  node.pass(10ms);
  for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) {
    node.on_frame(repair_frame(honest, node.self, frame(sequence)));
  }
  core::ReceiveQueue::Item item;
  int late = 0;
  while (node.machine.take(item)) {
    late += item.late ? 1 : 0;
    node.machine.release({}, node.now);
  }
  CHECK(late == 3);
}

TEST_CASE("what is lost while a lie stands is a resync, once what comes behind it is heard") {
  support::Receiver node;
  node.on_frame(heartbeat_frame(honest, {.number = 100, .last_sequence = 40, .oldest_sequence = 41, .interval = 1s}));
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  node.frame(2);
  CHECK(node.heard() == Lines{"invalidate 2"});
  node.frame(4);
  node.frame(5);
  CHECK(node.heard() == Lines{"resync: unrepairable", "invalidate 4", "invalidate 5"});
}
