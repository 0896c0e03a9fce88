// ReceiveQueue: order, the ring's bounds, and what happens when it is full.
#include <syncbus/core/receive_queue.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"

using namespace syncbus;
using core::ReceiveQueue;
using core::WireEvent;
using Item = ReceiveQueue::Item;
using Kind = ReceiveQueue::Item::Kind;

namespace {

constexpr std::size_t plenty = std::size_t{1} << 20U;
constexpr NodeId alice{1};
constexpr NodeId bob{2};

static_assert(noexcept(std::declval<ReceiveQueue&>().push_frame(Bytes{}, false)));
static_assert(noexcept(std::declval<ReceiveQueue&>().take(std::declval<Item&>())));

using Frame = std::vector<std::byte>;

Frame frame_of(NodeId origin, std::uint64_t sequence, const std::vector<WireEvent>& events) {
  std::size_t size = core::events_header_bytes;
  for (const WireEvent& event : events) size += core::encoded_size(event);
  Frame frame(size);
  core::begin_events_frame(frame, origin);
  std::byte* out = frame.data() + core::events_header_bytes;
  for (const WireEvent& event : events) out = core::encode_event(out, event);
  core::seal_events_frame(frame, sequence);
  return frame;
}

Frame frame_of(NodeId origin, std::string_view key) { return frame_of(origin, 1, {{.key = key}}); }

bool same(Bytes a, Bytes b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

/// Room for exactly `count` frames of this size.
std::size_t room_for(std::size_t count, const Frame& frame) {
  ReceiveQueue queue{plenty, plenty};
  queue.push_frame(frame, false);
  return count * queue.bytes();
}

std::string text_of(const Item& item) {
  if (item.kind == Kind::resync) return "resync " + std::string{to_string(item.resync.cause)};
  if (item.kind == Kind::event) return std::string{to_string(item.event.type)} + " " + item.event.key;
  core::FrameHeader header;
  core::EventsView view;
  REQUIRE(core::decode_header(item.frame, header) == core::FrameError::ok);
  REQUIRE(core::decode_events(header, view) == core::FrameError::ok);
  std::string text = "frame";
  WireEvent event;
  while (view.next(event)) text += " " + std::string{event.key};
  return text;
}

std::vector<std::string> take_all(ReceiveQueue& queue) {
  std::vector<std::string> texts;
  Item item;
  while (queue.take(item)) texts.push_back(text_of(item));
  return texts;
}

using Texts = std::vector<std::string>;

/// What was pushed and is not covered by anything taken since. Versions grow with each push, so order shows in them.
struct Audit {
  struct Pushed {
    NodeId origin;
    std::string key;
    std::uint64_t version;
  };

  std::vector<Pushed> open;
  bool resync_open = false;
  std::uint64_t version = 0;
  std::uint64_t resync_version = 0;  // the version when the last resync was pushed
  std::uint64_t last_taken[3] = {};  // by origin

  std::uint64_t pushed(NodeId origin, const std::string& key) {
    open.push_back({origin, key, ++version});
    return version;
  }

  void pushed_resync() {
    resync_open = true;
    resync_version = version;
  }

  void taken(NodeId origin, std::string_view key, std::uint64_t taken_version) {
    REQUIRE(taken_version > last_taken[origin.value]);
    last_taken[origin.value] = taken_version;
    std::erase_if(open, [&](const Pushed& event) {
      return event.origin == origin && event.key == key && event.version <= taken_version;
    });
  }

  void taken(const Item& item) {
    if (item.kind == Kind::event) return taken(item.event.origin, item.event.key, item.event.version);
    if (item.kind == Kind::resync) {
      resync_open = false;
      std::erase_if(open, [&](const Pushed& event) { return event.version <= resync_version; });
      return;
    }
    core::FrameHeader header;
    core::EventsView view;
    WireEvent event;
    REQUIRE(core::decode_header(item.frame, header) == core::FrameError::ok);
    REQUIRE(core::decode_events(header, view) == core::FrameError::ok);
    while (view.next(event)) taken(view.origin(), event.key, event.version);
  }
};

}  // namespace

TEST_CASE("frames and resyncs come out as they went in, and in that order") {
  ReceiveQueue queue{plenty, plenty};
  const Frame first = frame_of(alice, "a");
  const Frame second = frame_of(bob, "b");
  CHECK(queue.empty());
  queue.push_frame(first, false);
  CHECK(queue.push_resync({ResyncCause::joined, bob}) == 0);
  queue.push_frame(second, true);

  Item item;
  REQUIRE(queue.take(item));
  CHECK(item.kind == Kind::frame);
  CHECK(same(item.frame, first));
  CHECK_FALSE(item.late);
  REQUIRE(queue.take(item));
  CHECK(item.kind == Kind::resync);
  CHECK(item.resync == Resync{ResyncCause::joined, bob});
  REQUIRE(queue.take(item));
  CHECK(same(item.frame, second));
  CHECK(item.late);
  CHECK_FALSE(queue.take(item));
  CHECK(queue.bytes() == 0);
}

TEST_CASE("a taken frame stays where it is until it is released, whatever is pushed") {
  const Frame frame = frame_of(alice, "the taken one");
  ReceiveQueue queue{room_for(4, frame), plenty};
  queue.push_frame(frame, false);
  Item item;
  REQUIRE(queue.take(item));
  CHECK(queue.empty());
  CHECK(queue.bytes() != 0);
  for (int i = 0; i != 10; ++i) queue.push_frame(frame_of(bob, "the other ones"), false);
  CHECK_FALSE(queue.empty());
  CHECK(same(item.frame, frame));
  queue.release();
  queue.release();
  REQUIRE(queue.take(item));
  CHECK(text_of(item) == "frame the other ones");
}

TEST_CASE("taking releases what was taken before") {
  ReceiveQueue queue{plenty, plenty};
  queue.push_frame(frame_of(alice, "a"), false);
  Item item;
  REQUIRE(queue.take(item));
  CHECK_FALSE(queue.take(item));
  CHECK(queue.bytes() == 0);
}

TEST_CASE("a ring that became empty starts again at its beginning") {
  ReceiveQueue queue{plenty, plenty};
  Item item;
  queue.push_frame(frame_of(alice, "a"), false);
  REQUIRE(queue.take(item));
  const std::byte* const beginning = item.frame.data();
  for (int i = 0; i != 3; ++i) {
    queue.push_frame(frame_of(alice, "b"), false);
    queue.push_resync({});
    REQUIRE(queue.take(item));
    REQUIRE(queue.take(item));
    queue.push_frame(frame_of(alice, "c"), false);
    REQUIRE(queue.take(item));
    CHECK(item.frame.data() == beginning);
  }
}

TEST_CASE("the ring is used to its last byte, also around its end") {
  const Frame frame = frame_of(alice, "a");
  ReceiveQueue queue{room_for(3, frame), 0};
  Item item;
  for (int i = 0; i != 3; ++i) CHECK_FALSE(queue.push_frame(frame, false).overflowed);
  for (int i = 0; i != 20; ++i) {
    REQUIRE(queue.take(item));
    REQUIRE(same(item.frame, frame));
    queue.release();
    REQUIRE_FALSE(queue.push_frame(frame, false).overflowed);
    REQUIRE(queue.bytes() == room_for(3, frame));
  }
  CHECK(queue.push_frame(frame, false).overflowed);
}

TEST_CASE("a resync joins the one directly before it, while nobody has taken that") {
  ReceiveQueue queue{plenty, plenty};
  CHECK(queue.push_resync({ResyncCause::peer_lost, alice}) == 0);
  CHECK(queue.push_resync({ResyncCause::joined, alice}) == 1);
  Item item;
  REQUIRE(queue.take(item));
  CHECK(item.resync == Resync{ResyncCause::peer_lost, alice});
  CHECK(queue.push_resync({ResyncCause::joined, bob}) == 0);
  queue.push_frame(frame_of(alice, "a"), false);
  CHECK(queue.push_resync({ResyncCause::interrupted, {}}) == 0);
  CHECK(take_all(queue) == Texts{"resync joined", "frame a", "resync interrupted"});
}

TEST_CASE("what finds no room joins, and so does all that follows until that is taken") {
  const Frame frame = frame_of(alice, "a");
  ReceiveQueue queue{room_for(2, frame), plenty};
  queue.push_frame(frame, false);
  queue.push_frame(frame_of(alice, "b"), false);
  CHECK(queue.push_frame(frame_of(alice, "c"), false).absorbed == 0);
  CHECK(queue.push_frame(frame_of(alice, "d"), false).absorbed == 0);
  CHECK(
      queue.push_frame(frame_of(alice, 1, {{.key = "c"}, {.key = "x"}, {.key = "c"}, {.key = "x"}}), false).absorbed ==
      3);
  CHECK(queue.bytes() > room_for(2, frame));

  Item item;
  REQUIRE(queue.take(item));
  REQUIRE(queue.take(item));
  queue.release();
  queue.push_frame(frame_of(alice, "e"), false);
  REQUIRE(queue.take(item));
  CHECK(text_of(item) == "invalidate d");
  CHECK(item.event.origin == alice);
  CHECK(queue.push_frame(frame_of(alice, "d"), false).absorbed == 0);
  CHECK(take_all(queue) == Texts{"invalidate c", "invalidate x", "invalidate e", "invalidate d"});

  queue.push_frame(frame_of(alice, "f"), false);
  CHECK(take_all(queue) == Texts{"frame f"});
}

TEST_CASE("set and remove events of a late frame join as invalidate") {
  const bool late = GENERATE(false, true);
  const auto no_ring = GENERATE(as<std::size_t>{}, 0);  // a constant makes g++ 12 see writes that never happen
  ReceiveQueue queue{no_ring, plenty};
  queue.push_frame(frame_of(alice, 1,
                            {{.type = EventType::set, .key = "s", .version = 1},
                             {.type = EventType::remove, .key = "r", .version = 2},
                             {.type = EventType::lease_revoked, .key = "l"}}),
                   late);
  CHECK(take_all(queue) == (late ? Texts{"invalidate s", "invalidate r", "lease_revoked l"}
                                 : Texts{"set s", "remove r", "lease_revoked l"}));
}

TEST_CASE("a resync that finds no room absorbs the joined events, and waits behind the frames") {
  const Frame frame = frame_of(alice, "a");
  ReceiveQueue queue{room_for(1, frame), plenty};
  queue.push_frame(frame, false);
  queue.push_frame(frame_of(alice, "b"), false);
  CHECK(queue.push_resync({ResyncCause::interrupted, {}}) == 1);
  CHECK(queue.push_resync({ResyncCause::interrupted, {}}) == 1);
  queue.push_frame(frame_of(alice, "c"), false);
  Item item;
  REQUIRE(queue.take(item));
  CHECK(text_of(item) == "frame a");
  queue.release();
  CHECK(queue.push_resync({ResyncCause::interrupted, {}}) == 2);
  queue.push_frame(frame_of(alice, "d"), false);
  CHECK(take_all(queue) == Texts{"resync interrupted", "invalidate d"});
}

TEST_CASE("a resync inside a frame that joins concerns the frame's origin") {
  ReceiveQueue queue{0, plenty};
  queue.push_frame(
      frame_of(alice, 1, {{.key = "a"}, {.type = EventType::resync, .key = {}, .cause = ResyncCause::requested}}),
      false);
  Item item;
  REQUIRE(queue.take(item));
  CHECK(item.kind == Kind::resync);
  CHECK(item.resync == Resync{ResyncCause::requested, alice});
  CHECK(queue.empty());
}

TEST_CASE("joined events beyond their bytes become a resync, cause overflow") {
  ReceiveQueue queue{0, 1'024};
  std::size_t absorbed = 0;
  bool overflowed = false;
  std::uint64_t pushed = 0;
  while (!overflowed) {
    const auto put = queue.push_frame(frame_of(alice, std::to_string(pushed++)), false);
    absorbed += put.absorbed;
    overflowed = put.overflowed;
    REQUIRE(queue.bytes() <= 1'024);
  }
  CHECK(pushed > 2);
  CHECK(absorbed == pushed);
  CHECK(take_all(queue) == Texts{"resync overflow"});
}

TEST_CASE("whatever is pushed is covered by what is taken later, in order, within the bounds") {
  const auto seed = GENERATE(range(0U, 400U));
  CAPTURE(seed);
  std::mt19937 random{seed};
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>{0, bound - 1}(random);
  };
  const bool may_overflow = seed % 2 != 0;
  const std::size_t queue_bytes = below(1'500);
  const std::size_t pending_bytes = may_overflow ? below(2'000) : plenty;
  ReceiveQueue queue{queue_bytes, pending_bytes};
  Audit audit;
  Item item;
  for (int step = 0; step != 300; ++step) {
    const std::size_t what = below(20);
    if (what < 10) {
      const NodeId origin{1 + below(2)};
      std::vector<std::string> keys(1 + below(4));
      std::vector<WireEvent> events;
      for (std::string& key : keys) {
        key = std::string(1 + below(30), static_cast<char>('a' + below(3)));
        events.push_back({.key = key, .version = audit.pushed(origin, key)});
      }
      const auto put = queue.push_frame(frame_of(origin, 1, events), false);
      REQUIRE((may_overflow || !put.overflowed));
      if (put.overflowed) audit.pushed_resync();
    } else if (what == 10 && may_overflow) {
      queue.push_resync({ResyncCause::interrupted, {}});
      audit.pushed_resync();
    } else if (what < 18) {
      const bool waiting = !queue.empty();
      REQUIRE(queue.take(item) == waiting);
      if (waiting) audit.taken(item);
    } else {
      queue.release();
    }
    REQUIRE(queue.bytes() <= queue_bytes + pending_bytes);
  }
  while (queue.take(item)) audit.taken(item);
  REQUIRE(audit.open.empty());
  REQUIRE_FALSE(audit.resync_open);
  REQUIRE(queue.empty());
  REQUIRE(queue.bytes() == 0);
}
