// ReceiveQueue: order, the ring's bounds, and what happens when it is full.
#include <syncbus/core/receiving/receive_queue.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"

using namespace syncbus;
using core::EventId;
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

// --- awaited events

TEST_CASE("awaited events that join carry their places in their frames") {
  const auto no_ring = GENERATE(as<std::size_t>{}, 0);  // a constant makes g++ 12 see writes that never happen
  ReceiveQueue queue{no_ring, plenty};
  const bool late = GENERATE(false, true);
  queue.push_frame(frame_of(alice, 7, {{.key = "a", .awaited = true}, {.key = "b"}, {.key = "a", .awaited = true}}),
                   late);
  queue.push_frame(frame_of(alice, 8, {{.key = "b"}, {.type = EventType::set, .key = "a", .awaited = true}}), late);
  queue.push_frame(frame_of(bob, 8, {{.key = "a", .awaited = true}}), late);
  Item item;
  REQUIRE(queue.take(item));
  CHECK(item.event.key == "b");
  CHECK(item.event.awaited.empty());
  REQUIRE(queue.take(item));
  CHECK(item.event.origin == alice);
  CHECK(item.event.awaited == std::vector<EventId>{{7, 0}, {7, 2}, {8, 1}});
  REQUIRE(queue.take(item));
  CHECK(item.event.origin == bob);
  CHECK(item.event.awaited == std::vector<EventId>{{8, 0}});
}

TEST_CASE("an awaited resync in a frame that joins leaves no place behind") {
  const auto no_ring = GENERATE(as<std::size_t>{}, 0);
  ReceiveQueue queue{no_ring, plenty};
  queue.push_frame(frame_of(alice, 7,
                            {{.key = "a", .awaited = true},
                             {.type = EventType::resync, .key = {}, .awaited = true},
                             {.key = "b", .awaited = true}}),
                   false);
  Item item;
  REQUIRE(queue.take(item));
  CHECK(item.kind == Kind::resync);
  REQUIRE(queue.take(item));
  CHECK(item.event.key == "b");
  CHECK(item.event.awaited == std::vector<EventId>{{7, 2}});
  CHECK_FALSE(queue.take(item));
}

// --- what has been heard

TEST_CASE("a push settles when it was taken and released") {
  ReceiveQueue queue{plenty, plenty};
  CHECK(queue.pushed() == 0);
  CHECK(queue.settled() == 0);
  queue.push_frame(frame_of(alice, "a"), false);
  queue.push_resync({});
  queue.push_frame(frame_of(alice, "b"), false);
  CHECK(queue.pushed() == 3);
  Item item;
  for (std::uint64_t i = 1; i != 4; ++i) {
    CHECK(queue.settled() == i - 1);
    REQUIRE(queue.take(item));
    CHECK(queue.settled() == i - 1);
    queue.release();
    CHECK(queue.settled() == i);
    queue.release();
    CHECK(queue.settled() == i);
  }
  CHECK(queue.pushed() == 3);
}

TEST_CASE("taking settles what was taken before, also when nothing more waits") {
  ReceiveQueue queue{plenty, plenty};
  queue.push_resync({});
  queue.push_frame(frame_of(alice, "a"), false);
  Item item;
  REQUIRE(queue.take(item));
  REQUIRE(queue.take(item));
  CHECK(queue.settled() == 1);
  CHECK_FALSE(queue.take(item));
  CHECK(queue.settled() == 2);
}

TEST_CASE("a resync that joins another settles with it, and not before") {
  ReceiveQueue queue{plenty, plenty};
  queue.push_resync({ResyncCause::joined, alice});
  queue.push_resync({ResyncCause::joined, bob});
  CHECK(queue.pushed() == 2);
  Item item;
  REQUIRE(queue.take(item));
  queue.push_resync({ResyncCause::joined, bob});
  queue.release();
  CHECK(queue.settled() == 2);
  REQUIRE(queue.take(item));
  queue.release();
  CHECK(queue.settled() == 3);
}

TEST_CASE("events that joined settle together, when the last of them is released") {
  const Frame frame = frame_of(alice, "a");
  ReceiveQueue queue{room_for(1, frame), plenty};
  queue.push_frame(frame, false);
  queue.push_frame(frame_of(alice, "b"), false);
  queue.push_frame(frame_of(alice, "c"), false);
  Item item;
  REQUIRE(queue.take(item));
  REQUIRE(queue.take(item));
  CHECK(queue.settled() == 1);
  queue.push_frame(frame_of(alice, "d"), false);  // behind c, in the set
  REQUIRE(queue.take(item));
  CHECK(queue.settled() == 1);
  REQUIRE(queue.take(item));
  CHECK(text_of(item) == "invalidate d");
  CHECK(queue.settled() == 1);
  queue.push_frame(frame_of(alice, "e"), false);  // the set is empty: in the ring
  CHECK(queue.settled() == 1);
  queue.release();
  CHECK(queue.settled() == 4);
  REQUIRE(queue.take(item));
  CHECK(text_of(item) == "frame e");
  CHECK(queue.settled() == 4);
  queue.release();
  CHECK(queue.settled() == 5);
}

TEST_CASE("a push that leaves nothing to hear is settled as soon as all before it is") {
  const auto no_ring = GENERATE(as<std::size_t>{}, 0);
  const Frame nothing = frame_of(alice, 1, {});
  ReceiveQueue idle{no_ring, plenty};
  idle.push_frame(nothing, false);
  CHECK(idle.empty());
  CHECK(idle.settled() == 1);
  idle.push_frame(frame_of(alice, "a"), false);
  CHECK(idle.settled() == 1);

  const Frame frame = frame_of(alice, "a");
  ReceiveQueue busy{room_for(1, frame), plenty};
  busy.push_frame(frame, false);
  busy.push_frame(nothing, false);
  CHECK(busy.settled() == 0);
  Item item;
  REQUIRE(busy.take(item));
  busy.push_frame(nothing, false);
  CHECK(busy.settled() == 0);
  busy.release();
  CHECK(busy.settled() == 3);
}

namespace {

/// The numbers of pushes that have not been heard, told from what is taken alone. A resync covers what was pushed
/// before the last one that joined into it. Where the ring holds everything these came directly behind one another;
/// else it is taken to be the last one pushed, which is right without a ring, and too kind where there is a small one.
class Unheard {
 public:
  explicit Unheard(bool ring_holds_all) : ring_holds_all_{ring_holds_all} {}

  void pushed(std::uint64_t position, NodeId origin, std::string_view key, std::uint64_t version) {
    waiting_.push_back({position, origin, std::string{key}, version});
  }
  void pushed_resync(std::uint64_t position) { resyncs_.push_back(position); }

  void taken(const Item& item) {
    if (item.kind == Kind::resync) return taken_resync();
    if (item.kind == Kind::event) return taken(item.event.origin, item.event.key, item.event.version);
    core::EventsView view = core::reread_events(item.frame);
    for (WireEvent event; view.next(event);) taken(view.origin(), event.key, event.version);
  }

  void released() { taken_.clear(); }

  /// All pushes up to this number are both taken and released; `pushed` if that is true of all.
  [[nodiscard]] std::uint64_t heard_up_to(std::uint64_t pushed) const {
    std::uint64_t last = pushed;
    for (const Waiting& waiting : waiting_) last = (std::min)(last, waiting.position - 1);
    for (const std::uint64_t position : resyncs_) last = (std::min)(last, position - 1);
    for (const std::uint64_t position : taken_) last = (std::min)(last, position - 1);
    return last;
  }

 private:
  struct Waiting {
    std::uint64_t position;
    NodeId origin;
    std::string key;
    std::uint64_t version;
  };

  void taken(NodeId origin, std::string_view key, std::uint64_t version) {
    take_all_that([&](const Waiting& waiting) {
      return waiting.origin == origin && waiting.key == key && waiting.version <= version;
    });
  }

  void taken_resync() {
    if (resyncs_.empty()) return;
    std::uint64_t last = resyncs_.back();
    if (ring_holds_all_) {
      last = resyncs_.front();
      for (const std::uint64_t position : resyncs_) last = position == last + 1 ? position : last;
    }
    take_all_that([&](const Waiting& waiting) { return waiting.position <= last; });
    for (const std::uint64_t position : resyncs_) {
      if (position <= last) taken_.push_back(position);
    }
    std::erase_if(resyncs_, [&](std::uint64_t position) { return position <= last; });
  }

  template <class Covered>
  void take_all_that(const Covered& covered) {
    for (const Waiting& waiting : waiting_) {
      if (covered(waiting)) taken_.push_back(waiting.position);
    }
    std::erase_if(waiting_, covered);
  }

  bool ring_holds_all_;
  std::vector<Waiting> waiting_{};
  std::vector<std::uint64_t> resyncs_{};  // in order
  std::vector<std::uint64_t> taken_{};    // and not released
};

struct Sizes {
  std::size_t queue_bytes;
  std::size_t pending_bytes;
};

}  // namespace

TEST_CASE("nothing settles before it was heard, everything does once nothing is left") {
  const auto seed = GENERATE(range(0U, 200U));
  const auto sizes = GENERATE(Sizes{plenty, plenty}, Sizes{0, plenty}, Sizes{0, 1'000}, Sizes{300, plenty},
                              Sizes{300, 1'000}, Sizes{1'500, 1'500});
  CAPTURE(seed, sizes.queue_bytes, sizes.pending_bytes);
  std::mt19937 random{seed};
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>{0, bound - 1}(random);
  };
  const bool ring_holds_all = sizes.queue_bytes == plenty;
  const bool may_overflow = sizes.pending_bytes != plenty;
  ReceiveQueue queue{sizes.queue_bytes, sizes.pending_bytes};
  Unheard unheard{ring_holds_all};
  Item item;
  bool taken = false;
  std::uint64_t version = 0;
  std::uint64_t pushed = 0;
  std::uint64_t settled = 0;
  const auto check = [&] {
    REQUIRE(queue.pushed() == pushed);
    REQUIRE(queue.settled() >= settled);
    settled = queue.settled();
    REQUIRE(settled <= unheard.heard_up_to(pushed));
    if (ring_holds_all) REQUIRE(settled == unheard.heard_up_to(pushed));
    if (queue.empty() && !taken) REQUIRE(settled == pushed);
  };
  const auto take = [&] {
    const bool waiting = !queue.empty();
    taken = queue.take(item);
    REQUIRE(taken == waiting);
    unheard.released();
    if (taken) unheard.taken(item);
    check();
    return taken;
  };
  const std::size_t pushes_in_twenty = 4 + below(10);
  for (int step = 0; step != 300; ++step) {
    const std::size_t what = below(20);
    if (what < pushes_in_twenty) {
      ++pushed;
      const NodeId origin{1 + below(2)};
      // One event a frame where it must be known what an overflow covers; none is a push that nobody can hear.
      std::vector<std::string> keys(may_overflow ? 1 : (ring_holds_all ? 1U : 0U) + below(4));
      std::vector<WireEvent> events;
      for (std::string& key : keys) {
        key = std::string(1 + below(30), static_cast<char>('a' + below(3)));
        events.push_back({.key = key, .version = ++version});
        unheard.pushed(pushed, origin, key, version);
      }
      if (queue.push_frame(frame_of(origin, pushed, events), false).overflowed) unheard.pushed_resync(pushed);
    } else if (what == pushes_in_twenty) {
      ++pushed;
      queue.push_resync({ResyncCause::interrupted, {}});
      unheard.pushed_resync(pushed);
    } else if (what < 19) {
      take();
    } else {
      queue.release();
      taken = false;
      unheard.released();
    }
    check();
  }
  while (take()) {
  }
  REQUIRE(settled == pushed);
}
