// The pull form: a mailbox joins when it must, then yields a resync, and never loses in silence.
#include <algorithm>
#include <chrono>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::EventType, syncbus::Mailbox, syncbus::MailboxOptions, syncbus::ResyncCause, syncbus::Scope;

namespace {

/// All that waits in a mailbox.
Lines drain(Mailbox& box) {
  Lines lines;
  while (const auto event = box.try_receive()) lines.push_back(line_of(**event));
  return lines;
}

}  // namespace

CONTRACT_TEST_CASE("a mailbox yields the events of its key in order", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Mailbox one = listener->subscribe("a");
  Mailbox some = listener->subscribe_prefix("a");
  Mailbox every = listener->subscribe_all();
  CHECK_FALSE(publisher->publish({"a", "b", "ab"}, {.type = EventType::set, .version = 9}));
  REQUIRE(caught_up(*publisher, *listener));

  const auto first = one.receive(10s);
  REQUIRE(first);
  CHECK(first->key == "a");
  CHECK((*first)->key == "a");
  CHECK((**first).key == "a");
  CHECK(first->type == EventType::set);
  CHECK(first->version == 9);
  CHECK(first->origin == publisher->id());
  CHECK_FALSE(one.try_receive());
  CHECK(drain(some) == Lines{"set a v9", "set ab v9"});
  const Lines all = drain(every);
  REQUIRE(all.size() >= 3);
  CHECK(Lines(all.begin(), all.begin() + 3) == Lines{"set a v9", "set b v9", "set ab v9"});
}

CONTRACT_TEST_CASE("events of one key that wait in a mailbox join", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Mailbox box = listener->subscribe_prefix("k");
  CHECK_FALSE(publisher->publish("k1", {.type = EventType::set, .version = 5}));
  CHECK_FALSE(publisher->publish("k2", {.type = EventType::set, .version = 1}));
  CHECK_FALSE(publisher->publish("k1", {.type = EventType::set, .version = 3}));
  CHECK_FALSE(publisher->publish("k3", {.type = EventType::remove, .version = 1}));
  CHECK_FALSE(publisher->publish("k3", {.type = EventType::set}));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(drain(box) == Lines{"set k2 v1", "set k1 v5", "invalidate k3"});
  CHECK(listener->metrics().joined >= 2);
}

CONTRACT_TEST_CASE("a full mailbox joins to a resync, then goes on", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Mailbox box = listener->subscribe_prefix("key", MailboxOptions{.capacity = 3});
  for (const auto key : {"key1", "key2", "key3", "key1", "key2"}) CHECK_FALSE(publisher->publish(key));
  REQUIRE(caught_up(*publisher, *listener));
  Lines joined = drain(box);
  std::ranges::sort(joined);  // an equal event may have joined in the publisher's frame already, in its first place
  CHECK(joined == Lines{"invalidate key1", "invalidate key2", "invalidate key3"});

  for (const auto key : {"key1", "key2", "key3", "key4", "key5"}) CHECK_FALSE(publisher->publish(key));
  REQUIRE(caught_up(*publisher, *listener));
  const Lines lines = drain(box);
  REQUIRE_FALSE(lines.empty());
  CHECK(lines.front() == "resync key");
  CHECK(lines == Lines{"resync key", "invalidate key5"});
  CHECK(listener->metrics().resyncs_by(ResyncCause::overflow) == 1);

  CHECK_FALSE(publisher->publish("key6"));
  const auto next = box.receive(10s);
  REQUIRE(next);
  CHECK(line_of(**next) == "invalidate key6");
}

CONTRACT_TEST_CASE("whatever the capacity, each key is received or covered by a later resync", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{1'000}}) {
    Mailbox box = listener->subscribe_prefix("key", MailboxOptions{.capacity = capacity});
    for (int i = 0; i != 100; ++i) CHECK_FALSE(publisher->publish("key" + std::to_string(i)));
    REQUIRE(caught_up(*publisher, *listener));
    const Lines lines = drain(box);
    const bool resynced = lines.front() == "resync key";
    CHECK(resynced == (capacity < 100));
    CHECK(lines.size() <= capacity + 1);
    CHECK((lines.back() == "invalidate key99" || lines == Lines{"resync key"}));
    // What follows the resync is the tail of what was published, without a hole.
    const std::size_t events = lines.size() - (resynced ? 1 : 0);
    for (std::size_t i = 0; i != events; ++i) {
      CHECK(lines[lines.size() - 1 - i] == "invalidate key" + std::to_string(99 - i));
    }
  }
}

CONTRACT_TEST_CASE("a resync of the bus is an event of what a mailbox is subscribed to", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Mailbox key = listener->subscribe("user:42"), prefix = listener->subscribe_prefix("user:"),
          all = listener->subscribe_all(), lease = listener->subscribe_lease("l");
  CHECK_FALSE(publisher->publish({"user:42", "user:43"}));
  CHECK_FALSE(publisher->publish_all());
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(drain(key) == Lines{"resync user:42"});
  CHECK(drain(prefix) == Lines{"resync user:"});
  CHECK(drain(all).front() == "resync ");
  CHECK(drain(lease) == Lines{"resync l"});
}

// In virtual time the rest of the wait would pass while the other thread thinks.
using EverythingInRealTime = decltype(std::tuple_cat(std::declval<std::tuple<Alone>>(), std::declval<InRealTime>()));

CONTRACT_TEST_CASE("receive waits for an event of another thread", "[contract][threads]", EverythingInRealTime) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Mailbox ping = listener->subscribe("ping"), pong = publisher->subscribe("pong");
  std::jthread answering{[&] {
    for (int i = 0; i != 100; ++i) {
      const auto event = ping.receive(30s);
      if (!event || listener->publish("pong", {.version = event->version})) return;
    }
  }};
  for (std::uint64_t i = 1; i <= 100; ++i) {
    REQUIRE_FALSE(publisher->publish("ping", {.version = i}));
    const auto answer = pong.receive(30s);
    REQUIRE(answer);
    CHECK(answer->version == i);
  }
}

CONTRACT_TEST_CASE("a mailbox is closed by unsubscribe, by its stop token and by the end of the bus", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  std::stop_source stop;
  Mailbox dropped = publisher->subscribe("k"), stopped = publisher->subscribe("k", {.stop_token = stop.get_token()}),
          rest = publisher->subscribe("k");
  CHECK_FALSE(publisher->publish("k", {.version = 1}));
  dropped.unsubscribe();
  stop.request_stop();
  CHECK_FALSE(publisher->publish("k", {.version = 2}));
  CHECK_FALSE(rest.closed());
  CHECK_FALSE(publisher->close(10s));

  for (Mailbox* box : {&dropped, &stopped, &rest}) CHECK(box->closed());
  CHECK(drain(dropped) == Lines{"invalidate k v1"});
  CHECK(drain(stopped) == Lines{"invalidate k v1"});
  CHECK(drain(rest) == Lines{"invalidate k v2"});
  CHECK_FALSE(rest.receive(10s));  // at once: nothing more can come
}

CONTRACT_TEST_CASE("a mailbox hears the scope that its options name", "[contract]", Clusters) {
  const auto self = fixture.node(), other = fixture.node();
  Mailbox local = self->subscribe("k", {.scope = Scope::local}),
          remote = self->subscribe("k", {.scope = Scope::remote});
  CHECK_FALSE(self->publish("k", {.version = 1}));
  CHECK_FALSE(other->publish("k", {.version = 2}));
  REQUIRE(caught_up(*other, *self));
  CHECK(drain(local) == Lines{"invalidate k v1"});
  CHECK(drain(remote) == Lines{"invalidate k v2"});
}
