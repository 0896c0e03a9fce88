// The publisher's half of the machine, driven by hand: sending, confirmations, reconnects, room, flushes, control
// frames.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/control_frames.hpp"
#include "support/frames.hpp"
#include "support/keys.hpp"
#include "support/machine.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::SendWindow, core::Submitted;
using support::events_frame, support::Frame, support::heartbeat_frame, support::key_of_size, support::kib, support::Lines, support::lines_of, support::Node,
    support::roomy, support::Sent;

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
  auto options = roomy();
  options.history_bytes = 2048 * kib;
  Node node{options};
  for (int i = 0; i != 8; ++i) REQUIRE(node.submit({.key = key_of_size(100'000, i)}, false) == Submitted::accepted);
  CHECK(node.sent.size() == 6);  // the sixth took it above 512 KiB
}

TEST_CASE("a frame is never above what the broker takes") {
  Node node{roomy(), false};
  node.on_ready(1, 4 * kib);
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

TEST_CASE("a frame that is confirmed while it is still being read stays as it is until the next action") {
  auto options = roomy();
  options.history_bytes = 64 * kib;
  Node node{options};
  node.join();
  const std::string large = key_of_size(20 * kib, 0);
  REQUIRE(node.machine.submit({.key = large}, false) == Submitted::accepted);
  const auto action = node.machine.next_action(node.now);
  REQUIRE(action.sequence == 1);
  node.machine.on_confirmed(1);
  int accepted = 0;
  while (node.machine.submit({.key = key_of_size(500, accepted)}, false) == Submitted::accepted) ++accepted;
  CHECK(accepted > 0);
  CHECK(node.machine.confirmed() == 0);
  CHECK((lines_of(action.bytes) == Lines{"invalidate " + large}));

  using Kind = core::Action::Kind;
  std::vector<Kind> kinds;
  while (kinds.empty() || kinds.back() != Kind::none) kinds.push_back(node.machine.next_action(node.now).kind);
  CHECK(std::ranges::count(kinds, Kind::room) == 1);
  CHECK(node.machine.confirmed() == 1);
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
  node.on_ready(2, 4 * kib);
  CHECK(node.publish("after") == Submitted::accepted);
  for (std::uint64_t next = 1; next <= 3; ++next) node.on_confirmed(next);
  Lines all;
  for (const Sent& frame : node.sent) std::ranges::copy(lines_of(frame.bytes), std::back_inserter(all));
  CHECK(all == Lines{"invalidate before", "resync: overflow", "invalidate after"});
}

TEST_CASE("a frame that was not confirmed and that the broker takes no longer is lost, and said to be") {
  Node node;
  const std::size_t before = node.sent.size();
  CHECK(node.publish("small") == Submitted::accepted);
  CHECK(node.publish(std::string(10 * kib, 'x')) == Submitted::accepted);
  REQUIRE(node.sent.size() == before + 1);  // the large one waits behind it
  node.on_confirmed(1);
  node.on_interrupted();
  node.on_ready(2, 4 * kib);
  CHECK(node.publish("after") == Submitted::accepted);
  REQUIRE(node.sent.size() == before + 3);
  CHECK(lines_of(node.sent[before + 2].bytes) == Lines{"resync: overflow"});  // also for who has not met this node yet
  CHECK(node.sent[before + 2].sequence == 3);
  node.on_confirmed(3);
  CHECK(node.machine.confirmed() == 3);
  REQUIRE(node.sent.size() == before + 4);
  CHECK(lines_of(node.sent[before + 3].bytes) == Lines{"invalidate after"});
}

TEST_CASE("under a limit below any frame nothing is sent, and nothing is lost") {
  Node node;
  node.on_interrupted();
  CHECK(node.publish("k") == Submitted::accepted);
  node.on_ready(2, 10);
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

// --- control frames

TEST_CASE("control frames carry the session and the last events frame before them, and are not confirmed") {
  Node node;
  REQUIRE(node.heartbeats().size() == 1);
  CHECK(node.heartbeats()[0].session == 1);
  CHECK(node.heartbeats()[0].sequence == 0);
  CHECK(node.publish("k") == Submitted::accepted);
  node.pass(20ms);
  REQUIRE(node.heartbeats().size() == 2);
  CHECK(node.heartbeats()[1].sequence == 1);
  CHECK(support::heartbeat_of(node.heartbeats()[1]).last_sequence == 1);
  CHECK(node.machine.confirmed() == 0);
}

TEST_CASE("a session begins with its hello, then what waited goes") {
  Node node{roomy(), false};
  CHECK(node.publish("early") == Submitted::accepted);
  node.on_ready(1);
  REQUIRE(node.wire.size() == 2);
  CHECK(node.wire[0].type == core::FrameType::heartbeat);
  CHECK(support::heartbeat_of(node.wire[0]).answer_me);
  CHECK(node.wire[1].type == core::FrameType::events);
}

TEST_CASE("nothing is sent while disconnected, however much time passes") {
  Node node;
  node.join();
  node.on_interrupted();
  const std::size_t before = node.wire.size();
  CHECK(node.publish("k") == Submitted::accepted);
  node.pass(1h);
  CHECK(node.wire.size() == before);
}

TEST_CASE("a goodbye is said three times, and nothing after it") {
  Node node;
  node.join();
  const std::size_t before = node.others.size();
  node.machine.say_goodbye();
  node.act();
  const auto goodbyes = node.heartbeats(before);
  REQUIRE(goodbyes.size() == 3);
  for (std::size_t i = 0; i != 3; ++i) {
    CHECK(support::heartbeat_of(goodbyes[i]).goodbye);
    CHECK_FALSE(support::heartbeat_of(goodbyes[i]).answer_me);
    CHECK(support::heartbeat_of(goodbyes[i]).number == support::heartbeat_of(goodbyes[0]).number + i);
  }
  node.pass(1h);
  CHECK(node.heartbeats(before).size() == 3);
}

TEST_CASE("a goodbye that could not be said is said in the next session, instead of a hello") {
  Node node;
  node.on_interrupted();
  node.machine.say_goodbye();
  node.act();
  const std::size_t before = node.others.size();
  node.on_ready(2);
  REQUIRE(node.heartbeats(before).size() == 3);
  CHECK(support::heartbeat_of(node.heartbeats(before)[0]).goodbye);
}

TEST_CASE("a first session is joined once the hello came back and answers had time, twice; later ones when they had once") {
  Node node{roomy(), false};
  node.hears_itself = false;
  CHECK_FALSE(node.machine.joined());
  node.on_ready(1);
  node.pass(10ms);
  CHECK_FALSE(node.machine.joined());
  node.on_frame(node.heartbeats()[0].bytes);  // after 10 ms: four round trips are 40 ms
  node.hears_itself = true;
  node.pass(79ms);
  CHECK_FALSE(node.machine.joined());
  node.pass(1ms);
  CHECK(node.machine.joined());

  Node quick;
  quick.pass(19ms);
  CHECK_FALSE(quick.machine.joined());
  quick.pass(1ms);
  CHECK(quick.machine.joined());
  quick.on_interrupted();
  CHECK_FALSE(quick.machine.joined());
  quick.on_ready(2);
  quick.pass(19ms);
  CHECK_FALSE(quick.machine.joined());
  quick.pass(1ms);
  CHECK(quick.machine.joined());
}

TEST_CASE("no frame is larger than the least that a broker must take") {
  auto options = roomy();
  options.name = options.zone = std::string(core::max_name_bytes, 'n');
  options.max_awaits = 65'536;
  Node node{options, false};
  node.on_ready(1, least_frame_bytes);
  node.pass(1s);
  const std::string longest(core::max_name_bytes, 'm');
  constexpr std::uint64_t far = std::uint64_t{1} << 62U;
  for (std::uint64_t id = 2; id != 8; ++id) {
    node.on_frame(heartbeat_frame(NodeId{id}, {.number = far, .last_sequence = far, .oldest_sequence = far,
                                               .interval = 1h, .name = longest, .zone = longest}));
  }
  node.pass(1s);
  std::size_t before = node.others.size();
  node.handler = [](std::string_view key) { return key == "a" ? Node::Status::applied : Node::Status::failed; };
  for (std::uint64_t i = 1; i != 64; ++i) {
    node.on_frame(events_frame(NodeId{2}, far + 2 * i, {{.key = "a", .awaited = true}, {.key = "b", .awaited = true}}));
  }
  (void)node.heard();
  node.pass(1s);
  REQUIRE(node.control(core::FrameType::repair_request, before).size() > 1);
  REQUIRE(node.entries(false, before).size() == 126);
  std::vector<std::string> keys;
  for (int i = 0; i != 2'000; ++i) keys.push_back(std::to_string(i));
  node.await(keys, 3, 1h);
  for (int i = 0; i != 100; ++i) node.on_confirmed(node.sent.back().sequence);
  before = node.others.size();
  node.pass(2s);
  REQUIRE(node.control(core::FrameType::acknowledgement, before).size() > 1);
  before = node.others.size();
  node.on_frame(heartbeat_frame(NodeId{100}, {.answer_me = true, .greets = true, .number = 1, .hello = 12,
                                              .interval = 20ms, .name = longest, .zone = longest}));
  node.pass(1s);
  REQUIRE(node.control(core::FrameType::welcome, before).size() > 1);
  for (const Sent& frame : node.others) CHECK(frame.bytes.size() <= least_frame_bytes);
  for (const Sent& frame : node.sent) CHECK(frame.bytes.size() <= least_frame_bytes);
}
