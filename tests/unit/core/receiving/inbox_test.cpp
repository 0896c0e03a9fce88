// What arrives and is heard: order, duplicates, a full queue, other versions, and bytes that are no frame.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/keys.hpp"
#include "support/machine.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using support::altered, support::events_frame, support::Frame, support::key_of_size, support::kib, support::Lines,
    support::Node, support::roomy;

namespace {

constexpr NodeId self{1}, peer{2}, other{3};

/// All counters but that of invalid frames.
std::vector<std::uint64_t> numbers(const Metrics& metrics) {
  return {metrics.joined,     metrics.frames_sent, metrics.frames_received, metrics.bytes_sent,  metrics.bytes_received,
          metrics.duplicates, metrics.gaps,        metrics.reconnects,      metrics.queue_bytes, metrics.history_bytes};
}

Frame of_next_version(const Frame& frame) { return altered(frame, core::version_offset, std::byte{2}); }

}  // namespace

TEST_CASE("events frames are heard in their order, each peer's by its own sequences") {
  Node node;
  node.on_frame(events_frame(peer, 1, {{.key = "a"}, {.type = EventType::set, .key = "b", .version = 2}}));
  node.on_frame(events_frame(other, 1, {{.key = "c"}}));
  node.on_frame(events_frame(peer, 2, {{.type = EventType::lease_revoked, .key = "l"}}));
  CHECK(node.dispatches == 3);
  CHECK(node.machine.has_received());
  CHECK(node.heard() == Lines{"invalidate a", "set b v2", "invalidate c", "lease_revoked l"});
  CHECK_FALSE(node.machine.has_received());
  CHECK(node.machine.metrics().duplicates == 0);
}

TEST_CASE("own echoes and frames for others are not heard") {
  Node node;
  REQUIRE(node.publish("echo") == core::Submitted::accepted);
  const Frame own = node.sent.at(0).bytes;
  node.on_frame(own);
  node.on_frame(support::repair_frame(peer, self, own));
  node.on_frame(altered(events_frame(peer, 1, {{.key = "k"}}), core::destination_offset, std::byte{9}));
  CHECK(node.heard().empty());
  CHECK(node.dispatches == 0);
  node.on_frame(altered(events_frame(peer, 1, {{.key = "for us"}}), core::destination_offset, std::byte{1}));
  CHECK(node.heard() == Lines{"invalidate for us"});
}

TEST_CASE("a frame that was seen is dropped and counted") {
  Node node;
  const Frame first = events_frame(peer, 1, {{.key = "a"}}), second = events_frame(peer, 2, {{.key = "b"}});
  for (const Frame& frame : {first, first, second, first, second}) node.on_frame(frame);
  node.on_frame(support::repair_frame(peer, self, first));
  CHECK(node.heard() == Lines{"invalidate a", "invalidate b"});
  CHECK(node.machine.metrics().duplicates == 4);
}

TEST_CASE("the largest sequence is a sequence") {
  Node node;
  node.listening = false;
  constexpr auto last = ~std::uint64_t{0};
  node.on_frame(events_frame(peer, last - 1, {{.key = "a"}}));
  node.on_frame(events_frame(peer, last, {{.key = "b"}}));
  node.on_frame(events_frame(peer, last, {{.key = "b"}}));
  CHECK(node.heard() == Lines{"invalidate a", "invalidate b"});
  CHECK(node.machine.metrics().duplicates == 1);
  CHECK(node.machine.metrics().gaps == 0);
}

TEST_CASE("a receive queue that is full joins, and joins up to a resync, overflow") {
  auto options = roomy();
  options.queue_bytes = 8 * kib;
  options.pending_bytes = 8 * kib;
  Node node{options};
  std::uint64_t sequence = 0;
  for (int i = 0; i != 1'000; ++i) node.on_frame(events_frame(peer, ++sequence, {{.key = key_of_size(100, i)}}));
  CHECK(node.machine.metrics().queue_bytes <= options.queue_bytes + options.pending_bytes);
  CHECK(node.machine.metrics().joined > 0);
  const Lines lines = node.heard();
  REQUIRE(std::ranges::find(lines, "resync: overflow") != lines.end());
  CHECK(lines.front() == "invalidate " + key_of_size(100, 0));  // what had room is heard first, whole
  int next = 999;
  for (auto line = lines.rbegin(); *line != "resync: overflow"; ++line, --next) {
    CHECK(*line == "invalidate " + key_of_size(100, next));  // and nothing after the resync is missing
  }
  CHECK(node.machine.metrics().queue_bytes == 0);
}

TEST_CASE("a frame of another version is a resync, at most once a heartbeat interval, and none goes without") {
  Node node;
  const Frame future = of_next_version(events_frame(peer, 1, {{.key = "k"}}));
  node.on_frame(future);
  CHECK(node.heard() == Lines{"resync: incompatible"});
  node.pass(500ms);
  node.on_frame(future);
  node.pass(499ms);
  node.on_frame(future);
  CHECK(node.heard().empty());
  node.pass(1ms);
  CHECK(node.heard() == Lines{"resync: incompatible"});
  node.pass(1min);
  CHECK(node.heard().empty());
  node.on_frame(future);
  CHECK(node.heard() == Lines{"resync: incompatible"});
  CHECK(node.machine.metrics().invalid_frames == 4);
}

TEST_CASE("a frame of another version in our own name, or for another node, is nobody's resync") {
  Node node;
  const Frame future = of_next_version(events_frame(peer, 1, {{.key = "k"}}));
  node.on_frame(altered(future, core::destination_offset, std::byte{9}));
  node.on_frame(of_next_version(support::heartbeat_frame(self, {.number = 1})));
  CHECK(node.heard().empty());
  node.on_frame(altered(future, core::destination_offset, std::byte{1}));
  CHECK(node.heard() == Lines{"resync: incompatible"});
}

TEST_CASE("a publish_only node hears no resync of an interruption") {
  auto options = roomy();
  options.publish_only = true;
  Node node{options, false};
  node.hears_itself = false;  // nor anybody else
  node.on_ready(1);
  node.on_interrupted();
  node.pass(1h);
  CHECK(node.staleness() == 1h);
  node.on_ready(2);
  node.pass(1h);
  CHECK(node.heard().empty());
  CHECK(node.machine.health(node.now).connected);
  CHECK(node.staleness() == 0s);
}

TEST_CASE("what a broker lost for good is a resync, interrupted, for whoever listens, and for nobody else") {
  const bool listens = GENERATE(true, false);
  Node node;
  node.join();
  node.on_interrupted();
  node.machine.on_lost(listens);
  node.on_ready(2);
  node.join();
  CHECK(node.heard() == (listens ? Lines{"resync: interrupted"} : Lines{}));
}

// --- bytes that are no frame

TEST_CASE("bytes that are no frame change a counter and nothing else") {
  Node node;
  node.join();
  node.on_frame(events_frame(peer, 1, {{.key = "a"}}));
  node.on_frame(
      support::heartbeat_frame(peer, {.number = 1, .last_sequence = 1, .oldest_sequence = 1, .interval = 1h}));
  const auto before = numbers(node.machine.metrics());
  const int dispatches = node.dispatches;
  const std::vector<Frame> whole{
      events_frame(peer, 2, {{.key = "key"}, {.key = "other", .version = 300}}),
      support::heartbeat_frame(peer, {.answer_me = true, .goodbye = true, .number = 9, .last_sequence = 8}),
      support::acknowledgement_frame(peer, self, {{peer, 1, 0, 1, core::AcknowledgementStatus::requested}}),
      support::repair_request_frame(peer, self, {{1, 1}}),
      support::repair_frame(peer, self, events_frame(peer, 7, {{.key = "key"}}))};
  std::uint64_t sent = 0;
  for (const Frame& frame : whole) {
    for (std::size_t size = 0; size != frame.size(); ++size, ++sent) node.on_frame(std::span{frame}.first(size));
    for (std::size_t bit = 0; bit != frame.size() * 8; ++bit, ++sent) {
      Frame flipped = frame;
      flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      node.on_frame(flipped);
    }
  }
  CHECK(node.machine.metrics().invalid_frames == sent);
  CHECK(numbers(node.machine.metrics()) == before);
  CHECK(node.dispatches == dispatches);
  CHECK(node.machine.peers(node.now).size() == 1);
  CHECK(node.heard() == Lines{"invalidate a"});
  node.on_frame(whole[0]);
  CHECK(node.heard() == Lines{"invalidate key", "invalidate other v300"});
}

TEST_CASE("a body that does not parse is no frame, however right its checksum") {
  Node node;
  Frame frame = events_frame(peer, 1, {{.key = "first"}, {.key = "second"}});
  frame[core::events_header_bytes + 1 + 1 + 5 + 1] = std::byte{100};  // the second key is longer than the frame
  core::seal_frame(frame);
  node.on_frame(frame);
  CHECK(node.machine.metrics().invalid_frames == 1);
  node.on_frame(events_frame(peer, 1, {}));
  CHECK(node.heard().empty());
  CHECK(node.machine.metrics().invalid_frames == 1);
  CHECK(node.machine.metrics().gaps == 0);
}
