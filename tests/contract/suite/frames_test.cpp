// Whatever arrives on the channel: garbage changes a counter and nothing else, and what is valid is taken at its word.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/control_frames.hpp"
#include "support/eventually.hpp"
#include "support/frames.hpp"

using namespace contract;
using support::altered, support::bytes_of, support::events_frame, support::Frame, support::heartbeat_frame,
    support::repair_frame;
using namespace std::chrono_literals;
using syncbus::EventType, syncbus::Metrics, syncbus::NodeId, syncbus::ResyncCause;

namespace {

constexpr NodeId stranger{0x5717A6E4};

/// Gives no gap up while a test has more to say.
const syncbus::BusOptions patient{.repair_timeout = 1min};

/// A listener on the channel, with all that it heard.
struct Listener {
  explicit Listener(BrokerFixture& fixture, const syncbus::BusOptions& options = {})
      : node{fixture.node(options)}, helper{fixture.node()} {
    subscription = node->subscribe_all(heard.on_event(), heard.on_resync());
  }

  /// Waits until everything injected so far has been heard; the events and resyncs heard but for the fences.
  Lines settled() {
    REQUIRE(caught_up(*helper, *node));
    Lines lines = heard.lines();
    std::erase_if(lines, [](const auto& line) { return line.find(fence_prefix) != line.npos; });
    return lines;
  }

  Heard heard;
  AnyNode node, helper;
  syncbus::Subscription subscription;
};

/// What a message that is no frame may not change.
void check_untouched(const Metrics& before, const Metrics& after) {
  CHECK(after.resyncs == before.resyncs);
  CHECK(after.gaps == before.gaps);
  CHECK(after.duplicates == before.duplicates);
  CHECK(after.handler_errors == before.handler_errors);
  CHECK(after.reconnects == before.reconnects);
}

}  // namespace

CONTRACT_TEST_CASE("garbage on the channel moves a counter and nothing else", "[contract]", Brokers) {
  Listener listener{fixture};
  const Metrics before = listener.node->metrics();
  std::vector<Frame> garbage{Frame(28), Frame(1 << 20U)};
  for (const std::string_view text : {"", "hello", "sbus", "subs"}) {
    garbage.emplace_back(bytes_of(text).begin(), bytes_of(text).end());
  }
  std::mt19937 random{7};
  for (std::size_t size = 1; size < 300; size += 7) {
    Frame frame(size);
    for (auto& byte : frame) byte = static_cast<std::byte>(random());
    garbage.push_back(std::move(frame));
  }
  for (const auto& frame : garbage) fixture.inject(frame);

  CHECK(listener.settled().empty());
  const Metrics after = listener.node->metrics();
  CHECK(after.invalid_frames == before.invalid_frames + garbage.size());
  check_untouched(before, after);
  CHECK_FALSE(listener.helper->publish("k"));
  CHECK(listener.settled() == Lines{"invalidate k"});
}

CONTRACT_TEST_CASE("truncated and bit-flipped frames are garbage", "[contract]", Brokers) {
  Listener listener{fixture};
  const Frame whole =
      events_frame(stranger, 1, {{.key = "key"}, {.type = EventType::set, .key = "other", .version = 300}});
  std::uint64_t sent = 0;
  for (std::size_t size = 0; size != whole.size(); ++size, ++sent) {
    fixture.inject(std::span{whole}.first(size));
  }
  for (std::size_t bit = 0; bit != whole.size() * 8; ++bit, ++sent) {
    Frame flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    fixture.inject(flipped);
  }
  Frame longer = whole;
  longer.push_back(std::byte{});
  fixture.inject(longer);
  ++sent;

  CHECK(listener.settled().empty());
  const Metrics after = listener.node->metrics();
  CHECK(after.invalid_frames == sent);
  check_untouched({}, after);

  fixture.inject(whole);  // the real one is heard: the damaged ones left no trace
  CHECK(listener.settled() == Lines{"invalidate key", "set other v300"});
}

CONTRACT_TEST_CASE("a frame of a future version is one resync, at most once a heartbeat interval", "[contract]",
                   Brokers) {
  Listener listener{fixture, {.heartbeat = 1h}};
  const Frame future =
      altered(events_frame(stranger, 1, {{.key = "key"}}), syncbus::core::version_offset, std::byte{2});
  for (int i = 0; i != 5; ++i) fixture.inject(future);
  CHECK(listener.settled() == Lines{"resync: incompatible"});
  CHECK(listener.node->metrics().resyncs_by(ResyncCause::incompatible) == 1);
  CHECK(listener.node->metrics().invalid_frames == 5);
}

CONTRACT_TEST_CASE("a damaged frame of a future version is garbage", "[contract]", Brokers) {
  Listener listener{fixture};
  Frame future = altered(events_frame(stranger, 1, {{.key = "key"}}), syncbus::core::version_offset, std::byte{2});
  future.back() ^= std::byte{1};
  fixture.inject(future);
  CHECK(listener.settled().empty());
  CHECK(listener.node->metrics().invalid_frames == 1);
}

CONTRACT_TEST_CASE("an event of an unknown kind is a resync", "[contract]", Brokers) {
  Listener listener{fixture};
  fixture.inject(
      altered(events_frame(stranger, 1, {{.key = "key"}}), syncbus::core::events_header_bytes, std::byte{9}));
  CHECK(listener.settled() == Lines{"resync: incompatible"});
  CHECK(listener.node->metrics().invalid_frames == 0);
}

CONTRACT_TEST_CASE("a replayed frame is heard once", "[contract]", Brokers) {
  Listener listener{fixture};
  const Frame first = events_frame(stranger, 1, {{.key = "first"}}),
              second = events_frame(stranger, 2, {{.key = "second"}});
  for (const auto& frame : {first, first, second, first, second}) fixture.inject(frame);
  CHECK(listener.settled() == Lines{"invalidate first", "invalidate second"});
  CHECK(listener.node->metrics().duplicates == 3);
  CHECK(listener.node->metrics().gaps == 0);
}

CONTRACT_TEST_CASE("a skipped sequence that comes late is heard, as news of unknown age", "[contract]", Brokers) {
  Listener listener{fixture, patient};
  const auto set = [](std::uint64_t sequence, std::string_view key) {
    return events_frame(stranger, sequence, {{.type = EventType::set, .key = key}});
  };
  fixture.inject(set(1, "one"));
  fixture.inject(set(4, "four"));
  fixture.inject(set(3, "three"));
  fixture.inject(repair_frame(stranger, NodeId{}, set(2, "two")));
  fixture.inject(repair_frame(stranger, NodeId{}, set(2, "two")));
  fixture.inject(set(5, "five"));
  CHECK(listener.settled() == Lines{"set one", "set four", "invalidate three", "invalidate two", "set five"});
  const Metrics metrics = listener.node->metrics();
  CHECK(metrics.gaps == 2);
  CHECK(metrics.frames_repaired == 1);
  CHECK(metrics.duplicates == 1);
  CHECK(metrics.resyncs == decltype(metrics.resyncs){});
}

CONTRACT_TEST_CASE("a skipped sequence that its publisher's history no longer has is a resync", "[contract]", Brokers) {
  Listener listener{fixture, patient};
  Heard key;
  const auto subscription = listener.node->subscribe("k", key.on_event());
  fixture.inject(events_frame(stranger, 1, {{.key = "k"}}));
  fixture.inject(events_frame(stranger, 4, {{.key = "four"}}));
  CHECK(listener.settled() == Lines{"invalidate k", "invalidate four"});
  std::uint64_t heartbeats = 0;
  CHECK(eventually([&] {  // not at once: what was asked for may be under way
    fixture.inject(heartbeat_frame(
        stranger, {.number = ++heartbeats, .last_sequence = 4, .oldest_sequence = 4, .interval = 1min}));
    return listener.heard.contains("resync: unrepairable");
  }));
  fixture.inject(events_frame(stranger, 5, {{.key = "five"}}));
  CHECK(listener.settled() == Lines{"invalidate k", "invalidate four", "resync: unrepairable", "invalidate five"});
  const Lines all = listener.heard.lines();
  const auto resync = static_cast<std::size_t>(std::ranges::find(all, "resync: unrepairable") - all.begin());
  CHECK(listener.heard.origins()[resync] == stranger);
  CHECK(key.lines() == Lines{"invalidate k", "resync k"});
  CHECK(listener.node->metrics().gaps == 2);
  CHECK(listener.node->metrics().resyncs_by(ResyncCause::unrepairable) == 1);

  const Frame late = events_frame(stranger, 2, {{.type = EventType::set, .key = "two"}});
  fixture.inject(late);  // the resync covers it; but if the gap was a lie, it is news
  CHECK(listener.settled().back() == "invalidate two");
  fixture.inject(late);
  CHECK(listener.settled().size() == 5);
  CHECK(listener.node->metrics().duplicates == 1);
}

CONTRACT_TEST_CASE("a skipped sequence that nobody repairs is a resync after repair_timeout", "[contract]", Brokers) {
  Listener listener{fixture, {.repair_timeout = 50ms}};
  std::uint64_t heartbeats = 0;
  const auto still_here = [&] {
    fixture.inject(heartbeat_frame(
        stranger, {.number = ++heartbeats, .last_sequence = 3, .oldest_sequence = 1, .interval = 1min}));
  };
  fixture.inject(events_frame(stranger, 1, {{.key = "one"}}));
  CHECK(eventually([&] {
    still_here();  // the first tells of the gap; who goes on could repair it, and does not
    return listener.heard.contains("resync: unrepairable");
  }));
  CHECK(listener.settled() == Lines{"invalidate one", "resync: unrepairable"});
  CHECK(listener.node->metrics().gaps == 2);
  CHECK(listener.node->metrics().resyncs_by(ResyncCause::unrepairable) == 1);
}

CONTRACT_TEST_CASE("a stranger's first frame may have any number", "[contract]", Brokers) {
  Listener listener{fixture};
  fixture.inject(events_frame(stranger, ~std::uint64_t{0}, {{.key = "last"}}));
  fixture.inject(events_frame(NodeId{2}, 1'000, {{.key = "late"}}));
  fixture.inject(events_frame(NodeId{2}, 1'001, {{.key = "later"}}));
  Lines lines = listener.settled();
  if (!fixture.begins_at_one_point()) std::erase(lines, "resync: joined");  // of a past that may have been missed
  CHECK(lines == Lines{"invalidate last", "invalidate late", "invalidate later"});
  CHECK(listener.node->metrics().gaps == 0);
}

CONTRACT_TEST_CASE("frames for others are not heard, and another's in our name is", "[contract]", Brokers) {
  Listener listener{fixture};
  const Frame frame = events_frame(stranger, 1, {{.key = "k"}});
  fixture.inject(altered(frame, syncbus::core::destination_offset, std::byte{0xEE}));
  CHECK(listener.settled().empty());
  CHECK_FALSE(listener.node->publish("own"));
  CHECK(listener.settled() == Lines{"invalidate own"});
  fixture.inject(events_frame(listener.node->id(), 1, {{.type = EventType::set, .key = "another's"}}));
  CHECK(eventually([&] { return listener.heard.contains("invalidate another's"); }));
  CHECK(listener.node->metrics().invalid_frames == 0);
}

CONTRACT_TEST_CASE("control frames are nobody's event", "[contract]", Brokers) {
  Listener listener{fixture};
  fixture.inject(heartbeat_frame(
      stranger, {.answer_me = true, .number = 1, .last_sequence = 99, .oldest_sequence = 1, .interval = 1s}));
  CHECK(listener.settled().empty());
  CHECK(listener.node->metrics().invalid_frames == 0);
}

CONTRACT_TEST_CASE("many strangers are remembered in bounded memory, and none is misheard", "[contract]", Brokers) {
  Listener listener{fixture, {.max_peers = 4}};
  for (std::uint64_t id = 1; id <= 50; ++id) {
    fixture.inject(events_frame(NodeId{id}, id, {{.key = "k", .version = id}}));
  }
  Lines lines = listener.settled();
  CHECK(listener.node->peers().size() <= 4);
  std::erase_if(lines, [](const auto& line) { return line.starts_with("resync: "); });  // of those it cannot remember
  REQUIRE(lines.size() == 50);
  for (std::size_t i = 0; i != 50; ++i) CHECK(lines[i] == "invalidate k v" + std::to_string(i + 1));
}
