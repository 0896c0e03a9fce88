// The machine of one node, driven by hand: what goes in, and what comes out as actions. No thread, no clock, no broker.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/frames.hpp"
#include "support/lines.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::Action, core::Protocol, core::ProtocolOptions, core::ReceiveQueue, core::SendWindow, core::Submitted,
    core::WireEvent;
using support::altered, support::events_frame, support::Frame, support::Lines;

namespace {

constexpr NodeId self{1}, peer{2}, other{3};
constexpr TimePoint start{1h};
constexpr std::size_t kib = 1024;

ProtocolOptions roomy() {
  return {.self = self,
          .heartbeat = 1s,
          .history_bytes = 1024 * kib,
          .queue_bytes = 256 * kib,
          .pending_bytes = 256 * kib,
          .max_peers = 16};
}

/// A frame that the machine handed over.
struct Sent {
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;
  Frame bytes;
};

/// What a frame carries, as lines.
Lines lines_of(Bytes frame) {
  core::FrameHeader header;
  core::EventsView events;
  if (core::decode_header(frame, header) != core::FrameError::ok) return {"no frame"};
  if (core::decode_events(header, events) != core::FrameError::ok) return {"no events"};
  Lines lines;
  WireEvent event;
  while (events.next(event)) {
    lines.push_back(event.type == EventType::resync
                        ? support::line_of(Resync{event.cause, header.origin})
                        : support::line_of(Event{event.type, event.key, event.version, header.origin}));
  }
  return lines;
}

/// The machine, and everything it wanted done.
struct Node {
  explicit Node(const ProtocolOptions& options = roomy(), bool ready = true) : machine{options} {
    if (ready) on_ready(1);
  }

  void on_ready(std::uint64_t session) {
    machine.on_ready(session, core::max_frame_bytes);
    act();
  }
  void on_interrupted(TimePoint now = start) {
    machine.on_interrupted(now);
    act();
  }
  void on_confirmed(std::uint64_t sequence) {
    machine.on_confirmed(sequence);
    act();
  }
  void on_frame(Bytes frame, TimePoint now = start) {
    machine.on_frame(frame, now);
    act();
  }
  Submitted submit(const WireEvent& event, bool may_join = true) {
    const auto result = machine.submit(event, may_join);
    act();
    return result;
  }
  Submitted publish(std::string_view key, std::uint64_t version = 0) {
    return submit({.key = key, .version = version});
  }

  void act() {
    for (auto action = machine.next_action(); action.kind != Action::Kind::none; action = machine.next_action()) {
      if (action.kind == Action::Kind::send) {
        sent.push_back({action.session, action.sequence, {action.bytes.begin(), action.bytes.end()}});
      }
      rooms += action.kind == Action::Kind::room ? 1 : 0;
      dispatches += action.kind == Action::Kind::dispatch ? 1 : 0;
      healths += action.kind == Action::Kind::health ? 1 : 0;
    }
  }

  /// Takes everything that waits for subscribers.
  Lines heard() {
    Lines lines;
    ReceiveQueue::Item item;
    while (machine.take(item)) {
      switch (item.kind) {
        case ReceiveQueue::Item::Kind::frame: std::ranges::copy(lines_of(item.frame), std::back_inserter(lines)); break;
        case ReceiveQueue::Item::Kind::resync: lines.push_back(support::line_of(item.resync)); break;
        case ReceiveQueue::Item::Kind::event:
          lines.push_back(
              support::line_of(Event{item.event.type, item.event.key, item.event.version, item.event.origin}));
          break;
      }
      machine.release();
      act();
    }
    return lines;
  }

  Protocol machine;
  std::vector<Sent> sent;
  int rooms = 0, dispatches = 0, healths = 0;
};

/// All counters as numbers, so that states can be compared.
std::vector<std::uint64_t> numbers(const Metrics& metrics) {
  std::vector<std::uint64_t> all{
      metrics.joined,     metrics.frames_sent, metrics.frames_received, metrics.bytes_sent,  metrics.bytes_received,
      metrics.duplicates, metrics.gaps,        metrics.reconnects,      metrics.queue_bytes, metrics.history_bytes};
  all.insert(all.end(), metrics.resyncs.begin(), metrics.resyncs.end());
  return all;
}

std::string key_of_size(std::size_t size, int number) {
  std::string key = std::to_string(number);
  return key + std::string(size - key.size(), '.');
}

}  // namespace

// --- sending

TEST_CASE("a lone event is sent at once, and nothing before the transport is ready") {
  Node node{roomy(), false};
  CHECK(node.publish("early") == Submitted::accepted);
  CHECK(node.sent.empty());
  node.on_ready(1);
  REQUIRE(node.sent.size() == 1);
  CHECK(lines_of(node.sent[0].bytes) == Lines{"invalidate early"});

  Node ready;
  CHECK(ready.publish("k") == Submitted::accepted);
  REQUIRE(ready.sent.size() == 1);
  CHECK(ready.sent[0].session == 1);
  CHECK(ready.sent[0].sequence == 1);
}

TEST_CASE("what is submitted while a frame is unconfirmed leaves as one frame, at its confirmation") {
  Node node;
  CHECK(node.publish("first") == Submitted::accepted);
  CHECK(node.publish("second") == Submitted::accepted);
  CHECK(node.submit({.type = EventType::set, .key = "third", .version = 3}) == Submitted::accepted);
  CHECK(node.sent.size() == 1);
  node.on_confirmed(1);
  REQUIRE(node.sent.size() == 2);
  CHECK(node.sent[1].sequence == 2);
  CHECK(lines_of(node.sent[1].bytes) == Lines{"invalidate second", "set third v3"});
  node.on_confirmed(2);
  CHECK(node.sent.size() == 2);
}

TEST_CASE("sequences count 1, 2, 3, each frame its own") {
  Node node;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    CHECK(node.publish("k", i) == Submitted::accepted);
    node.on_confirmed(i);
  }
  REQUIRE(node.sent.size() == 5);
  for (std::uint64_t i = 1; i <= 5; ++i) {
    const Sent& frame = node.sent[i - 1];
    CHECK(frame.sequence == i);
    CHECK(core::load_le<std::uint64_t>(frame.bytes.data() + core::header_bytes) == i);
    CHECK(lines_of(frame.bytes) == Lines{"invalidate k v" + std::to_string(i)});
  }
}

TEST_CASE("full frames go while the window is open: 16 frames, and 512 KiB with one frame's excess") {
  Node node;
  std::uint64_t submitted = 0;
  for (int i = 0; i != 700; ++i, ++submitted) {
    REQUIRE(node.submit({.key = key_of_size(1'000, i)}, false) == Submitted::accepted);
  }
  CHECK(node.sent.size() == SendWindow::max_frames);
  std::size_t bytes = 0;
  for (std::size_t i = 1; i != node.sent.size(); ++i) {
    CHECK(node.sent[i].bytes.size() > SendWindow::frame_bytes - 1'100);
    CHECK(node.sent[i].bytes.size() <= SendWindow::frame_bytes);
    bytes += node.sent[i].bytes.size();
  }
  CHECK(bytes < SendWindow::max_bytes + SendWindow::frame_bytes);

  node.on_confirmed(1);
  CHECK(node.sent.size() == SendWindow::max_frames + 1);
  node.on_confirmed(4);  // confirms 2, 3 and 4
  CHECK(node.sent.size() == SendWindow::max_frames + 4);
  for (std::uint64_t next = 5; next <= node.sent.size(); ++next) node.on_confirmed(next);

  Lines all;
  for (const Sent& frame : node.sent) std::ranges::copy(lines_of(frame.bytes), std::back_inserter(all));
  REQUIRE(all.size() == submitted);
  for (int i = 0; i != 700; ++i) CHECK(all[static_cast<std::size_t>(i)] == "invalidate " + key_of_size(1'000, i));
}

TEST_CASE("frames above 32 KiB fill the window by their bytes") {
  Node node;
  for (int i = 0; i != 8; ++i) REQUIRE(node.submit({.key = key_of_size(100'000, i)}, false) == Submitted::accepted);
  CHECK(node.sent.size() == 6);  // the sixth took it above 512 KiB
}

TEST_CASE("a frame is never above what the broker takes") {
  Node node{roomy(), false};
  node.machine.on_ready(1, 4 * kib);
  for (int i = 0; i != 100; ++i) REQUIRE(node.publish(key_of_size(500, i)) == Submitted::accepted);
  for (std::uint64_t next = 1; next <= node.sent.size(); ++next) node.on_confirmed(next);
  CHECK(node.sent.size() >= 100 * 500 / (4 * kib));
  for (const Sent& frame : node.sent) CHECK(frame.bytes.size() <= 4 * kib);
  CHECK(node.publish(std::string(4 * kib, 'x')) == Submitted::too_large);
}

TEST_CASE("a confirmation of what was not sent confirms nothing more than was") {
  Node node;
  CHECK(node.publish("a") == Submitted::accepted);
  CHECK(node.publish("b") == Submitted::accepted);
  node.on_confirmed(1'000);
  CHECK(node.machine.confirmed() == 1);
  REQUIRE(node.sent.size() == 2);
  node.on_confirmed(1);
  CHECK(node.machine.confirmed() == 1);
}

TEST_CASE("an equal latest event of a key is not sent twice, and counts as joined") {
  Node node;
  CHECK(node.publish("first") == Submitted::accepted);
  for (int i = 0; i != 3; ++i) CHECK(node.publish("k") == Submitted::accepted);
  CHECK(node.publish("k", 2) == Submitted::accepted);
  CHECK(node.publish("k") == Submitted::accepted);
  node.on_confirmed(1);
  REQUIRE(node.sent.size() == 2);
  CHECK(lines_of(node.sent[1].bytes) == Lines{"invalidate k", "invalidate k v2", "invalidate k"});
  CHECK(node.machine.metrics().joined == 2);
}

// --- interruptions, seen by the publisher

TEST_CASE("unconfirmed frames are sent again byte for byte, in order, before anything new") {
  Node node;
  for (int i = 0; i != 120; ++i) CHECK(node.publish(key_of_size(1'000, i)) == Submitted::accepted);
  const auto before = node.sent;
  REQUIRE(before.size() >= 3);
  node.on_confirmed(1);
  const std::size_t handed_over = node.sent.size();
  node.on_interrupted();
  CHECK(node.sent.size() == handed_over);
  CHECK(node.publish("while away") == Submitted::accepted);
  CHECK(node.sent.size() == handed_over);

  node.on_ready(2);
  std::vector<Sent> again(node.sent.begin() + static_cast<std::ptrdiff_t>(handed_over), node.sent.end());
  REQUIRE(again.size() >= handed_over - 1);
  for (std::size_t i = 0; i != handed_over - 1; ++i) {
    CHECK(again[i].session == 2);
    CHECK(again[i].sequence == node.sent[i + 1].sequence);
    CHECK((again[i].bytes == node.sent[i + 1].bytes));
  }
  for (std::uint64_t next = 2; next <= again.back().sequence + 2; ++next) node.on_confirmed(next);
  CHECK(lines_of(node.sent.back().bytes).back() == "invalidate while away");
}

TEST_CASE("confirmed frames are not sent again") {
  Node node;
  CHECK(node.publish("k") == Submitted::accepted);
  node.on_confirmed(1);
  node.on_interrupted();
  node.on_ready(2);
  CHECK(node.sent.size() == 1);
}

TEST_CASE("what is submitted while disconnected joins, and leaves in order") {
  Node node;
  node.on_interrupted();
  CHECK(node.submit({.key = "a", .version = 1}, false) == Submitted::accepted);  // never refused while disconnected
  CHECK(node.publish("b", 1) == Submitted::accepted);
  CHECK(node.submit({.type = EventType::set, .key = "a", .version = 3}) == Submitted::accepted);
  CHECK(node.submit({.type = EventType::lease_revoked, .key = "a"}) == Submitted::accepted);
  CHECK(node.machine.metrics().joined == 1);
  node.on_ready(2);
  REQUIRE(node.sent.size() == 1);
  CHECK(lines_of(node.sent[0].bytes) == Lines{"invalidate b v1", "invalidate a v3", "lease_revoked a"});
  CHECK(node.sent[0].sequence == 1);
}

TEST_CASE("what was in the ring before the interruption leaves before what joined during it") {
  Node node;
  CHECK(node.publish("sent") == Submitted::accepted);
  CHECK(node.publish("batched") == Submitted::accepted);
  node.on_interrupted();
  CHECK(node.publish("away") == Submitted::accepted);
  node.on_ready(2);
  for (std::uint64_t next = 1; next <= 3; ++next) node.on_confirmed(next);
  Lines all;
  for (const Sent& frame : node.sent) std::ranges::copy(lines_of(frame.bytes), std::back_inserter(all));
  CHECK(all == Lines{"invalidate sent", "invalidate sent", "invalidate batched", "invalidate away"});
}

TEST_CASE("top is a sequenced event, alone and in place of what overflowed") {
  Node node;
  CHECK(node.submit({.type = EventType::resync}) == Submitted::accepted);
  REQUIRE(node.sent.size() == 1);
  CHECK(lines_of(node.sent[0].bytes) == Lines{"resync: requested"});
  node.on_confirmed(1);

  node.on_interrupted();
  for (int i = 0; i != 2'000; ++i) CHECK(node.publish(key_of_size(1'000, i)) == Submitted::accepted);
  CHECK(node.publish("last") == Submitted::accepted);
  CHECK(node.machine.metrics().joined >= 1'000);
  node.on_ready(2);
  REQUIRE(node.sent.size() >= 2);
  CHECK(node.sent[1].sequence == 2);
  CHECK(lines_of(node.sent[1].bytes).front() == "resync: overflow");
  for (std::uint64_t next = 2; next <= node.sent.size(); ++next) node.on_confirmed(next);
  CHECK(lines_of(node.sent.back().bytes).back() == "invalidate last");
}

// --- room

TEST_CASE("a full ring has no room until a confirmation makes some") {
  auto options = roomy();
  options.history_bytes = 64 * kib;
  Node node{options};
  int accepted = 0;
  while (node.submit({.key = key_of_size(1'000, accepted)}, false) == Submitted::accepted) ++accepted;
  CHECK(accepted > 40);
  CHECK(accepted < 64);
  CHECK(node.submit({.key = "small but too late"}, false) == Submitted::accepted);  // a smaller event still fits
  CHECK(node.submit({.key = key_of_size(1'000, 1'000)}, false) == Submitted::no_room);
  const int rooms = node.rooms;
  node.on_confirmed(node.sent.back().sequence);
  CHECK(node.rooms == rooms + 1);
  CHECK(node.submit({.key = key_of_size(1'000, 1'000)}, false) == Submitted::accepted);
}

TEST_CASE("who may join is never refused, and what joined goes before what is newer") {
  auto options = roomy();
  options.history_bytes = 64 * kib;
  Node node{options};
  int number = 0;
  while (node.submit({.key = key_of_size(1'000, number)}, false) == Submitted::accepted) ++number;
  CHECK(node.submit({.key = key_of_size(1'000, number)}, true) == Submitted::accepted);
  CHECK(node.submit({.key = "newer"}, false) == Submitted::no_room);  // it must not overtake
  CHECK(node.submit({.key = "newer"}, true) == Submitted::accepted);
  CHECK_FALSE(node.machine.flush_point().has_value());

  for (std::uint64_t next = 1; next <= node.sent.size(); ++next) node.on_confirmed(next);
  Lines all;
  for (const Sent& frame : node.sent) std::ranges::copy(lines_of(frame.bytes), std::back_inserter(all));
  REQUIRE(all.size() == static_cast<std::size_t>(number) + 2);
  CHECK(all.back() == "invalidate newer");
  CHECK(all[all.size() - 2] == "invalidate " + key_of_size(1'000, number));
  CHECK(node.machine.confirmed() == node.machine.flush_point());
}

TEST_CASE("an interruption is room: who waited may join now") {
  Node node;
  const int rooms = node.rooms;
  node.on_interrupted();
  CHECK(node.rooms == rooms + 1);
}

TEST_CASE("an event that no frame can hold is too large, connected or not") {
  auto options = roomy();
  options.history_bytes = 64 * kib;
  Node node{options};
  const std::string large(100 * kib, 'x');
  CHECK_FALSE(node.machine.fits({.key = large}));
  CHECK(node.publish(large) == Submitted::too_large);
  node.on_interrupted();
  CHECK(node.publish(large) == Submitted::too_large);
  CHECK(node.machine.fits({.key = "small"}));
}

TEST_CASE("what a smaller limit of frames no longer lets through is joined up to a resync") {
  Node node;
  node.on_interrupted();
  CHECK(node.publish("before") == Submitted::accepted);
  CHECK(node.publish(std::string(10 * kib, 'x')) == Submitted::accepted);
  CHECK(node.publish("covered") == Submitted::accepted);
  node.machine.on_ready(2, 4 * kib);
  node.act();
  CHECK(node.publish("after") == Submitted::accepted);
  for (std::uint64_t next = 1; next <= 3; ++next) node.on_confirmed(next);
  Lines all;
  for (const Sent& frame : node.sent) std::ranges::copy(lines_of(frame.bytes), std::back_inserter(all));
  CHECK(all == Lines{"invalidate before", "resync: overflow", "invalidate after"});
}

TEST_CASE("under a limit below any frame nothing is sent, and nothing is lost") {
  Node node;
  node.on_interrupted();
  CHECK(node.publish("k") == Submitted::accepted);
  node.machine.on_ready(2, 10);
  node.act();
  CHECK(node.sent.empty());
  CHECK_FALSE(node.machine.flush_point().has_value());
  node.on_interrupted();
  node.on_ready(3);
  REQUIRE(node.sent.size() == 1);
  CHECK(lines_of(node.sent[0].bytes) == Lines{"resync: overflow"});
}

TEST_CASE("the flush point is the sequence that the latest event has, or will have") {
  Node node;
  CHECK(node.machine.flush_point() == 0);
  CHECK(node.publish("sent") == Submitted::accepted);
  CHECK(node.machine.flush_point() == 1);
  CHECK(node.publish("in the open frame") == Submitted::accepted);
  CHECK(node.machine.flush_point() == 2);
  node.on_confirmed(1);
  CHECK(node.machine.flush_point() == 2);
  CHECK(node.machine.confirmed() == 1);
  node.on_confirmed(2);
  CHECK(node.machine.confirmed() == 2);

  node.on_interrupted();
  CHECK(node.machine.flush_point() == 2);
  CHECK(node.publish("joined") == Submitted::accepted);
  CHECK_FALSE(node.machine.flush_point().has_value());  // nobody knows its sequence yet
  node.on_ready(2);
  CHECK(node.machine.flush_point() == 3);
}

// --- receiving

TEST_CASE("events frames are heard in their order, by one dispatch") {
  Node node;
  node.on_frame(events_frame(peer, 1, {{.key = "a"}, {.type = EventType::set, .key = "b", .version = 2}}));
  node.on_frame(events_frame(peer, 2, {{.type = EventType::lease_revoked, .key = "l"}}));
  CHECK(node.dispatches == 2);
  CHECK(node.machine.has_received());
  CHECK(node.heard() == Lines{"invalidate a", "set b v2", "lease_revoked l"});
  CHECK_FALSE(node.machine.has_received());
  CHECK(node.machine.metrics().frames_received == 2);
}

TEST_CASE("own echoes and frames for others are not heard") {
  Node node;
  node.on_frame(events_frame(self, 1, {{.key = "echo"}}));
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
  CHECK(node.heard() == Lines{"invalidate a", "invalidate b"});
  CHECK(node.machine.metrics().duplicates == 3);
}

TEST_CASE("each peer has its own sequences") {
  Node node;
  node.on_frame(events_frame(peer, 1, {{.key = "a"}}));
  node.on_frame(events_frame(other, 1, {{.key = "b"}}));
  node.on_frame(events_frame(peer, 2, {{.key = "c"}}));
  CHECK(node.heard() == Lines{"invalidate a", "invalidate b", "invalidate c"});
  CHECK(node.machine.metrics().duplicates == 0);
}

TEST_CASE("a missing sequence is a resync, unrepairable, before the frame that showed it") {
  Node node;
  node.on_frame(events_frame(peer, 1, {{.key = "one"}}));
  node.on_frame(events_frame(peer, 4, {{.key = "four"}}));
  CHECK(node.heard() == Lines{"invalidate one", "resync: unrepairable", "invalidate four"});
  CHECK(node.machine.metrics().gaps == 2);
  node.on_frame(events_frame(peer, 3, {{.key = "three"}}));  // the resync covered it
  node.on_frame(events_frame(peer, 5, {{.key = "five"}}));
  CHECK(node.heard() == Lines{"invalidate five"});
  CHECK(node.machine.metrics().gaps == 2);
  CHECK(node.machine.metrics().duplicates == 1);
}

TEST_CASE("an interruption is one resync, when the next session begins") {
  Node node;
  CHECK(node.heard().empty());  // the first session is none
  node.on_interrupted();
  CHECK(node.heard().empty());
  node.on_ready(2);
  CHECK(node.heard() == Lines{"resync: interrupted"});
  CHECK(node.machine.metrics().reconnects == 1);
  node.on_interrupted();
  node.on_ready(3);
  node.on_interrupted();
  node.on_ready(4);
  CHECK(node.heard() == Lines{"resync: interrupted"});  // nobody had heard the first: they joined
  CHECK(node.machine.metrics().reconnects == 3);
}

TEST_CASE("what waits is heard before the resync of an interruption, what comes after is heard after") {
  Node node;
  node.on_frame(events_frame(peer, 1, {{.key = "before"}}));
  node.on_interrupted();
  node.on_ready(2);
  node.on_frame(events_frame(peer, 2, {{.key = "after"}}));
  CHECK(node.heard() == Lines{"invalidate before", "resync: interrupted", "invalidate after"});
}

TEST_CASE("a publish_only node hears no resync of an interruption") {
  auto options = roomy();
  options.publish_only = true;
  Node node{options};
  node.on_interrupted();
  node.on_ready(2);
  CHECK(node.heard().empty());
  CHECK(node.machine.health(start + 1h).connected);
  CHECK(node.machine.health(start + 1h).staleness == 0s);
}

TEST_CASE("a first contact late in a peer's life is a loss only where messages get lost") {
  auto options = roomy();
  options.lossless_sessions = GENERATE(true, false);
  Node node{options};
  node.on_frame(events_frame(peer, 7, {{.key = "seven"}}));
  node.on_frame(events_frame(other, 1, {{.key = "one"}}));
  if (options.lossless_sessions) {
    CHECK(node.heard() == Lines{"invalidate seven", "invalidate one"});
  } else {
    CHECK(node.heard() == Lines{"resync: joined", "invalidate seven", "invalidate one"});
  }
  CHECK(node.machine.metrics().gaps == 0);
}

TEST_CASE("the table of peers is bounded: the one heard longest ago is forgotten") {
  auto options = roomy();
  options.lossless_sessions = false;  // a forgotten peer that returns late is then a resync: it shows
  options.max_peers = 2;
  Node node{options};
  node.on_frame(events_frame(NodeId{11}, 1, {{.key = "a"}}), start);
  node.on_frame(events_frame(NodeId{12}, 1, {{.key = "b"}}), start + 1s);
  node.on_frame(events_frame(NodeId{11}, 2, {{.key = "c"}}), start + 2s);
  node.on_frame(events_frame(NodeId{13}, 1, {{.key = "d"}}), start + 3s);  // forgets 12
  CHECK(node.heard() == Lines{"invalidate a", "invalidate b", "invalidate c", "invalidate d"});
  node.on_frame(events_frame(NodeId{11}, 3, {{.key = "e"}}), start + 4s);
  CHECK(node.heard() == Lines{"invalidate e"});
  node.on_frame(events_frame(NodeId{12}, 2, {{.key = "f"}}), start + 5s);
  CHECK(node.heard() == Lines{"resync: joined", "invalidate f"});
}

TEST_CASE("a frame of another version is a resync, at most once a heartbeat interval") {
  Node node;
  const Frame future = altered(events_frame(peer, 1, {{.key = "k"}}), core::version_offset, std::byte{2});
  node.on_frame(future, start);
  CHECK(node.heard() == Lines{"resync: incompatible"});
  node.on_frame(future, start + 500ms);
  node.on_frame(future, start + 999ms);
  CHECK(node.heard().empty());
  node.on_frame(future, start + 1s);
  CHECK(node.heard() == Lines{"resync: incompatible"});
  node.on_frame(future, start + 1'999ms);
  CHECK(node.heard().empty());
  CHECK(node.machine.metrics().invalid_frames == 5);
}

TEST_CASE("a frame of another version in our own name, or for another node, is nobody's resync") {
  Node node;
  const Frame future = altered(events_frame(peer, 1, {{.key = "k"}}), core::version_offset, std::byte{2});
  node.on_frame(altered(future, core::destination_offset, std::byte{9}));
  node.on_frame(altered(events_frame(self, 1, {{.key = "k"}}), core::version_offset, std::byte{2}));
  CHECK(node.heard().empty());
  node.on_frame(altered(future, core::destination_offset, std::byte{1}));
  CHECK(node.heard() == Lines{"resync: incompatible"});
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
  const auto resync = std::ranges::find(lines, "resync: overflow");
  REQUIRE(resync != lines.end());
  CHECK(lines.front() == "invalidate " + key_of_size(100, 0));  // what had room is heard first, whole
  int next = 999;
  for (auto line = lines.rbegin(); *line != "resync: overflow"; ++line, --next) {
    CHECK(*line == "invalidate " + key_of_size(100, next));  // and nothing after the resync is missing
  }
  CHECK(node.machine.metrics().queue_bytes == 0);
}

TEST_CASE("bytes that are no frame change a counter and nothing else") {
  Node node;
  node.on_frame(events_frame(peer, 1, {{.key = "a"}}));
  const auto before = numbers(node.machine.metrics());
  const Frame whole = events_frame(peer, 2, {{.key = "key"}, {.key = "other", .version = 300}});
  const int dispatches = node.dispatches;
  std::uint64_t sent = 0;
  for (std::size_t size = 0; size != whole.size(); ++size, ++sent) node.on_frame(std::span{whole}.first(size));
  for (std::size_t bit = 0; bit != whole.size() * 8; ++bit, ++sent) {
    Frame flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    node.on_frame(flipped);
  }
  CHECK(node.machine.metrics().invalid_frames == sent);
  CHECK(numbers(node.machine.metrics()) == before);
  CHECK(node.dispatches == dispatches);
  CHECK(node.heard() == Lines{"invalidate a"});
  node.on_frame(whole);
  CHECK(node.heard() == Lines{"invalidate key", "invalidate other v300"});
}

TEST_CASE("a body that does not parse is no frame, however right its checksum") {
  Node node;
  Frame frame = events_frame(peer, 1, {{.key = "first"}, {.key = "second"}});
  frame[core::events_header_bytes + 1 + 1 + 5 + 1] = std::byte{100};  // the second key is longer than the frame
  core::seal_frame(frame);
  node.on_frame(frame);
  node.on_frame(events_frame(peer, 1, {}));
  CHECK(node.heard().empty());
  CHECK(node.machine.metrics().invalid_frames == 1);
  CHECK(node.machine.metrics().gaps == 0);
}

TEST_CASE("the largest sequence is a sequence") {
  Node node;
  constexpr auto last = ~std::uint64_t{0};
  node.on_frame(events_frame(peer, last - 1, {{.key = "a"}}));
  node.on_frame(events_frame(peer, last, {{.key = "b"}}));
  node.on_frame(events_frame(peer, last, {{.key = "b"}}));
  CHECK(node.heard() == Lines{"invalidate a", "invalidate b"});
  CHECK(node.machine.metrics().duplicates == 1);
  CHECK(node.machine.metrics().gaps == 0);
}

// --- health

TEST_CASE("staleness counts from the interruption until its resync has been heard") {
  Node node;
  CHECK(node.machine.health(start).connected);
  CHECK(node.machine.health(start).staleness == 0s);
  const int healths = node.healths;

  node.on_interrupted(start);
  CHECK(node.healths == healths + 1);
  CHECK_FALSE(node.machine.connected());
  CHECK(node.machine.health(start + 3s).staleness == 3s);
  node.on_ready(2);
  CHECK(node.healths == healths + 2);
  CHECK(node.machine.health(start + 4s).connected);
  CHECK(node.machine.health(start + 4s).staleness == 4s);

  ReceiveQueue::Item item;
  REQUIRE(node.machine.take(item));
  CHECK(node.machine.health(start + 5s).staleness == 5s);  // the handlers are still running
  node.machine.release();
  node.act();
  CHECK(node.healths == healths + 3);
  CHECK(node.machine.health(start + 6s).staleness == 0s);
}

TEST_CASE("a second interruption before the first was heard of does not make the node younger") {
  Node node;
  node.on_interrupted(start);
  node.on_ready(2);
  node.on_interrupted(start + 5s);
  CHECK(node.machine.health(start + 6s).staleness == 6s);
}

TEST_CASE(
    "what was received before the interruption does not end the staleness, before or after the next session begins") {
  Node node;
  ReceiveQueue::Item item;
  for (std::uint64_t sequence = 1; sequence <= 2; ++sequence)
    node.on_frame(events_frame(peer, sequence, {{.key = "k"}}));
  node.on_interrupted(start);
  REQUIRE(node.machine.take(item));
  node.machine.release();
  CHECK(node.machine.health(start + 1s).staleness == 1s);
  REQUIRE(node.machine.take(item));
  node.machine.release();  // nothing waits any more, but nothing can arrive either
  CHECK(node.machine.health(start + 2s).staleness == 2s);

  node.on_frame(events_frame(peer, 3, {{.key = "k"}}));
  node.on_ready(2);
  REQUIRE(node.machine.take(item));
  node.machine.release();  // the resync still waits
  CHECK(node.machine.health(start + 3s).staleness == 3s);
  REQUIRE(node.machine.take(item));
  node.machine.release();
  CHECK(node.machine.health(start + 4s).staleness == 0s);
}
