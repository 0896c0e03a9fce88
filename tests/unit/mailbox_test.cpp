// Mailboxes by themselves: waiting, stopping, closing, joining, and the two ways to look into an OwnedEvent.
#include <atomic>
#include <chrono>
#include <concepts>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/mailbox.hpp>

#include "support/catch.hpp"
#include "support/lines.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using support::line_of, support::Lines;

namespace {

using Clock = std::chrono::steady_clock;

Lines drain(Mailbox& box) {
  Lines lines;
  while (const auto event = box.try_receive()) lines.push_back(line_of(**event));
  return lines;
}

}  // namespace

static_assert(!std::copyable<Mailbox> && std::is_nothrow_move_constructible_v<Mailbox> &&
              std::is_nothrow_default_constructible_v<Mailbox>);

TEST_CASE("an empty mailbox is closed and yields nothing") {
  Mailbox box;
  CHECK(box.closed());
  CHECK_FALSE(box.try_receive());
  CHECK_FALSE(box.receive(1h));
  box.unsubscribe();
}

TEST_CASE("an optional OwnedEvent is read with an arrow, or as an Event") {
  const std::optional<OwnedEvent> event = OwnedEvent{EventType::set, "k", 7, NodeId{9}};
  CHECK(event->key == "k");
  CHECK((*event)->key == "k");
  const Event view = **event;
  CHECK(view.key == "k");
  CHECK(view.type == EventType::set);
  CHECK(view.version == 7);
  CHECK(view.origin == NodeId{9});
  CHECK(view.key.data() == event->key.data());
  CHECK(event->supersedes(6));
  CHECK_FALSE(event->supersedes(7));
  CHECK(OwnedEvent{}.supersedes(99));
}

TEST_CASE("receive returns none once its timeout has passed") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe("k");
  const auto begin = Clock::now();
  CHECK_FALSE(box.receive(30ms));
  CHECK(Clock::now() - begin >= 30ms);
  CHECK_FALSE(box.receive(0s));
  CHECK_FALSE(box.receive(-1h));
  CHECK_FALSE(box.closed());
}

TEST_CASE("the longest timeout does not overflow") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe("k");
  std::jthread publishing{[&] { static_cast<void>(bus.publish("k")); }};
  CHECK(box.receive((Duration::max)()));
}

TEST_CASE("a stop request ends one receive, and not the mailbox") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe("k");
  std::stop_source stop;
  std::jthread stopping{[&] { stop.request_stop(); }};
  CHECK_FALSE(box.receive(1h, stop.get_token()));
  CHECK_FALSE(box.receive(1h, stop.get_token()));  // requested already: at once
  CHECK_FALSE(box.closed());
  CHECK_FALSE(bus.publish("k"));
  CHECK(box.receive(1h, stop.get_token()));  // what waits is received all the same
}

TEST_CASE("the stop token of the options closes the mailbox, before or after it is made") {
  InMemoryBus bus;
  std::stop_source stop;
  Mailbox box = bus.subscribe("k", {.stop_token = stop.get_token()});
  CHECK_FALSE(box.closed());
  std::jthread stopping{[&] { stop.request_stop(); }};
  CHECK_FALSE(box.receive(1h));
  CHECK(box.closed());
  CHECK(bus.subscribe("k", {.stop_token = stop.get_token()}).closed());
}

TEST_CASE("closing wakes whoever receives") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe("k");
  std::jthread closing{[&] { static_cast<void>(bus.close(1s)); }};
  CHECK_FALSE(box.receive(1h));
  CHECK(box.closed());
}

TEST_CASE("unsubscribe on another thread wakes whoever receives") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe("k");
  std::jthread ending{[&] { box.unsubscribe(); }};
  CHECK_FALSE(box.receive(1h));
}

TEST_CASE("several threads share what a mailbox yields: each event goes to one") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe_all(MailboxOptions{.capacity = 10'000});
  constexpr int count = 1'000;
  std::atomic<int> received = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i != 3; ++i) {
      threads.emplace_back([&] {
        while (box.receive(1h)) ++received;
      });
    }
    for (int i = 0; i != count; ++i) CHECK_FALSE(bus.publish(std::to_string(i)));
    CHECK_FALSE(bus.close(1s));  // what waits can still be received
  }
  CHECK(received == count);
}

TEST_CASE("a moved mailbox goes on, and what it was moved from is closed") {
  InMemoryBus bus;
  Mailbox first = bus.subscribe("k");
  CHECK_FALSE(bus.publish("k", {.version = 1}));
  Mailbox second = std::move(first);
  CHECK_FALSE(bus.publish("k", {.version = 2}));
  CHECK(drain(second) == Lines{"invalidate k v2"});

  second = bus.subscribe("other");
  CHECK_FALSE(bus.publish({"k", "other"}));
  CHECK(drain(second) == Lines{"invalidate other"});
}

TEST_CASE("waiting events of one key join: type, version and place") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe_all();
  CHECK_FALSE(bus.publish("a", {.type = EventType::set, .version = 2}));
  CHECK_FALSE(bus.publish("b", {.type = EventType::set}));
  CHECK_FALSE(bus.publish("a", {.type = EventType::set, .version = 1}));
  CHECK(drain(box) == Lines{"set b", "set a v2"});

  CHECK_FALSE(bus.publish("a", {.type = EventType::set, .version = 2}));
  CHECK_FALSE(bus.publish("a", {.type = EventType::remove, .version = 3}));
  CHECK(drain(box) == Lines{"invalidate a v3"});

  CHECK_FALSE(bus.publish("a", {.version = 2}));
  CHECK_FALSE(bus.publish("a"));  // of no known version: that absorbs
  CHECK(drain(box) == Lines{"invalidate a"});

  CHECK_FALSE(bus.publish("a", {.version = 1}));
  CHECK(drain(box) == Lines{"invalidate a v1"});  // what was received joins nothing more
}

TEST_CASE("events of two origins do not join") {
  InMemoryHub hub;
  InMemoryBus left{hub}, right{hub};
  Mailbox box = left.subscribe("k");
  CHECK_FALSE(left.publish("k", {.version = 1}));
  CHECK_FALSE(right.publish("k", {.version = 2}));
  CHECK(drain(box) == Lines{"invalidate k v1", "invalidate k v2"});
}

TEST_CASE("one key above the capacity and all that waits is one resync, of what was subscribed to") {
  InMemoryBus bus;
  Mailbox prefix = bus.subscribe_prefix("user:", {.capacity = 2});
  CHECK_FALSE(bus.publish({"user:1", "user:2"}));
  CHECK_FALSE(bus.publish({"user:1", "user:2"}));
  CHECK(drain(prefix) == Lines{"invalidate user:1", "invalidate user:2"});
  CHECK_FALSE(bus.publish({"user:1", "user:2", "user:3", "user:4"}));
  CHECK(drain(prefix) == Lines{"resync user:", "invalidate user:4"});
  CHECK(bus.metrics().resyncs_by(ResyncCause::overflow) == 1);
  CHECK(bus.metrics().joined == 2 + 3);
}

TEST_CASE("resyncs that wait are one") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe("k");
  CHECK_FALSE(bus.publish("k"));
  CHECK_FALSE(bus.publish_all());
  CHECK_FALSE(bus.publish_all());
  CHECK_FALSE(bus.publish("k", {.version = 5}));
  CHECK(drain(box) == Lines{"resync k", "invalidate k v5"});
}

TEST_CASE("a mailbox may be emptied inside a handler") {
  InMemoryBus bus;
  Mailbox box = bus.subscribe("k");
  Lines seen;
  const auto subscription = bus.subscribe("k", [&](const Event&) { seen = drain(box); });
  CHECK_FALSE(bus.publish("k"));
  CHECK(seen == Lines{"invalidate k"});
}
