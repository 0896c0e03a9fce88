// Acknowledgements, seen by a receiver: when it answers, what it remembers, and what it does about what it never had.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/core/receiving/outcome_memory.hpp>
#include <syncbus/core/wire/acknowledgement_outbox.hpp>

#include "support/catch.hpp"
#include "support/machine.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::Acknowledgement, core::AcknowledgementOutbox, core::AcknowledgementStatus, core::OutcomeMemory;
using support::acknowledgement_frame, support::events_frame, support::heartbeat_frame, support::kib, support::Lines,
    support::Node, support::roomy, support::Sent, support::start;
using Status = AcknowledgementStatus;
using Entries = std::vector<Acknowledgement>;

namespace {

constexpr NodeId peer{2}, other{3};

/// A node whose handlers run when the test says so, and a publisher that awaits.
struct Answering : Node {
  explicit Answering(const core::ProtocolOptions& options = roomy()) : Node{options} {
    join();
    on_frame(heartbeat_frame(peer, {.number = 1, .oldest_sequence = 1, .interval = 1h}));
  }
  void awaited(std::uint64_t sequence) { on_frame(frame(sequence)); }
  void ask(std::uint64_t sequence, std::uint32_t index = 0, std::uint32_t count = 1) {
    on_frame(acknowledgement_frame(peer, self, {{peer, sequence, index, count, Status::requested}}));
  }
  [[nodiscard]] static support::Frame frame(std::uint64_t sequence) {
    return events_frame(peer, sequence,
                        {{.key = "plain"}, {.key = "k", .awaited = true}, {.key = "l", .awaited = true}});
  }
};

}  // namespace

TEST_CASE("awaited events are answered once their handlers have returned, and only they") {
  Answering node;
  node.awaited(1);
  CHECK(node.entries(false).empty());
  REQUIRE(node.take());
  CHECK(node.entries(false).empty());  // a handler runs
  node.returned();
  CHECK(node.entries(false) == Entries{{peer, 1, 1, 2, Status::applied}});
  CHECK(node.control(core::FrameType::acknowledgement).back().destination == peer);
  CHECK(node.machine.metrics().acknowledgements_sent == 1);  // of one run
}

TEST_CASE("what is dispatched in one go is answered in one frame, at the latest a millisecond later") {
  Answering node;
  for (std::uint64_t sequence = 1; sequence <= 5; ++sequence) node.awaited(sequence);
  SECTION("when all has been heard") {
    (void)node.heard();
    CHECK(node.entries(false).size() == 5);
  }
  SECTION("while a handler takes its time") {
    for (int i = 0; i != 2; ++i) {
      REQUIRE(node.take());
      node.returned();
    }
    REQUIRE(node.take());
    CHECK(node.entries(false).empty());
    node.pass(1ms);
    CHECK(node.entries(false).size() == 2);
  }
  CHECK(node.control(core::FrameType::acknowledgement).size() == 1);
}

TEST_CASE("a handler that failed is said so") {
  Answering node;
  node.handler = [](std::string_view key) { return key == "k" ? Status::failed : Status::applied; };
  node.awaited(1);
  (void)node.heard();
  CHECK(node.entries(false) == Entries{{peer, 1, 1, 1, Status::failed}, {peer, 1, 2, 1, Status::applied}});
}

TEST_CASE("that nobody subscribes is said within 20 ms, many in one frame, or along with the next answer") {
  Answering node;
  node.handler = [](std::string_view) { return Status::no_subscriber; };
  for (std::uint64_t sequence = 1; sequence <= 5; ++sequence) node.awaited(sequence);
  (void)node.heard();
  CHECK(node.entries(false).empty());
  SECTION("alone") {
    node.pass(19ms);
    CHECK(node.entries(false).empty());
    node.pass(1ms);
    CHECK(node.entries(false).size() == 5);
  }
  SECTION("in company") {
    node.handler = [](std::string_view) { return Status::applied; };
    node.awaited(6);
    (void)node.heard();
    CHECK(node.entries(false).size() == 6);
  }
  CHECK(node.control(core::FrameType::acknowledgement).size() == 1);
}

TEST_CASE("a question is answered from memory, the same again") {
  Answering node;
  node.awaited(1);
  (void)node.heard();
  const std::size_t before = node.others.size();
  for (int i = 0; i != 3; ++i) node.ask(1, 1, 2);
  const auto answers = node.entries(false, before);
  REQUIRE(answers.size() == 3);
  for (const auto& answer : answers) CHECK(answer == Acknowledgement{peer, 1, 1, 2, Status::applied});
  CHECK(node.requests(before).empty());
  CHECK(node.heard().empty());
}

TEST_CASE("a question about what waits or runs is answered: pending") {
  Answering node;
  node.awaited(1);
  node.ask(1, 1);
  CHECK(node.entries(false) == Entries{{peer, 1, 1, 1, Status::pending}});
  REQUIRE(node.take());
  node.ask(1, 1);
  CHECK(node.entries(false).back().status == Status::pending);
  node.returned();
  CHECK(node.entries(false).back().status == Status::applied);
}

TEST_CASE("a question about a frame that was lost has it asked for, heard and answered") {
  Answering node;
  node.ask(1, 1);
  CHECK(node.entries(false).empty());
  REQUIRE(node.requests().size() == 1);
  CHECK(node.requests()[0].destination == peer);
  CHECK(support::requested_by(node.requests()[0]) == std::vector<core::SequenceRange>{{1, 1}});
  node.on_frame(support::repair_frame(peer, node.self, Answering::frame(1)));
  CHECK(node.heard().size() == 3);
  CHECK(node.entries(false) == Entries{{peer, 1, 1, 2, Status::applied}});
}

TEST_CASE("a wanted frame is heard although a resync has covered it, once, as a late one") {
  Answering node;
  node.on_frame(heartbeat_frame(peer, {.number = 2, .last_sequence = 5, .oldest_sequence = 6, .interval = 1h}));
  CHECK(node.heard() == Lines{"resync: unrepairable"});
  node.on_frame(support::repair_frame(peer, node.self, Answering::frame(1)));
  CHECK(node.heard().empty());  // nobody asked
  node.ask(1, 1);
  node.on_frame(support::repair_frame(peer, node.self, Answering::frame(1)));
  core::ReceiveQueue::Item item;
  REQUIRE(node.machine.take(item));
  CHECK(item.late);
  node.machine.release({}, node.now);
  node.on_frame(support::repair_frame(peer, node.self, Answering::frame(1)));
  CHECK(node.heard().empty());
}

TEST_CASE("the same unknown frame is asked for every 60 ms at most, however often the question comes") {
  Answering node;
  for (int i = 0; i != 100; ++i) {
    node.ask(1, 1);
    node.pass(1ms);
  }
  CHECK(node.requests().size() == 2);
}

TEST_CASE("what went under in an overflow is asked for again when its publisher asks") {
  auto options = roomy();
  options.queue_bytes = 4 * kib;
  options.pending_bytes = 4 * kib;
  Answering node{options};
  node.awaited(1);
  const std::string large(1'000, '.');
  for (std::uint64_t sequence = 2; sequence != 40; ++sequence) {
    const std::string key = std::to_string(sequence) + large;
    node.on_frame(events_frame(peer, sequence, {{.key = key, .awaited = true}}));
  }
  (void)node.heard();
  node.ask(20);
  REQUIRE(node.requests().size() == 1);
  CHECK(support::requested_by(node.requests()[0]) == std::vector<core::SequenceRange>{{20, 20}});
}

TEST_CASE("others' awaits are answered and remembered, however few a node may have of its own") {
  auto options = roomy();
  options.max_awaits = 1;
  Answering node{options};
  for (std::uint64_t sequence = 1; sequence <= 5; ++sequence) node.awaited(sequence);
  (void)node.heard();
  node.pass(2ms);
  CHECK(node.entries(false).size() == 5);
  node.ask(1, 1, 2);
  CHECK(node.entries(false).size() == 6);
  CHECK(node.requests().empty());
}

TEST_CASE("a question about others' events, or for another node, is nobody's") {
  Answering node;
  node.awaited(1);
  (void)node.heard();
  const std::size_t before = node.others.size();
  node.on_frame(acknowledgement_frame(other, node.self, {{peer, 1, 1, 1, Status::requested}}));
  node.on_frame(acknowledgement_frame(peer, other, {{peer, 1, 1, 1, Status::requested}}));
  CHECK(node.entries(false, before).empty());
  CHECK(node.requests(before).empty());
}

// --- memory and outbox by themselves

TEST_CASE("the memory forgets the oldest frame first, and never holds more than it may") {
  OutcomeMemory memory{10};
  for (std::uint64_t sequence = 1; sequence <= 100; ++sequence) {
    memory.queued({peer, sequence}, sequence);
    memory.answered({peer, sequence, 0, 1, Status::applied});
  }
  CHECK_FALSE(memory.find({peer, 1}, 0, 1, 100));
  CHECK(memory.find({peer, 100}, 0, 1, 100) == OutcomeMemory::Outcome{1, Status::applied});
  int known = 0;
  for (std::uint64_t sequence = 1; sequence <= 100; ++sequence)
    known += memory.find({peer, sequence}, 0, 1, 100) ? 1 : 0;
  CHECK(known == 5);  // a frame and a run each
  for (std::uint32_t index = 0; index != 1'000; ++index) memory.answered({peer, 100, 2 * index, 1, Status::failed});
  CHECK_FALSE(memory.find({peer, 99}, 0, 1, 100));
}

TEST_CASE("the later word about an event counts, and only for the events of its run") {
  OutcomeMemory memory{10};
  memory.queued({peer, 1}, 1);
  memory.answered({peer, 1, 0, 5, Status::failed});
  memory.answered({peer, 1, 2, 1, Status::applied});
  CHECK(memory.find({peer, 1}, 0, 9, 1) == OutcomeMemory::Outcome{2, Status::failed});
  CHECK(memory.find({peer, 1}, 2, 9, 1) == OutcomeMemory::Outcome{1, Status::applied});
  CHECK(memory.find({peer, 1}, 3, 9, 1) == OutcomeMemory::Outcome{2, Status::failed});
  CHECK(memory.find({peer, 1}, 5, 9, 0) == OutcomeMemory::Outcome{9, Status::pending});
  CHECK_FALSE(memory.find({peer, 1}, 5, 9, 1));
  CHECK_FALSE(memory.find({other, 1}, 0, 9, 1));
}

TEST_CASE("the outbox keeps a batch a node, its earliest entry says when it goes, beyond a bound entries are dropped") {
  AcknowledgementOutbox outbox{3};
  std::vector<std::byte> buffer(AcknowledgementOutbox::frame_bytes);
  CHECK(outbox.due() == (TimePoint::max)());
  outbox.add(peer, {peer, 1, 0, 1, Status::no_subscriber}, start + 20ms);
  outbox.add(other, {other, 1, 0, 1, Status::no_subscriber}, start + 30ms);
  outbox.add(peer, {peer, 2, 0, 1, Status::applied}, start + 10ms);
  outbox.add(peer, {peer, 3, 0, 1, Status::applied}, start);
  CHECK(outbox.due() == start + 10ms);
  CHECK_FALSE(outbox.next(NodeId{1}, buffer, start + 9ms));
  const auto first = outbox.next(NodeId{1}, buffer, start + 10ms);
  REQUIRE(first);
  CHECK(first->destination == peer);
  CHECK(first->entries == 2);
  CHECK(outbox.due() == start + 30ms);
  CHECK(outbox.next(NodeId{1}, buffer, start + 30ms));
  CHECK(outbox.due() == (TimePoint::max)());
}

TEST_CASE("a batch larger than a frame goes in several") {
  AcknowledgementOutbox outbox{10'000};
  std::vector<std::byte> buffer(AcknowledgementOutbox::frame_bytes);
  for (std::uint64_t i = 1; i <= 10'000; ++i) outbox.add(peer, {peer, i, 0, 1, Status::applied}, start);
  std::size_t entries = 0, frames = 0;
  for (auto next = outbox.next(NodeId{1}, buffer, start); next; next = outbox.next(NodeId{1}, buffer, start)) {
    CHECK(next->bytes <= AcknowledgementOutbox::frame_bytes);
    entries += next->entries;
    ++frames;
  }
  CHECK(entries == 10'000);
  CHECK(frames < 10);
}
