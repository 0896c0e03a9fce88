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
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "fuzz/protocol_check.hpp"
#include "support/catch.hpp"
#include "support/machine.hpp"
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
      CHECK(node.wire.size() - before <= core::RepairAnswers::max_waiting + 8);
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
            node.on_ready(node.session + 1, dice.chance(5) ? 200 : core::max_frame_bytes);
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
