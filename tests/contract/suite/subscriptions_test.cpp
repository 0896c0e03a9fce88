// How subscriptions begin and end: from outside, inside handlers, across threads, and when they outlive their bus.
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using syncbus::Event, syncbus::Subscription;

CONTRACT_TEST_CASE("unsubscribe ends a subscription, and so does its destructor", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  Subscription kept = listener->subscribe("k", heard.on_event());
  {
    const auto scoped = listener->subscribe("k", heard.on_event());
    CHECK_FALSE(publisher->publish("k"));
    CHECK(eventually([&] { return heard.count() == 2; }));
  }
  CHECK_FALSE(publisher->publish("k", {.version = 2}));
  CHECK(eventually([&] { return heard.count() == 3; }));

  kept.unsubscribe();
  kept.unsubscribe();
  CHECK_FALSE(publisher->publish("k", {.version = 3}));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.count() == 3);
}

CONTRACT_TEST_CASE("a moved subscription goes on, an overwritten one has ended", "[contract]", Everything) {
  const auto bus = fixture.node();
  Heard first, second;
  Subscription a = bus->subscribe("k", first.on_event());
  Subscription b = std::move(a);
  CHECK_FALSE(bus->publish("k"));
  CHECK(first.count() == 1);

  b = bus->subscribe("k", second.on_event());
  CHECK_FALSE(bus->publish("k"));
  CHECK(first.count() == 1);
  CHECK(second.count() == 1);

  Subscription empty;
  empty.unsubscribe();
  empty.request_unsubscribe();
}

CONTRACT_TEST_CASE("a handler may end its own subscription", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  std::optional<Subscription> self;
  self = listener->subscribe("k", [&, note = heard.on_event()](const Event& event) {
    self.reset();
    note(event);  // the callable lives until its last call has returned
  });
  CHECK_FALSE(publisher->publish("k", {.version = 1}));
  CHECK_FALSE(publisher->publish("k", {.version = 2}));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.lines() == Lines{"invalidate k v1"});
}

CONTRACT_TEST_CASE("two handlers may drop each other", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  std::atomic<int> calls = 0;
  std::optional<Subscription> left, right;
  left = listener->subscribe("k", [&](const Event&) {
    ++calls;
    right.reset();
  });
  right = listener->subscribe("k", [&](const Event&) {
    ++calls;
    left.reset();
  });
  CHECK_FALSE(publisher->publish("k"));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(calls == 1);
}

CONTRACT_TEST_CASE("two handlers on two threads may drop each other", "[contract][threads]", Everything) {
  const auto bus = fixture.node();
  for (int round = 0; round != 20; ++round) {
    std::counting_semaphore<2> both{0};
    std::optional<Subscription> left, right;
    const auto drop = [&both](std::atomic<int>& inside, std::optional<Subscription>& other) {
      if (++inside == 2) both.release(2);
      both.acquire();  // both handlers are running now
      other->unsubscribe();
    };
    std::atomic<int> inside = 0;
    left = bus->subscribe("left", [&](const Event&) { drop(inside, right); });
    right = bus->subscribe("right", [&](const Event&) { drop(inside, left); });
    const std::jthread a{[&] { static_cast<void>(bus->publish("left", {.scope = syncbus::Scope::local})); }};
    const std::jthread b{[&] { static_cast<void>(bus->publish("right", {.scope = syncbus::Scope::local})); }};
  }
  SUCCEED("nobody waits for the other");
}

CONTRACT_TEST_CASE("a subscriber added inside a handler does not hear the event being dispatched", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  std::vector<Subscription> added;
  const auto subscription =
      listener->subscribe("k", [&](const Event&) { added.push_back(listener->subscribe("k", heard.on_event())); });
  CHECK_FALSE(publisher->publish("k", {.version = 1}));
  CHECK_FALSE(publisher->publish("k", {.version = 2}));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(added.size() == 2);
  CHECK(heard.lines() == Lines{"invalidate k v2"});
}

CONTRACT_TEST_CASE("a subscriber dropped inside a handler does not hear the event being dispatched", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  std::vector<Subscription> victims;
  const auto subscription = listener->subscribe("k", [&](const Event&) { victims.clear(); });
  for (int i = 0; i != 3; ++i) victims.push_back(listener->subscribe("k", heard.on_event()));
  const auto rest = listener->subscribe("k", heard.on_event());
  CHECK_FALSE(publisher->publish("k"));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.count() == 1);
}

CONTRACT_TEST_CASE("unsubscribe waits for the handler that runs on another thread, request_unsubscribe does not",
                   "[contract][threads]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  std::binary_semaphore entered{0}, leave{0};
  std::atomic<bool> returned = false, returned_first = false;
  const auto slow = [&](const Event&) {
    entered.release();
    leave.acquire();
    returned = true;
  };

  Subscription requested = listener->subscribe("requested", slow);
  std::jthread first{[&] { static_cast<void>(publisher->publish("requested")); }};
  entered.acquire();
  requested.request_unsubscribe();  // returns, though the handler cannot
  CHECK_FALSE(returned);
  leave.release();
  first.join();
  CHECK(eventually([&] { return returned.exchange(false); }));

  constexpr std::uint64_t probe = 7;
  std::atomic<int> probes = 0;
  Subscription awaited = listener->subscribe(
      "awaited", [&](const Event& event) { event.version == probe ? static_cast<void>(++probes) : slow(event); });
  std::jthread second{[&] { static_cast<void>(publisher->publish("awaited")); }};
  entered.acquire();
  std::atomic<bool> ended = false;
  std::jthread ending{[&] {
    awaited.unsubscribe();
    returned_first = returned.load();
    ended = true;
  }};
  CHECK(eventually([&] {  // no new call begins any more: all that is left for it is to wait
    const int before = probes;
    CHECK_FALSE(listener->publish("awaited", {.version = probe, .scope = syncbus::Scope::local}));
    return probes == before;
  }));
  CHECK_FALSE(ended);
  leave.release();
  ending.join();
  CHECK(returned_first);
}

CONTRACT_TEST_CASE("what a handler holds is released once it has ended, not before", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = held;
  Subscription subscription = listener->subscribe("k", [owned = std::move(held)](const Event&) { ++*owned; });
  CHECK_FALSE(publisher->publish("k"));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK_FALSE(watch.expired());
  subscription.unsubscribe();
  CHECK(watch.expired());
}

CONTRACT_TEST_CASE("subscriptions and mailboxes may outlive the bus", "[contract]", Everything) {
  Heard heard;
  std::vector<Subscription> subscriptions;
  std::vector<syncbus::Mailbox> boxes;
  {
    const auto bus = fixture.node();
    for (int i = 0; i != 3; ++i) {
      subscriptions.push_back(bus->subscribe("k", heard.on_event()));
      boxes.push_back(bus->subscribe("k"));
    }
    CHECK_FALSE(bus->publish("k"));
  }
  CHECK(heard.count() == 3);
  subscriptions[0].unsubscribe();
  subscriptions[1].request_unsubscribe();
  subscriptions.clear();
  for (auto& box : boxes) {
    CHECK(box.closed());
    CHECK(box.try_receive().has_value());
    CHECK_FALSE(box.try_receive().has_value());
    box.unsubscribe();
  }
}

CONTRACT_TEST_CASE("a subscriber that comes back hears again", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  for (std::uint64_t i = 1; i <= 100; ++i) {
    const auto subscription = listener->subscribe("k", heard.on_event());
    CHECK_FALSE(publisher->publish("k", {.version = i}));
    CHECK(eventually([&] { return heard.count() == i; }));
  }
}
