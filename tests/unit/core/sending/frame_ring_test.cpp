// The frame ring against a model that keeps every frame in a vector of its own and forgets nothing.
#include <syncbus/core/sending/frame_ring.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace syncbus;
using namespace syncbus::core;
using Append = FrameRing::Append;

namespace {

constexpr NodeId self{0x1122334455667788};
constexpr auto everything = ~std::uint64_t{0};

static_assert(!std::is_copy_constructible_v<FrameRing> && !std::is_move_constructible_v<FrameRing>);
static_assert(noexcept(std::declval<FrameRing&>().append({})) && noexcept(std::declval<FrameRing&>().next(true)));

/// Cheap enough for millions of checks.
void require(bool condition, const char* what) {
  if (!condition) FAIL(what);
}

struct OwnedWire {
  EventType type = EventType::invalidate;
  std::string key;
  std::uint64_t version = 0;
  ResyncCause cause = ResyncCause::requested;
  bool awaited = false;

  explicit OwnedWire(const WireEvent& event)
      : type{event.type}, key{event.key}, version{event.version}, cause{event.cause}, awaited{event.awaited} {}

  friend bool operator==(const OwnedWire&, const OwnedWire&) = default;

  [[nodiscard]] bool same_key(const WireEvent& other) const {
    return key == other.key && (type == EventType::lease_revoked) == (other.type == EventType::lease_revoked);
  }
  [[nodiscard]] bool says(const WireEvent& other) const {
    return type == other.type && key == other.key && version == other.version && cause == other.cause;
  }
};

WireEvent invalidate(std::string_view key) { return {.key = key}; }

WireEvent set_to(std::string_view key, std::uint64_t version) {
  return {.type = EventType::set, .key = key, .version = version};
}

WireEvent top(ResyncCause cause) { return {.type = EventType::resync, .key = {}, .cause = cause}; }

/// The key of an event that makes a frame of `bytes` bytes alone.
std::string key_for_frame(std::size_t bytes) {
  std::string key(bytes - events_header_bytes - 2, 'k');
  while (encoded_size({.key = key}) + events_header_bytes > bytes) key.pop_back();
  return key;
}

std::vector<OwnedWire> read_events(Bytes bytes, std::uint64_t sequence) {
  FrameHeader header;
  EventsView view;
  require(decode_header(bytes, header) == FrameError::ok && decode_events(header, view) == FrameError::ok,
          "a frame is one that the codec reads");
  require(header.origin == self && header.destination == NodeId{}, "a frame is from its node to everybody");
  require(view.sequence() == sequence, "a frame carries its sequence");
  std::vector<OwnedWire> events;
  for (WireEvent event; view.next(event);) events.emplace_back(event);
  return events;
}

std::vector<std::byte> copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

bool equal(Bytes a, Bytes b) { return std::ranges::equal(a, b); }

/// A ring beside its model. Every operation is made on both, then everything that can be seen is compared.
class Checked : private FrameKeeper {
 public:
  Checked(std::size_t history_bytes, std::size_t frame_bytes)
      : ring{self, history_bytes, frame_bytes, this}, history_bytes_{history_bytes}, frame_bytes_{frame_bytes} {}

  Append append(const WireEvent& event) {
    const bool fits = ring.fits(event);
    const std::uint64_t oldest = ring.oldest_sequence();
    const std::size_t held = ring.bytes();
    const Append result = ring.append(event);
    const std::size_t need = events_header_bytes + encoded_size(event);
    largest_need_ = (std::max)(largest_need_, need);

    // What the ring may lose to frames being contiguous, and to its table.
    const std::size_t usable = history_bytes_ - (std::max)(std::size_t{128}, history_bytes_ / 16);
    const bool block_full = held + 2 * largest_need_ > usable;
    if (result == Append::merged) {
      merge(event);
    } else {
      require((result == Append::too_large) == !fits, "fits tells what append does");
    }
    if (result == Append::no_room) {
      require(unconfirmed_bytes() + 2 * largest_need_ > usable || frames_.size() - confirmed_ >= most_frames(),
              "room is refused only for want of it");
    }
    if (result == Append::appended) append_to_model(event, need);
    if (result == Append::appended || result == Append::merged) check_place(event);
    require(ring.oldest_sequence() == oldest || result == Append::appended, "only an event costs history");
    require(ring.oldest_sequence() == oldest || block_full || frames_.size() - oldest >= most_frames(),
            "history is forgotten only for want of room");
    check();
    return result;
  }

  std::optional<std::uint64_t> next(bool partial_allowed) {
    const auto sent = ring.next(partial_allowed);
    const bool has_sealed = sent_ + 1 < frames_.size() || (sent_ < frames_.size() && !open_);
    const bool has_any = sent_ < frames_.size();
    require(sent.has_value() == (partial_allowed ? has_any : has_sealed),
            "a frame comes when there is one that may go");
    if (sent) hand_over(*sent);
    check();
    return sent ? std::optional{sent->sequence} : std::nullopt;
  }

  void confirm(std::uint64_t sequence) {
    ring.confirm(sequence);
    confirmed_ = (std::max)(confirmed_, static_cast<std::size_t>((std::min<std::uint64_t>)(sequence, sent_)));
    check();
  }

  void rewind() {
    ring.rewind();
    sent_ = confirmed_;
    check();
  }

  FrameRing ring;
  std::uint64_t merges = 0;
  std::uint64_t resends = 0;

 private:
  struct Frame {
    std::vector<OwnedWire> events;
    std::vector<std::byte> bytes;  // as handed over first
    Bytes at;
  };

  [[nodiscard]] std::size_t most_frames() const { return (std::max)(std::size_t{16}, history_bytes_ / 256); }

  [[nodiscard]] static std::size_t size_of(const Frame& frame) {
    std::size_t size = events_header_bytes;
    for (const OwnedWire& e : frame.events) size += encoded_size({e.type, e.key, e.version, e.cause, e.awaited});
    return size;
  }

  [[nodiscard]] std::size_t unconfirmed_bytes() const {
    std::size_t sum = 0;
    for (std::size_t i = confirmed_; i != frames_.size(); ++i) sum += size_of(frames_[i]);
    return sum;
  }

  void before_overwriting(std::uint64_t sequence, Bytes bytes) noexcept override {
    const bool in_order = sequence == ++kept_;
    kept_whole_ = kept_whole_ && in_order && sequence <= confirmed_ && equal(bytes, frames_[sequence - 1].bytes);
  }

  void check_place(const WireEvent& event) const {
    const EventId place = ring.place_of_last();
    require(place.sequence == frames_.size(), "the last event lies in the open frame");
    const auto& events = frames_.back().events;
    require(place.index < events.size() && events[place.index].says(event), "the last event lies at its place");
    require(std::none_of(events.begin() + place.index + 1, events.end(),
                         [&](const OwnedWire& e) { return e.same_key(event); }),
            "nothing of its key lies behind it");
  }

  void append_to_model(const WireEvent& event, std::size_t need) {
    const std::uint64_t sequence = ring.last_accepted_sequence();
    const bool opens = sequence == frames_.size() + 1;
    require(opens || (open_ && sequence == frames_.size()), "the event is in the open frame or in the next one");
    if (opens) {
      frames_.emplace_back();
    } else {
      require(size_of(frames_.back()) + encoded_size(event) <= frame_bytes_, "a frame grows up to its target");
    }
    open_ = true;
    frames_.back().events.emplace_back(event);
    require(size_of(frames_.back()) <= (std::max)(frame_bytes_, need),
            "a frame is above its target for one event only");
  }

  void merge(const WireEvent& event) {
    ++merges;
    require(open_, "an event merges only into the open frame");
    auto& events = frames_.back().events;
    const auto latest =
        std::find_if(events.rbegin(), events.rend(), [&](const OwnedWire& e) { return e.same_key(event); });
    require(latest != events.rend() && latest->says(event), "an event merges only into the latest of its key");
    latest->awaited |= event.awaited;
  }

  void hand_over(const FrameRing::Outgoing& sent) {
    require(sent.sequence == ++sent_, "sequences are consecutive");
    if (sent_ == frames_.size()) open_ = false;
    Frame& frame = frames_[sent_ - 1];
    if (frame.bytes.empty()) {
      require(read_events(sent.bytes, sent.sequence) == frame.events, "the frame carries its events in order");
      require(sent.bytes.size() == size_of(frame), "the frame carries nothing else");
      frame.bytes = copy(sent.bytes);
      frame.at = sent.bytes;
      bound_ = sent_;
    } else {
      ++resends;
      require(equal(sent.bytes, frame.bytes), "a resent frame is the same byte for byte");
    }
  }

  void check() const {
    std::size_t in_flight = 0;
    for (std::size_t i = confirmed_; i != sent_; ++i) in_flight += frames_[i].bytes.size();
    require(ring.unconfirmed_frames() == sent_ - confirmed_, "unconfirmed frames are counted");
    require(ring.unconfirmed_bytes() == in_flight, "unconfirmed bytes are counted");
    require(ring.has_sealed() == (sent_ + (open_ ? 1 : 0) < frames_.size()), "sealed frames are seen");
    require(ring.has_open_events() == open_, "the open frame is seen");
    require(ring.handed_over() == sent_, "what was handed over in this session is known");
    require(ring.last_sequence() == bound_, "the last sequence is the one bound last");
    require(ring.confirmed_sequence() == confirmed_, "confirmations count");
    require(ring.last_accepted_sequence() == frames_.size(), "the latest event's frame is known");

    const std::uint64_t oldest = ring.oldest_sequence();
    require(oldest <= confirmed_ + 1, "an unconfirmed frame is kept");
    require(oldest == kept_ + 1, "the keeper is told of every frame that is forgotten");
    require(kept_whole_, "the keeper sees frames in order, whole");
    require(!ring.find(oldest - 1) && !ring.find(bound_ + 1), "nothing else is found");
    std::size_t held = (frames_.size() + 1 - oldest) * 8;
    for (std::size_t i = oldest - 1; i != frames_.size(); ++i) held += size_of(frames_[i]);
    for (std::uint64_t sequence = oldest; sequence <= bound_; ++sequence) {
      const auto found = ring.find(sequence);
      require(found && equal(*found, frames_[sequence - 1].bytes), "history is intact");
    }
    for (std::size_t i = confirmed_; i != bound_; ++i) {
      require(equal(frames_[i].at, frames_[i].bytes), "an unconfirmed frame stays as it was handed over");
    }
    require(ring.bytes() == held, "the held bytes are counted");
    require(held <= history_bytes_, "the cap holds");
  }

  std::size_t history_bytes_;
  std::size_t frame_bytes_;
  std::size_t largest_need_ = 0;
  std::deque<Frame> frames_{};  // the frame of sequence s is frames_[s - 1]
  bool open_ = false;           // the last one still takes events
  std::size_t confirmed_ = 0;
  std::size_t sent_ = 0;
  std::size_t bound_ = 0;
  std::uint64_t kept_ = 0;  // the keeper was told of last
  bool kept_whole_ = true;
};

/// A random event over few keys; some are longer than a frame of the tests wants to be.
class RandomEvents {
 public:
  explicit RandomEvents(std::uint64_t seed) : random_{seed} {}

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  WireEvent next(std::size_t longest_key) {
    WireEvent event;
    event.awaited = below(8) == 0;
    if (below(16) == 0) {
      event.type = EventType::resync;
      event.cause = static_cast<ResyncCause>(below(resync_cause_count));
      return event;
    }
    event.type = static_cast<EventType>(below(4));
    if (below(4) == 0) event.version = random_() >> below(64);
    const std::size_t longest = below(8) == 0 ? longest_key : (std::min<std::size_t>)(longest_key, 6);
    key_.assign(1 + below(longest), 'k');
    key_.back() = static_cast<char>('a' + below(3));
    event.key = key_;
    return event;
  }

 private:
  std::mt19937_64 random_;
  std::string key_;
};

}  // namespace

TEST_CASE("an event comes out of the ring as it went in") {
  Checked checked{4096, 1024};
  CHECK(checked.append(invalidate("user:42")) == Append::appended);
  CHECK(checked.append({.type = EventType::set, .key = "a", .version = 7, .awaited = true}) == Append::appended);
  CHECK(checked.append({.type = EventType::remove, .key = "b", .version = everything}) == Append::appended);
  CHECK(checked.append({.type = EventType::lease_revoked, .key = "a"}) == Append::appended);
  CHECK(checked.append(top(ResyncCause::overflow)) == Append::appended);
  CHECK(checked.append(invalidate(std::string(300, '\0'))) == Append::appended);
  CHECK(checked.next(true) == 1);
  CHECK(read_events(*checked.ring.find(1), 1).size() == 6);
}

TEST_CASE("a frame is handed over when it is full, or when a partial one may go") {
  Checked checked{4096, 128};
  CHECK_FALSE(checked.next(true));
  CHECK(checked.append(invalidate("a")) == Append::appended);
  CHECK_FALSE(checked.next(false));
  CHECK_FALSE(checked.ring.has_sealed());
  CHECK(checked.next(true) == 1);

  std::string key = "aaaaaaaa";
  for (; !checked.ring.has_sealed(); ++key.back()) REQUIRE(checked.append(invalidate(key)) == Append::appended);
  const std::size_t fitting = (128 - events_header_bytes) / encoded_size(invalidate(key));
  CHECK(key.back() == static_cast<char>('a' + fitting + 1));
  CHECK(checked.next(false) == 2);
  CHECK_FALSE(checked.next(false));
  CHECK(checked.next(true) == 3);
  CHECK_FALSE(checked.next(true));
}

TEST_CASE("the sequence of an event's frame is known before it is bound") {
  Checked checked{4096, 128};
  CHECK(checked.ring.last_accepted_sequence() == 0);
  CHECK(checked.append(invalidate("a")) == Append::appended);
  CHECK(checked.ring.last_accepted_sequence() == 1);
  CHECK(checked.append(invalidate(key_for_frame(128))) == Append::appended);
  CHECK(checked.ring.last_accepted_sequence() == 2);
  CHECK(checked.ring.last_sequence() == 0);
  CHECK(checked.next(false) == 1);
  CHECK(checked.next(true) == 2);
  CHECK(checked.ring.last_accepted_sequence() == 2);
  CHECK(checked.ring.last_sequence() == 2);
}

TEST_CASE("an event equal to the latest of its key in the open frame is merged") {
  Checked checked{4096, 1024};
  CHECK(checked.append(set_to("a", 1)) == Append::appended);
  CHECK(checked.append(set_to("a", 1)) == Append::merged);
  SECTION("also behind another key") {
    CHECK(checked.append(set_to("b", 1)) == Append::appended);
    CHECK(checked.append(set_to("a", 1)) == Append::merged);
    CHECK(checked.append(set_to("b", 1)) == Append::merged);
  }
  SECTION("but not when a later event of the key says something else") {
    CHECK(checked.append(set_to("a", 2)) == Append::appended);
    CHECK(checked.append(set_to("a", 1)) == Append::appended);
    CHECK(checked.append({.type = EventType::remove, .key = "a", .version = 1}) == Append::appended);
    CHECK(checked.append(set_to("a", 1)) == Append::appended);
    CHECK(checked.append(set_to("a", 1)) == Append::merged);
  }
  SECTION("not with a lease of the same name") {
    CHECK(checked.append({.type = EventType::lease_revoked, .key = "a", .version = 1}) == Append::appended);
  }
  SECTION("not with an event of another frame") {
    CHECK(checked.next(true) == 1);
    CHECK(checked.append(set_to("a", 1)) == Append::appended);
    CHECK(checked.next(true) == 2);
    CHECK(checked.append(set_to("b", 1)) == Append::appended);
    CHECK(checked.append(set_to("a", 1)) == Append::appended);
  }
  SECTION("an awaited repeat makes the event awaited, once and for all") {
    CHECK(checked.append({.type = EventType::set, .key = "a", .version = 1, .awaited = true}) == Append::merged);
    CHECK(checked.append(set_to("a", 1)) == Append::merged);
    CHECK(checked.next(true) == 1);
    const auto events = read_events(*checked.ring.find(1), 1);
    REQUIRE(events.size() == 1);
    CHECK(events[0].awaited);
  }
  SECTION("tops merge when they have the same cause") {
    CHECK(checked.append(top(ResyncCause::requested)) == Append::appended);
    CHECK(checked.append(top(ResyncCause::requested)) == Append::merged);
    CHECK(checked.append(top(ResyncCause::overflow)) == Append::appended);
    CHECK(checked.append(top(ResyncCause::requested)) == Append::appended);
  }
  SECTION("whatever cause a caller left in an event that has none") {
    CHECK(checked.ring.append({EventType::set, "a", 1, ResyncCause::overflow, false}) == Append::merged);
  }
}

TEST_CASE("the place of the last event is known, whether it was appended or merged") {
  Checked checked{4096, 1024};
  const auto place_of = [&](const WireEvent& event, Append expected) {
    CHECK(checked.append(event) == expected);
    return checked.ring.place_of_last();
  };
  CHECK(place_of(set_to("a", 1), Append::appended) == EventId{1, 0});
  CHECK(place_of(set_to("a", 1), Append::merged) == EventId{1, 0});
  CHECK(place_of(top(ResyncCause::requested), Append::appended) == EventId{1, 1});
  CHECK(place_of(invalidate(std::string(300, 'k')), Append::appended) == EventId{1, 2});
  CHECK(place_of(set_to("b", 1), Append::appended) == EventId{1, 3});
  CHECK(place_of(invalidate(std::string(300, 'k')), Append::merged) == EventId{1, 2});
  CHECK(place_of(set_to("b", 1), Append::merged) == EventId{1, 3});
  CHECK(place_of(set_to("c", 1), Append::appended) == EventId{1, 4});
  CHECK(checked.next(true) == 1);
  CHECK(place_of(set_to("a", 1), Append::appended) == EventId{2, 0});
  CHECK(place_of(invalidate(key_for_frame(1024)), Append::appended) == EventId{3, 0});
  CHECK(place_of(invalidate("small"), Append::appended) == EventId{4, 0});
}

TEST_CASE("what was handed over counts anew in a session") {
  Checked checked{4096, 64};
  CHECK(checked.ring.handed_over() == 0);
  for (std::uint64_t i = 1; i != 4; ++i) {
    REQUIRE(checked.append(set_to("key", i)) == Append::appended);
    REQUIRE(checked.next(true) == i);
    CHECK(checked.ring.handed_over() == i);
  }
  checked.confirm(1);
  checked.rewind();
  CHECK(checked.ring.handed_over() == 1);
  CHECK(checked.next(true) == 2);
  CHECK(checked.ring.handed_over() == 2);
}

TEST_CASE("a keeper sees each frame whole before it is overwritten, whether the block or the table is full") {
  struct Case {
    std::size_t history_bytes;
    std::size_t key_bytes;
  };
  const auto [history, key] = GENERATE(Case{512, 100}, Case{512, 1}, Case{4'096, 1});
  struct Keeper final : FrameKeeper {
    void before_overwriting(std::uint64_t sequence, Bytes frame) noexcept override {
      told = sequence;
      bytes = copy(frame);
    }
    std::uint64_t told = 0;
    std::vector<std::byte> bytes{};
  } keeper;
  FrameRing ring{self, history, 64, &keeper};
  for (std::uint64_t sequence = 1; sequence != 2'000; ++sequence) {
    REQUIRE(ring.append(set_to(std::string(key, 'k'), sequence)) == Append::appended);
    REQUIRE(ring.next(true)->sequence == sequence);
    ring.confirm(sequence);
    REQUIRE(keeper.told + 1 == ring.oldest_sequence());
    if (keeper.told == 0) continue;
    const auto events = read_events(keeper.bytes, keeper.told);
    REQUIRE(events.size() == 1);
    REQUIRE(events[0].version == keeper.told);
  }
  CHECK(keeper.told > 1'900);
}

TEST_CASE("the few hot keys of a frame merge whatever their length") {
  const auto length = static_cast<std::size_t>(GENERATE(range(1, 40)));
  const std::size_t differing = static_cast<std::size_t>(GENERATE(0, 1, 2)) * (length - 1) / 2;
  Checked checked{65'536, 32'768};
  int appended = 0;
  for (int round = 0; round != 8; ++round) {
    for (char c = 'a'; c != 'i'; ++c) {
      std::string key(length, 'x');
      key[differing] = c;
      appended += checked.append(invalidate(key)) == Append::appended ? 1 : 0;
    }
  }
  CHECK(appended <= 22);  // 8, or what one pair that shares a place in the index costs
}

TEST_CASE("keys are told apart wherever they differ") {
  Checked checked{65'536, 32'768};
  std::string key(100, 'x');
  CHECK(checked.append(invalidate(key)) == Append::appended);
  for (char& c : key) {
    c = 'y';
    CHECK(checked.append(invalidate(key)) == Append::appended);
  }
}

TEST_CASE("merging takes no room") {
  Checked checked{512, 512};
  CHECK(checked.append(invalidate("hot")) == Append::appended);
  std::uint64_t version = 0;
  while (checked.append(set_to("other", ++version)) == Append::appended) {
  }
  CHECK(checked.ring.last_accepted_sequence() == 1);
  CHECK(checked.append(invalidate("hot")) == Append::merged);
}

TEST_CASE("an event larger than a full frame has a frame of its own") {
  Checked checked{4096, 128};
  const std::string large = key_for_frame(300);
  CHECK(checked.append(invalidate("a")) == Append::appended);
  CHECK(checked.append(invalidate(large)) == Append::appended);
  CHECK(checked.append(invalidate("b")) == Append::appended);
  CHECK(checked.next(false) == 1);
  CHECK(checked.next(false) == 2);
  CHECK(checked.ring.find(2)->size() == 300);
  CHECK(checked.next(true) == 3);
}

TEST_CASE("an event above the broker's limit is too large, one at the limit is not") {
  Checked checked{4096, 128};
  const std::string large = key_for_frame(300);
  checked.ring.limit_frame(299);
  CHECK(checked.append(invalidate(large)) == Append::too_large);
  checked.ring.limit_frame(300);
  CHECK(checked.append(invalidate(large)) == Append::appended);
  checked.ring.limit_frame(events_header_bytes + 2);
  CHECK(checked.append(invalidate("a")) == Append::too_large);
  checked.ring.limit_frame(0);
  CHECK(checked.append(invalidate("a")) == Append::too_large);
}

TEST_CASE("a lower limit binds also the frame that is open") {
  FrameRing ring{self, 4096, 1024};
  const std::size_t one = encoded_size(invalidate("aaaaaaaa"));
  auto append = [&ring, key = std::string("aaaaaaaa")]() mutable {
    ++key.back();
    return ring.append(invalidate(key));
  };
  REQUIRE(append() == Append::appended);
  REQUIRE(append() == Append::appended);
  SECTION("that is below it") {
    ring.limit_frame(events_header_bytes + 3 * one);
    REQUIRE(append() == Append::appended);
    CHECK_FALSE(ring.has_sealed());
    REQUIRE(append() == Append::appended);
    CHECK(ring.next(false)->bytes.size() == events_header_bytes + 3 * one);
  }
  SECTION("that is above it already") {
    ring.limit_frame(events_header_bytes + one);
    REQUIRE(append() == Append::appended);
    CHECK(ring.next(false)->bytes.size() == events_header_bytes + 2 * one);
    CHECK(ring.next(true)->bytes.size() == events_header_bytes + one);
  }
}

TEST_CASE("frames that have become too large are given up with all before them, and what follows goes on") {
  FrameRing ring{self, 4096, 1024};
  const auto append = [&ring](std::size_t frame_bytes) {
    REQUIRE(ring.append(invalidate(key_for_frame(frame_bytes))) == Append::appended);
    REQUIRE(ring.next(true));
  };
  append(100);
  ring.confirm(1);
  append(100);
  append(600);
  append(200);
  REQUIRE(ring.append(invalidate("open")) == Append::appended);
  ring.rewind();
  CHECK_FALSE(ring.give_up_above(600));
  CHECK(ring.oldest_sequence() == 1);
  CHECK(ring.give_up_above(599));
  CHECK(ring.oldest_sequence() == 4);
  CHECK(ring.confirmed_sequence() == 3);
  CHECK_FALSE(ring.find(1));
  CHECK(ring.next(false)->sequence == 4);
  CHECK(ring.next(true)->sequence == 5);
  CHECK(ring.unconfirmed_frames() == 2);

  SECTION("also when it is the open one, which nobody has had") {
    REQUIRE(ring.append(invalidate(key_for_frame(700))) == Append::appended);
    ring.rewind();
    CHECK(ring.give_up_above(300));
    CHECK(ring.oldest_sequence() == 7);
    CHECK(ring.handed_over() == 6);
    CHECK_FALSE(ring.next(true));
    REQUIRE(ring.append(invalidate("more")) == Append::appended);
    CHECK(ring.next(true)->sequence == 7);
    CHECK(ring.bytes() > 0);
  }
}

TEST_CASE("no key is longer than the codec takes, however large the broker's frames") {
  FrameRing ring{self, std::size_t{64} << 20U, 1024};
  ring.limit_frame(everything);
  CHECK(ring.append(invalidate(std::string(max_wire_key_bytes + 1, 'k'))) == Append::too_large);
  CHECK(ring.append(invalidate(std::string(max_wire_key_bytes / 2, 'k'))) == Append::appended);
}

TEST_CASE("an event that the ring can never hold is too large, one that fills it has to wait") {
  constexpr std::size_t block = 512 - 128;
  Checked checked{512, 64};
  CHECK(checked.append(invalidate(key_for_frame(block + 1))) == Append::too_large);
  CHECK(checked.append(invalidate("a")) == Append::appended);
  const std::string all = key_for_frame(block);
  CHECK(checked.append(invalidate(all)) == Append::no_room);
  CHECK(checked.next(true) == 1);
  CHECK(checked.append(invalidate(all)) == Append::no_room);
  checked.confirm(1);
  CHECK(checked.append(invalidate(all)) == Append::appended);
  CHECK_FALSE(checked.ring.find(1));
  CHECK(checked.ring.oldest_sequence() == 2);
  CHECK(checked.append(invalidate("a")) == Append::no_room);

  FrameRing none{self, 0, 64};
  CHECK(none.append(invalidate("a")) == Append::too_large);
}

TEST_CASE("a full ring has room again after a confirmation, never before") {
  Checked checked{512, 64};
  std::uint64_t sent = 0;
  while (checked.append(set_to("key", sent + 1)) == Append::appended) {
    REQUIRE(checked.next(true) == ++sent);
  }
  CHECK(sent > 4);
  checked.confirm(0);
  CHECK(checked.append(set_to("key", 0)) == Append::no_room);
  checked.confirm(1);
  CHECK(checked.ring.find(1));
  CHECK(checked.append(set_to("key", 1)) == Append::appended);
  CHECK_FALSE(checked.ring.find(1));
  CHECK(checked.ring.find(2));
}

TEST_CASE("room is used to the last byte, and no more history is overwritten than it takes") {
  constexpr std::size_t block = 512 - 128;
  Checked checked{512, 64};
  std::string key = key_for_frame(block / 6);
  for (std::uint64_t i = 1; i != 7; ++i, ++key.back()) {
    REQUIRE(checked.append(invalidate(key)) == Append::appended);
    REQUIRE(checked.next(true) == i);
  }
  CHECK(checked.append(invalidate("a")) == Append::no_room);
  checked.confirm(2);
  CHECK(checked.append(invalidate(key_for_frame(2 * (block / 6) + 1))) == Append::no_room);
  CHECK(checked.append(invalidate(key)) == Append::appended);
  CHECK(checked.ring.oldest_sequence() == 2);
  CHECK(checked.next(true) == 7);
  CHECK(checked.append(invalidate(key_for_frame(block / 6))) == Append::appended);
  CHECK(checked.ring.oldest_sequence() == 3);
  CHECK(checked.append(invalidate("a")) == Append::no_room);
  checked.confirm(everything);
  CHECK(checked.append(invalidate("a")) == Append::appended);
  CHECK(checked.ring.oldest_sequence() == 4);
}

TEST_CASE("a confirmation covers all frames handed over before it, and no others") {
  Checked checked{4096, 64};
  for (std::uint64_t i = 1; i != 5; ++i) {
    REQUIRE(checked.append(set_to("key", i)) == Append::appended);
    REQUIRE(checked.next(true) == i);
  }
  CHECK(checked.append(invalidate("later")) == Append::appended);
  checked.confirm(2);
  CHECK(checked.ring.unconfirmed_frames() == 2);
  checked.confirm(1);
  CHECK(checked.ring.unconfirmed_frames() == 2);
  checked.confirm(everything);
  CHECK(checked.ring.unconfirmed_frames() == 0);
  CHECK(checked.ring.unconfirmed_bytes() == 0);
  CHECK(checked.ring.confirmed_sequence() == 4);
  CHECK(checked.next(true) == 5);
  CHECK(checked.ring.confirmed_sequence() == 4);
}

TEST_CASE("after a rewind unconfirmed frames come again, byte for byte, before anything new") {
  Checked checked{4096, 64};
  for (std::uint64_t i = 1; i != 5; ++i) {
    REQUIRE(checked.append(set_to("key", i)) == Append::appended);
    REQUIRE(checked.next(true) == i);
  }
  checked.confirm(1);
  CHECK(checked.append(set_to("key", 4)) == Append::appended);
  checked.rewind();
  CHECK(checked.ring.unconfirmed_frames() == 0);
  CHECK(checked.ring.has_sealed());
  CHECK(checked.append(set_to("key", 4)) == Append::merged);
  checked.confirm(3);  // a word of the old session: nothing was handed over in this one
  CHECK(checked.next(false) == 2);
  CHECK(checked.next(false) == 3);
  checked.rewind();  // in the middle of resending
  for (std::uint64_t i = 2; i != 5; ++i) REQUIRE(checked.next(false) == i);
  CHECK_FALSE(checked.next(false));
  CHECK(checked.next(true) == 5);
  CHECK(checked.resends == 5);
}

TEST_CASE("frames of one tiny event each never take more memory than the ring has") {
  struct Case {
    std::size_t history_bytes;
    std::uint64_t frames;  // the block is full first in the smallest ring, in the others the table
  };
  const auto [history, frames] = GENERATE(Case{512, 7}, Case{4'096, 32}, Case{40'000, 256});
  FrameRing ring{self, history, 32'768};
  std::uint64_t sequence = 0;
  while (ring.append(set_to("12345678", 1'000 + sequence)) == Append::appended) {
    REQUIRE(ring.next(true)->sequence == ++sequence);
    REQUIRE(ring.bytes() <= history);
  }
  CHECK(sequence == frames);
  for (int round = 0; round != 1'000; ++round) {
    ring.confirm(ring.confirmed_sequence() + 1);
    while (ring.append(set_to("12345678", 1'000 + sequence)) == Append::appended) {
      REQUIRE(ring.next(true)->sequence == ++sequence);
    }
    REQUIRE(ring.bytes() <= history);
    REQUIRE(ring.find(ring.oldest_sequence()));
  }
  CHECK(sequence == frames + 1'000);
}

TEST_CASE("frames may begin and end at every offset of the block") {
  constexpr std::size_t block = 512 - 128;
  constexpr std::size_t smallest = events_header_bytes + 3;
  std::set<std::ptrdiff_t> begins;
  std::set<std::ptrdiff_t> ends;
  for (std::size_t first = smallest; first <= block; ++first) {
    for (std::size_t other = smallest; other <= block; other += 5) {
      FrameRing ring{self, 512, block};
      const std::byte* base = nullptr;
      std::vector<std::byte> earlier;
      for (std::uint64_t sequence = 1; sequence != 12; ++sequence) {
        const std::string key = key_for_frame(sequence == 1 ? first : other);
        const bool no_room = ring.append(invalidate(key)) == Append::no_room;
        if (sequence != 1 && !equal(*ring.find(sequence - 1), earlier)) FAIL("an unconfirmed frame was overwritten");
        ring.confirm(everything);
        if (no_room && ring.append(invalidate(key)) != Append::appended) FAIL("an empty ring has room");
        const Bytes bytes = ring.next(true)->bytes;
        if (sequence == 1) base = bytes.data();
        begins.insert(bytes.data() - base);
        ends.insert(bytes.data() + bytes.size() - base);
        earlier = copy(bytes);
      }
    }
  }
  CHECK(*begins.begin() == 0);
  CHECK(*begins.rbegin() == static_cast<std::ptrdiff_t>(block - smallest));
  CHECK(*ends.rbegin() == static_cast<std::ptrdiff_t>(block));
  CHECK(begins.size() == 1 + block - smallest - (smallest - 1));
  CHECK(ends.size() == block - smallest + 1);
}

TEST_CASE("every short series of operations agrees with the model") {
  constexpr std::size_t operations = 8;
  constexpr int length = 6;
  const std::string middle = key_for_frame(80);
  const std::string large = key_for_frame(150);
  std::size_t series = 1;
  for (int i = 0; i != length; ++i) series *= operations;
  for (std::size_t number = 0; number != series; ++number) {
    Checked checked{128 + 192, 80};
    REQUIRE(checked.append(invalidate("before")) == Append::appended);
    for (std::size_t left = number, step = 0; step != length; ++step, left /= operations) {
      switch (left % operations) {
        case 0: static_cast<void>(checked.append(set_to("key", step + 1))); break;
        case 1: static_cast<void>(checked.append(invalidate(middle))); break;
        case 2: static_cast<void>(checked.append(invalidate(large))); break;
        case 3: checked.next(false); break;
        case 4: checked.next(true); break;
        case 5: checked.confirm(checked.ring.confirmed_sequence() + 1); break;
        case 6: checked.confirm(everything); break;
        default: checked.rewind(); break;
      }
    }
  }
}

TEST_CASE("long random series of operations agree with the model") {
  const auto history = static_cast<std::size_t>(GENERATE(400, 512, 777, 4096, 9'000));
  const auto frame = static_cast<std::size_t>(GENERATE(0, 64, 100, 333));
  const auto seed = static_cast<std::uint64_t>(GENERATE(1, 2, 3));
  RandomEvents random{seed * 1'000'003 + history * 31 + frame};
  Checked checked{history, frame};
  std::map<Append, int> results;
  for (int step = 0; step != 10'000; ++step) {
    const std::uint64_t what = random.below(100);
    if (what < 60) {
      ++results[checked.append(random.next(history < 1'000 ? history : history / 8))];
    } else if (what < 75) {
      checked.next(false);
    } else if (what < 87) {
      checked.next(true);
    } else if (what < 98) {
      checked.confirm(checked.ring.confirmed_sequence() + random.below(4));
    } else {
      checked.rewind();
    }
  }
  CHECK(results[Append::appended] > 100);
  CHECK((results[Append::merged] > 10 || frame < 100));
  CHECK((results[Append::no_room] > 10 || history > 1'000));
  CHECK((results[Append::too_large] > 0 || history > 1'000));
  CHECK(checked.resends > 0);
  CHECK(checked.ring.oldest_sequence() > 1);
}
