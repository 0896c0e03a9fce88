// What others send, while allocations fail: whatever cannot be kept is a resync, or asked for again, and the machine
// goes on.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "memory/scarce_memory.hpp"
#include "support/catch.hpp"
#include "support/control_frames.hpp"
#include "support/frames.hpp"
#include "support/keys.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using memory::ScarceMemory;
using support::acknowledgement_frame, support::events_frame, support::Frame, support::heartbeat_frame, support::kib,
    support::wide_key;

namespace {

constexpr NodeId self{1}, east{2}, west{3};

core::ProtocolOptions small() {
  return {.self = self,
          .history_bytes = 64 * kib,
          .queue_bytes = 2 * kib,  // most events have to join
          .pending_bytes = 64 * kib,
          .max_peers = 16,
          .max_awaits = 64};
}

/// A machine whose calls may find no memory; what the test keeps about it always does.
class Scene {
 public:
  /// The allocation after `left` others fails, and with `for_good` all behind it, until relent().
  Scene(std::size_t left, bool for_good) : left_{left}, for_good_{for_good} {
    machine_.on_ready(1, max_frame_bytes, true, now_);
    act();
    pass(50ms);
  }

  [[nodiscard]] bool failed() const noexcept { return failed_; }

  /// From now on memory may run out; and no longer.
  void begin() noexcept { scarce_ = true; }
  void relent() noexcept { scarce_ = false; }

  void feed(const Frame& frame) {
    call([&] { machine_.on_frame(frame, true, now_); });
    act();
  }

  /// Events of a peer, each of which is to be heard, or a resync behind it.
  void feed_keys(NodeId origin, std::uint64_t sequence, const std::vector<std::string>& keys, bool awaited = false) {
    for (const std::string& key : keys) {
      unheard_.insert(key);
      feed(events_frame(origin, sequence++, {{.key = key, .awaited = awaited}}));
    }
  }
  void owe(const std::string& key) { unheard_.insert(key); }

  void pass(Duration time) {
    for (const TimePoint end = now_ + time; now_ < end; now_ += 5ms) {
      call([&] { machine_.tick(now_); });
      act();
    }
  }

  void hear() {
    core::ReceiveQueue::Item item;
    std::vector<core::Acknowledgement> answers;
    while (take(item)) {
      answers.clear();
      hear(item, answers);
      call([&] { machine_.release(answers, now_); });
      act();
    }
  }

  void await_both() {
    const auto await_id = machine_.open_await({.quorum = 2, .deadline = now_ + 5s, .heard_here = false}, now_);
    REQUIRE(await_id);
    CHECK(machine_.submit({.key = "own"}, true, core::Awaited{*await_id, 0}) == core::Submitted::accepted);
    machine_.submitted(*await_id);
    act();
  }

  [[nodiscard]] const std::set<std::string>& unheard() const noexcept { return unheard_; }
  [[nodiscard]] std::size_t resyncs() const noexcept { return resyncs_; }
  [[nodiscard]] std::size_t requests() const noexcept { return requests_; }
  [[nodiscard]] const std::vector<std::error_code>& ended() const noexcept { return ended_; }
  [[nodiscard]] Metrics metrics() const { return machine_.metrics(); }

  /// Peers that answer what they are asked.
  bool peers_answer = false;

 private:
  template <class Call>
  void call(const Call& what) {
    if (!scarce_) return what();
    const ScarceMemory scarce{left_, for_good_};
    what();
    left_ = ScarceMemory::left();
    if (ScarceMemory::failed()) failed_ = true;
    if (failed_ && !for_good_) scarce_ = false;
  }

  bool take(core::ReceiveQueue::Item& item) {
    bool taken = false;
    call([&] { taken = machine_.take(item); });
    return taken;
  }

  void act() {
    for (bool more = true; more;) {
      core::Action action;
      call([&] { action = machine_.next_action(now_); });
      more = action.kind != core::Action::Kind::none;
      perform(action);
    }
  }

  void perform(const core::Action& action) {
    using Kind = core::Action::Kind;
    if (action.kind == Kind::complete) {
      while (const auto ended = machine_.take_completion()) ended_.push_back(ended->error);
    }
    if (action.kind != Kind::broadcast && action.kind != Kind::send) return;
    const Frame frame{action.bytes.begin(), action.bytes.end()};
    core::FrameHeader header;
    REQUIRE(core::decode_header(frame, header) == core::FrameError::ok);
    if (header.type == core::FrameType::events) call([&] { machine_.on_confirmed(action.sequence); });
    if (header.type == core::FrameType::repair_request) ++requests_;
    if (action.kind == Kind::broadcast) call([&] { machine_.on_frame(frame, true, now_); });
    if (header.type == core::FrameType::acknowledgement && peers_answer) answer(header);
  }

  void answer(const core::FrameHeader& header) {
    core::AcknowledgementView view;
    REQUIRE(core::decode_acknowledgement(header, view) == core::FrameError::ok);
    for (core::Acknowledgement entry; view.next(entry);) {
      if (entry.publisher != self) continue;
      entry.status = core::AcknowledgementStatus::applied;
      for (const NodeId peer : {east, west}) {
        machine_.on_frame(acknowledgement_frame(peer, self, {entry}), true, now_);
      }
    }
  }

  void hear(const core::ReceiveQueue::Item& item, std::vector<core::Acknowledgement>& answers) {
    using Kind = core::ReceiveQueue::Item::Kind;
    if (item.kind == Kind::resync) {
      ++resyncs_;
      unheard_.clear();
    } else if (item.kind == Kind::event) {
      unheard_.erase(item.event.key);
    } else {
      core::EventsView events = core::reread_events(item.frame);
      core::WireEvent event;
      for (std::uint32_t index = 0; events.next(event); ++index) {
        unheard_.erase(std::string{event.key});
        if (!event.awaited) continue;
        answers.push_back(
            {events.origin(), events.sequence(), index, 1, core::AcknowledgementStatus::applied});
      }
    }
  }

  TimePoint now_{1h};
  core::Protocol machine_{small()};
  std::size_t left_;
  bool for_good_;
  bool scarce_ = false;
  bool failed_ = false;
  std::set<std::string> unheard_;
  std::size_t resyncs_ = 0;
  std::size_t requests_ = 0;
  std::vector<std::error_code> ended_;
};

Frame heartbeat(NodeId origin, std::uint64_t number, std::uint64_t last) {
  return heartbeat_frame(origin, {.number = number,
                                  .last_sequence = last,
                                  .oldest_sequence = 1,
                                  .interval = 1s,
                                  .name = "a name that takes memory of its own",
                                  .zone = "a zone that takes memory of its own"});
}

std::vector<std::string> keys(int from, int count) {
  std::vector<std::string> all;
  for (int i = 0; i != count; ++i) all.push_back(wide_key(from + i));
  return all;
}

/// Everything that others may send.
void play(Scene& scene) {
  scene.feed(heartbeat(east, 1, 0));
  scene.feed(heartbeat(west, 1, 0));
  scene.await_both();
  scene.begin();
  scene.feed_keys(east, 1, keys(100, 3), true);
  scene.feed_keys(west, 1, keys(200, 40));  // more than the queue holds
  scene.hear();
  scene.feed(acknowledgement_frame(east, self, {{self, 1, 0, 1, core::AcknowledgementStatus::applied}}));
  scene.feed(support::repair_request_frame(west, self, {{1, 1}}));
  scene.feed_keys(east, 6, keys(106, 1));  // 4 and 5 are missing
  scene.feed_keys(east, 9, keys(109, 1));
  for (const std::uint64_t missed : {7U, 5U, 4U, 8U}) {
    scene.owe(wide_key(100 + static_cast<int>(missed)));
    const std::string key = wide_key(100 + static_cast<int>(missed));
    scene.feed(support::repair_frame(east, self, events_frame(east, missed, {{.key = key}})));
  }
  for (std::uint64_t stranger = 10; stranger != 20; ++stranger) scene.feed(heartbeat(NodeId{stranger}, 1, 0));
  scene.feed(acknowledgement_frame(east, self, {{east, 2, 0, 1, core::AcknowledgementStatus::requested},
                                                {east, 70, 0, 1, core::AcknowledgementStatus::requested}}));
  scene.feed(acknowledgement_frame(west, self, {{self, 1, 0, 1, core::AcknowledgementStatus::applied}}));
  scene.feed(heartbeat(east, 2, 9));
  scene.pass(100ms);
  scene.hear();
  scene.relent();
}

/// Memory is back: what was missed comes after all, and what comes now is heard at once.
void check_recovery(Scene& scene) {
  scene.peers_answer = true;
  scene.feed(heartbeat(east, 3, 9));
  scene.feed(heartbeat(west, 2, 40));
  scene.pass(3s);
  scene.hear();
  CHECK(scene.unheard().empty());
  REQUIRE(scene.ended().size() == 1);
  CHECK_FALSE(scene.ended().front());

  const std::size_t requests = scene.requests();
  scene.feed_keys(east, 11, {"after the gap"});
  scene.pass(500ms);
  CHECK(scene.requests() > requests);
  scene.owe("in the gap");
  scene.feed(support::repair_frame(east, self, events_frame(east, 10, {{.key = "in the gap"}})));
  const std::size_t resyncs = scene.resyncs();
  scene.hear();
  CHECK(scene.unheard().empty());
  CHECK(scene.resyncs() == resyncs);
}

}  // namespace

TEST_CASE("with enough memory nothing is a resync") {
  Scene scene{1'000'000, false};
  play(scene);
  CHECK(scene.resyncs() == 0);
  check_recovery(scene);
  CHECK_FALSE(scene.failed());
}

TEST_CASE("an allocation that fails while others send costs a resync at most") {
  for (std::size_t n = 0;; ++n) {
    Scene scene{n, false};
    play(scene);
    CAPTURE(n);
    check_recovery(scene);
    if (!scene.failed()) break;
    REQUIRE(n < 10'000);
  }
}

TEST_CASE("no memory for a while, while others send, costs resyncs at most") {
  for (std::size_t n = 0;; ++n) {
    Scene scene{n, true};
    play(scene);
    CAPTURE(n);
    check_recovery(scene);
    if (!scene.failed()) break;
    REQUIRE(n < 10'000);
  }
}
