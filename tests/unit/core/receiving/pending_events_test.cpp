// PendingEvents: what joins with what, its bounds, and the laws of a semilattice.
#include <syncbus/core/receiving/pending_events.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"

using namespace syncbus;
using core::EventId;
using core::PendingEvents;
using core::WireEvent;

namespace {

constexpr std::size_t plenty = std::size_t{64} << 20U;
constexpr NodeId alice{1};
constexpr NodeId bob{2};

static_assert(std::is_nothrow_constructible_v<PendingEvents, std::size_t, std::size_t>);
static_assert(!std::is_copy_constructible_v<PendingEvents>);
static_assert(noexcept(std::declval<PendingEvents&>().put(WireEvent{}, NodeId{})));
static_assert(noexcept(std::declval<PendingEvents&>().put_resync(Resync{})));
static_assert(noexcept(std::declval<PendingEvents&>().drop_front()));

WireEvent event(std::string_view key, EventType type = EventType::invalidate, std::uint64_t version = 0) {
  return {.type = type, .key = key, .version = version};
}

std::string numbered(std::string_view prefix, int number) { return std::string{prefix} += std::to_string(number); }

WireEvent top(ResyncCause cause) { return {.type = EventType::resync, .key = {}, .cause = cause}; }

/// A comparable copy of what waits.
struct Held {
  std::string key;
  NodeId origin;
  EventType type = EventType::invalidate;
  std::uint64_t version = 0;
  std::vector<EventId> awaited{};

  friend bool operator==(const Held&, const Held&) = default;
  [[nodiscard]] bool same_identity(const Held& other) const {
    return key == other.key && origin == other.origin &&
           (type == EventType::lease_revoked) == (other.type == EventType::lease_revoked);
  }
};

struct State {
  std::optional<Resync> top;
  std::vector<Held> events;

  friend bool operator==(const State&, const State&) = default;
};

State drain(PendingEvents& set) {
  State state{set.take_resync(), {}};
  core::PendingEvent out;
  while (set.pop_front(out)) state.events.push_back({out.key, out.origin, out.type, out.version, out.awaited});
  return state;
}

void pour(const State& state, PendingEvents& set) {
  if (state.top) set.put_resync(*state.top);
  for (const Held& held : state.events) {
    const WireEvent wire{.type = held.type, .key = held.key, .version = held.version};
    if (held.awaited.empty()) set.put(wire, held.origin);
    for (const EventId& place : held.awaited) set.put(wire, held.origin, place);
  }
}

State join_of(const State& a, const State& b, std::size_t max_events = 1'000) {
  PendingEvents set{max_events, plenty};
  pour(a, set);
  pour(b, set);
  return drain(set);
}

bool before(const EventId& a, const EventId& b) {
  return std::tie(a.sequence, a.index) < std::tie(b.sequence, b.index);
}

/// Places as a set: what joins twice has its places twice.
State with_distinct_places(State state) {
  for (Held& held : state.events) {
    std::sort(held.awaited.begin(), held.awaited.end(), before);
    held.awaited.erase(std::unique(held.awaited.begin(), held.awaited.end()), held.awaited.end());
  }
  return state;
}

/// The same up to what a join may choose: the order of events and places, and which of them wait behind a resync that
/// covers all.
State normal(State state) {
  state = with_distinct_places(std::move(state));
  if (state.top) state.events.clear();
  std::sort(state.events.begin(), state.events.end(), [](const Held& a, const Held& b) {
    return std::tie(a.key, a.origin, a.type) < std::tie(b.key, b.origin, b.type);
  });
  return state;
}

bool covers(const State& state, const Held& wanted) {
  return state.top || std::any_of(state.events.begin(), state.events.end(), [&](const Held& held) {
           return held.same_identity(wanted) &&
                  (held.version == 0 || (wanted.version != 0 && held.version >= wanted.version)) &&
                  (held.type == wanted.type || held.type == EventType::invalidate) &&
                  std::all_of(wanted.awaited.begin(), wanted.awaited.end(), [&](const EventId& place) {
                    return std::find(held.awaited.begin(), held.awaited.end(), place) != held.awaited.end();
                  });
         });
}

bool covers(const State& state, const State& wanted) {
  return (!wanted.top || state.top) &&
         std::all_of(wanted.events.begin(), wanted.events.end(), [&](const Held& held) { return covers(state, held); });
}

constexpr std::array all_types{EventType::invalidate, EventType::set, EventType::remove, EventType::lease_revoked};

class Random {
 public:
  explicit Random(unsigned seed) : engine_{seed} {}
  std::size_t below(std::size_t bound) { return std::uniform_int_distribution<std::size_t>{0, bound - 1}(engine_); }
  bool one_in(std::size_t n) { return below(n) == 0; }

  Held held() {
    return {std::string(1 + below(2) * 40, static_cast<char>('a' + below(3))), NodeId{1 + below(2)},
            all_types[below(all_types.size())], below(4), places()};
  }
  std::vector<EventId> places() {
    if (!one_in(4)) return {};
    return {{1 + below(1'000), static_cast<std::uint32_t>(below(1'000))}};
  }
  Resync resync() { return {static_cast<ResyncCause>(below(resync_cause_count)), NodeId{below(3)}}; }

  State state() {
    PendingEvents set{1'000, plenty};
    if (one_in(4)) set.put_resync(resync());
    for (std::size_t count = below(8); count != 0; --count) pour({std::nullopt, {held()}}, set);
    return drain(set);
  }

 private:
  std::mt19937 engine_;
};

/// The specification, as slow and plain as can be.
class Reference {
 public:
  explicit Reference(std::size_t max_events) : max_events_{max_events} {}

  std::size_t put(Held held) {
    const auto old = std::find_if(state.events.begin(), state.events.end(),
                                  [&](const Held& waiting) { return waiting.same_identity(held); });
    if (old != state.events.end()) {
      if (old->type != held.type) held.type = EventType::invalidate;
      held.version = old->version == 0 || held.version == 0 ? 0 : (std::max)(old->version, held.version);
      held.awaited.insert(held.awaited.begin(), old->awaited.begin(), old->awaited.end());
      state.events.erase(old);
      state.events.push_back(held);
      return 1;
    }
    if (state.events.size() == max_events_) {
      const std::size_t tops = state.top ? 1 : 0;
      return put_resync({ResyncCause::overflow, {}}) + 1 - tops;
    }
    state.events.push_back(held);
    return 0;
  }

  std::size_t put_resync(Resync resync) {
    const std::size_t absorbed = state.events.size() + (state.top ? 1U : 0U);
    if (state.top) {
      if (state.top->cause < resync.cause) resync.cause = state.top->cause;
      if (state.top->peer != resync.peer) resync.peer = {};
    }
    state = {resync, {}};
    return absorbed;
  }

  State state;

 private:
  std::size_t max_events_;
};

}  // namespace

TEST_CASE("events of equal key and origin join at the place of the last") {
  PendingEvents set{10, plenty};
  CHECK(set.put(event("a"), alice).absorbed == 0);
  CHECK(set.put(event("b"), alice).absorbed == 0);
  CHECK(set.put(event("a"), alice).absorbed == 1);
  CHECK(set.size() == 2);
  CHECK(drain(set) == State{std::nullopt, {{"b", alice}, {"a", alice}}});
  CHECK(set.empty());
}

TEST_CASE("different keys, origins and namespaces do not join") {
  PendingEvents set{10, plenty};
  const std::string_view with_nul{"a\0", 2};
  set.put(event("a"), alice);
  set.put(event("a"), bob);
  set.put(event("a", EventType::lease_revoked), alice);
  set.put(event(with_nul), alice);
  CHECK(drain(set) ==
        State{std::nullopt,
              {{"a", alice}, {"a", bob}, {"a", alice, EventType::lease_revoked}, {std::string{with_nul}, alice}}});
}

TEST_CASE("what joins keeps a common type, the larger version unless one has none, and who awaits it") {
  PendingEvents set{10, plenty};
  set.put(event("same", EventType::set, 7), alice);
  set.put(event("same", EventType::set, 5), alice);
  set.put(event("other", EventType::set, 5), alice);
  set.put(event("other", EventType::remove, 7), alice);
  set.put(event("none", EventType::set, 5), alice);
  set.put(event("none", EventType::set, 0), alice);
  set.put(event("none", EventType::set, 9), alice);
  set.put(event("awaited", EventType::set, 1), alice, EventId{4, 7});
  set.put(event("awaited", EventType::set, 2), alice);
  set.put(event("awaited", EventType::set, 3), alice, EventId{5, 0});
  CHECK(drain(set) == State{std::nullopt,
                            {{"same", alice, EventType::set, 7},
                             {"other", alice, EventType::invalidate, 7},
                             {"none", alice, EventType::set, 0},
                             {"awaited", alice, EventType::set, 3, {{4, 7}, {5, 0}}}}});
}

TEST_CASE("one event too many joins everything to a resync, behind which later events wait") {
  PendingEvents set{2, plenty};
  set.put(event("a"), alice);
  set.put(event("b"), alice);
  CHECK_FALSE(set.put(event("a"), alice).overflowed);
  const auto put = set.put(event("c"), alice);
  CHECK(put.overflowed);
  CHECK(put.absorbed == 3);
  CHECK_FALSE(set.empty());
  CHECK(set.size() == 0);
  CHECK_FALSE(set.put(event("d"), alice).overflowed);

  core::PendingEvent out;
  CHECK_FALSE(set.pop_front(out));
  CHECK(set.take_resync() == Resync{ResyncCause::overflow, {}});
  CHECK(set.take_resync() == std::nullopt);
  CHECK(set.pop_front(out));
  CHECK(out.key == "d");
  CHECK(set.empty());
}

TEST_CASE("a set without room for any event holds a resync") {
  const std::size_t max_events = GENERATE(std::size_t{0}, std::size_t{10});
  PendingEvents set{max_events, max_events == 0 ? plenty : 20};
  CHECK(set.put(event("a"), alice).overflowed);
  CHECK(set.put(event("a"), alice).absorbed == 1);
  CHECK(drain(set) == State{Resync{ResyncCause::overflow, {}}, {}});
}

TEST_CASE("a resync absorbs what waits, and is taken before what comes later") {
  PendingEvents set{10, plenty};
  set.put(event("before"), alice);
  CHECK(set.put_resync({ResyncCause::joined, bob}) == 1);
  set.put(event("between"), alice);
  CHECK(set.put_resync({ResyncCause::joined, bob}) == 2);
  set.put(event("after"), alice);
  CHECK(drain(set) == State{Resync{ResyncCause::joined, bob}, {{"after", alice}}});
}

TEST_CASE("an event of type resync is put as a resync about its origin") {
  PendingEvents set{10, plenty};
  set.put(event("before"), bob);
  CHECK(set.put(top(ResyncCause::requested), alice).absorbed == 1);
  CHECK(drain(set) == State{Resync{ResyncCause::requested, alice}, {}});
}

TEST_CASE("the front shows what is taken first, the resync as an event without a key") {
  PendingEvents set{10, plenty};
  set.put_resync({ResyncCause::unrepairable, bob});
  set.put(event("a", EventType::set, 3), alice, EventId{1, 1});
  set.put(event("b"), alice);
  CHECK(set.front() == top(ResyncCause::unrepairable));
  set.drop_front();
  CHECK(set.front() == event("a", EventType::set, 3));
  set.drop_front();
  CHECK(set.front() == event("b"));
  set.drop_front();
  CHECK(set.empty());
}

TEST_CASE("resyncs, types and versions join commutatively, associatively and idempotently") {
  std::vector<Resync> resyncs;
  for (std::size_t cause = 0; cause != resync_cause_count; ++cause) {
    for (std::uint64_t peer = 0; peer != 4; ++peer) resyncs.push_back({static_cast<ResyncCause>(cause), NodeId{peer}});
  }
  const std::vector<EventType> types{EventType::invalidate, EventType::set, EventType::remove};
  const std::vector<std::uint64_t> versions{0, 1, 2, ~std::uint64_t{0}};
  const auto lawful = [](const auto& values, auto join) {
    for (const auto& a : values) {
      if (join(a, a) != a) return false;
      for (const auto& b : values) {
        if (join(a, b) != join(b, a) || join(join(a, b), a) != join(a, b)) return false;
        for (const auto& c : values) {
          if (join(join(a, b), c) != join(a, join(b, c))) return false;
        }
      }
    }
    return true;
  };
  CHECK(lawful(resyncs, [](const Resync& a, const Resync& b) { return core::join(a, b); }));
  CHECK(lawful(types, [](EventType a, EventType b) { return core::join(a, b); }));
  CHECK(lawful(versions, [](std::uint64_t a, std::uint64_t b) { return core::join_versions(a, b); }));
  CHECK(core::join(Resync{ResyncCause::joined, alice}, Resync{ResyncCause::peer_lost, alice}) ==
        Resync{ResyncCause::peer_lost, alice});
  CHECK(core::join(Resync{ResyncCause::joined, alice}, Resync{ResyncCause::joined, bob}) ==
        Resync{ResyncCause::joined, {}});
}

TEST_CASE("whole sets join commutatively, associatively, idempotently, and never below their arguments") {
  const auto seed = GENERATE(range(0U, 2'000U));
  CAPTURE(seed);
  Random random{seed};
  const State a = random.state();
  const State b = random.state();
  const State c = random.state();
  const State both = join_of(a, b);
  REQUIRE(normal(both) == normal(join_of(b, a)));
  REQUIRE(normal(join_of(both, c)) == normal(join_of(a, join_of(b, c))));
  REQUIRE(with_distinct_places(join_of(a, a)) == with_distinct_places(a));
  REQUIRE(normal(join_of(both, a)) == normal(both));
  REQUIRE(covers(both, a));
  REQUIRE(covers(both, b));
  const State bounded = join_of(a, b, 3);
  REQUIRE(covers(bounded, a));
  REQUIRE(covers(bounded, b));
  REQUIRE(bounded.events.size() <= 3);
}

TEST_CASE("any sequence of calls does what the plain reference does") {
  const auto seed = GENERATE(range(0U, 300U));
  CAPTURE(seed);
  Random random{seed};
  const std::size_t max_events = 1 + random.below(8);
  PendingEvents set{max_events, plenty};
  Reference reference{max_events};
  core::PendingEvent out;
  for (int step = 0; step != 200; ++step) {
    const std::size_t what = random.below(10);
    if (what < 6) {
      const Held held = random.held();
      const WireEvent wire{.type = held.type, .key = held.key, .version = held.version};
      const auto awaited = held.awaited.empty() ? std::nullopt : std::optional{held.awaited.front()};
      const std::size_t waiting = reference.state.events.size();
      const std::size_t absorbed = reference.put(held);
      const auto put = set.put(wire, held.origin, awaited);
      REQUIRE(put.absorbed == absorbed);
      REQUIRE(put.overflowed == (waiting == max_events && reference.state.events.empty()));
    } else if (what == 6 && random.one_in(3)) {
      const Resync resync = random.resync();
      REQUIRE(set.put_resync(resync) == reference.put_resync(resync));
    } else if (what == 7) {
      REQUIRE(set.take_resync() == std::exchange(reference.state.top, std::nullopt));
    } else if (!reference.state.top && !reference.state.events.empty()) {
      REQUIRE(set.pop_front(out));
      REQUIRE(Held{out.key, out.origin, out.type, out.version, out.awaited} == reference.state.events.front());
      reference.state.events.erase(reference.state.events.begin());
    } else {
      REQUIRE_FALSE(set.pop_front(out));
    }
    REQUIRE(set.size() == reference.state.events.size());
    REQUIRE(set.empty() == (reference.state == State{}));
    REQUIRE((set.bytes() == 0) == reference.state.events.empty());
  }
  REQUIRE(drain(set) == reference.state);
}

TEST_CASE("its memory never exceeds the cap, and most of the cap holds events") {
  constexpr std::size_t max_bytes = std::size_t{1} << 20U;
  PendingEvents set{plenty, max_bytes};
  std::size_t most = 0;
  std::size_t overflows = 0;
  for (int i = 0; i != 40'000; ++i) {
    const std::string key = numbered("a key of thirty-two bytes ", 100'000 + i);
    if (set.put(event(key), alice).overflowed) ++overflows;
    REQUIRE(set.held_bytes() <= max_bytes);
    REQUIRE(set.bytes() >= set.size() * 32);
    most = (std::max)(most, set.size());
  }
  CHECK(overflows == 40'000 / (most + 1));
  CHECK(most > max_bytes / 140);
}

TEST_CASE("ten thousand keys are each found again") {
  PendingEvents set{plenty, plenty};
  for (int i = 0; i != 10'000; ++i) REQUIRE(set.put(event(numbered("key ", i)), alice).absorbed == 0);
  CHECK(set.held_bytes() - set.bytes() >= set.size() * sizeof(void*));  // a bucket for each, so that finding is fast
  for (int i = 9'999; i != -1; --i) REQUIRE(set.put(event(numbered("key ", i)), alice).absorbed == 1);
  core::PendingEvent out;
  for (int i = 9'999; i != -1; --i) {
    REQUIRE(set.pop_front(out));
    REQUIRE(out.key == numbered("key ", i));
    REQUIRE(set.put(event(numbered("key ", i)), bob).absorbed == 0);
  }
  CHECK(set.size() == 10'000);
}

TEST_CASE("origins stay apart also where their hashes collide") {
  constexpr std::size_t origins = 200'000;  // enough for several equal hashes of 32 bits
  PendingEvents set{origins, plenty};
  std::mt19937_64 random{1};
  std::size_t absorbed = 0;
  for (std::size_t i = 0; i != origins; ++i) absorbed += set.put(event("a"), NodeId{random()}).absorbed;
  CHECK(absorbed == 0);
}

TEST_CASE("after a burst the memory is given back") {
  PendingEvents set{plenty, plenty};
  const auto burst = [&] {
    for (int i = 0; i != 50'000; ++i) set.put(event(numbered("a key of thirty-two bytes ", i)), alice);
    CHECK(set.held_bytes() > 10 * PendingEvents::idle_bytes);
  };
  core::PendingEvent out;
  burst();
  while (set.pop_front(out)) {
  }
  CHECK(set.held_bytes() <= PendingEvents::idle_bytes);
  burst();
  set.put_resync({});
  CHECK(set.held_bytes() <= PendingEvents::idle_bytes);
  CHECK(set.bytes() == 0);
}

TEST_CASE("in a steady state nodes and keys are used again") {
  PendingEvents set{1'024, plenty};
  core::PendingEvent out;
  out.key.reserve(64);
  const char* const memory = out.key.data();
  std::size_t held = 0;
  for (int round = 0; round != 5; ++round) {
    for (int i = 0; i != 1'024; ++i) set.put(event(numbered("a key of thirty-two bytes ", i)), alice);
    if (round == 0) held = set.held_bytes();
    CHECK(set.held_bytes() == held);
    while (set.pop_front(out)) {
    }
    CHECK(set.held_bytes() == held);
  }
  CHECK(out.key.data() == memory);
}

TEST_CASE("memory kept for reuse is no reason to overflow") {
  constexpr std::size_t max_bytes = std::size_t{16} << 10U;
  PendingEvents set{1'000, max_bytes};
  for (int i = 0; i != 100; ++i) REQUIRE_FALSE(set.put(event(numbered("k", i)), alice).overflowed);
  drain(set);
  CHECK(set.held_bytes() > max_bytes / 2);
  CHECK_FALSE(set.put(event(std::string(14'000, 'x')), alice).overflowed);
  CHECK(set.held_bytes() <= max_bytes);
}

// --- awaited events

TEST_CASE("an event carries the places of all awaited ones that joined into it, in their order") {
  PendingEvents set{10, plenty};
  std::vector<EventId> odd;
  std::vector<EventId> even;
  for (std::uint64_t i = 0; i != 1'000; ++i) {
    const EventId place{1 + i / 3, static_cast<std::uint32_t>(i % 3)};
    set.put(event(i % 2 != 0 ? "odd" : "even"), alice, place);
    (i % 2 != 0 ? odd : even).push_back(place);
  }
  set.put(event("none"), alice);
  CHECK(drain(set) == State{std::nullopt,
                            {{"even", alice, EventType::invalidate, 0, even},
                             {"odd", alice, EventType::invalidate, 0, odd},
                             {"none", alice}}});
}

TEST_CASE("an event that is put again after it was taken has lost its places") {
  PendingEvents set{10, plenty};
  set.put(event("a"), alice, EventId{1, 0});
  set.put(event("b"), alice, EventId{1, 1});
  set.drop_front();
  set.put(event("a"), alice);
  CHECK(drain(set) == State{std::nullopt, {{"b", alice, EventType::invalidate, 0, {{1, 1}}}, {"a", alice}}});
}

TEST_CASE("a resync forgets the places of what it absorbs") {
  PendingEvents set{2, plenty};
  set.put(event("a"), alice, EventId{1, 0});
  set.put(event("b"), alice, EventId{1, 1});
  SECTION("when it is put") { set.put_resync({}); }
  SECTION("when the set overflows") { CHECK(set.put(event("c"), alice, EventId{1, 2}).overflowed); }
  CHECK(set.bytes() == 0);
  set.put(event("a"), alice);
  CHECK(set.take_resync());
  CHECK(drain(set) == State{std::nullopt, {{"a", alice}}});
}

TEST_CASE("a taken event uses the memory of its places again") {
  PendingEvents set{10, plenty};
  core::PendingEvent out;
  out.awaited.reserve(4);
  const EventId* const memory = out.awaited.data();
  for (std::uint32_t i = 0; i != 4; ++i) set.put(event("a"), alice, EventId{1, i});
  set.put(event("b"), alice);
  REQUIRE(set.pop_front(out));
  CHECK(out.awaited.size() == 4);
  CHECK(out.awaited.data() == memory);
  REQUIRE(set.pop_front(out));
  CHECK(out.awaited.empty());
}

TEST_CASE("places beyond the room are forgotten without an overflow, and those remembered are right") {
  const auto max_bytes = static_cast<std::size_t>(GENERATE(512, 1'024, 10'000, 100'000));
  PendingEvents set{10, max_bytes};
  for (std::uint32_t i = 0; i != 10'000; ++i) {
    REQUIRE_FALSE(set.put(event("hot"), alice, EventId{1, i}).overflowed);
    REQUIRE(set.held_bytes() <= max_bytes);
    REQUIRE(set.bytes() <= set.held_bytes());
  }
  const State state = drain(set);
  REQUIRE(state.events.size() == 1);
  const auto& places = state.events[0].awaited;
  CHECK(places.size() < 10'000);
  CHECK((places.size() * sizeof(EventId) >= max_bytes / 4 || max_bytes < 1'000));
  for (std::uint32_t i = 0; i != places.size(); ++i) REQUIRE(places[i] == EventId{1, i});
}

TEST_CASE("the memory of places that nobody uses makes room for events") {
  constexpr std::size_t max_bytes = std::size_t{16} << 10U;
  PendingEvents set{1'000, max_bytes};
  for (std::uint32_t i = 0; i != 400; ++i) set.put(event("hot"), alice, EventId{1, i});
  drain(set);
  CHECK(set.held_bytes() > max_bytes / 2);
  CHECK_FALSE(set.put(event(std::string(14'000, 'x')), alice).overflowed);
  CHECK(set.held_bytes() <= max_bytes);
}

TEST_CASE("the memory of places is kept while it is small, and given back after a burst") {
  PendingEvents set{10, plenty};
  const auto burst = [&](std::uint32_t places) {
    for (std::uint32_t i = 0; i != places; ++i) set.put(event("hot"), alice, EventId{1, i});
    const std::size_t held = set.held_bytes();
    CHECK(held >= places * sizeof(EventId));
    drain(set);
    return held;
  };
  const std::size_t held = burst(1'000);
  CHECK(set.held_bytes() == held);
  CHECK(burst(1'000) == held);
  burst(100'000);
  CHECK(set.held_bytes() <= PendingEvents::idle_bytes);
}

TEST_CASE("in little memory whatever is remembered is right, and the cap holds") {
  const auto seed = GENERATE(range(0U, 300U));
  CAPTURE(seed);
  Random random{seed};
  const std::size_t max_bytes = random.below(3'000);
  PendingEvents set{8, max_bytes};
  std::vector<std::string> key_of{""};  // by sequence: each event is a frame of its own
  core::PendingEvent out;
  for (int step = 0; step != 500; ++step) {
    if (random.below(10) < 7) {
      key_of.push_back(random.held().key);
      const auto awaited = random.one_in(2) ? std::optional{EventId{key_of.size() - 1, 0}} : std::nullopt;
      set.put(event(key_of.back()), alice, awaited);
    } else if (random.one_in(2)) {
      static_cast<void>(set.take_resync());
    } else if (set.pop_front(out)) {
      REQUIRE(std::is_sorted(out.awaited.begin(), out.awaited.end(), before));
      for (const EventId& place : out.awaited) REQUIRE(key_of[place.sequence] == out.key);
      for (const EventId& place : out.awaited) key_of[place.sequence].clear();  // none is told twice
    }
    REQUIRE(set.held_bytes() <= max_bytes);
    REQUIRE((set.bytes() == 0) == (set.size() == 0));
  }
}
