// Who hears a publish, and what: keys, fields, scopes, publishes inside handlers, and "everything is stale".
#include <string>
#include <string_view>
#include <type_traits>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::string_view_literals;
using syncbus::Event, syncbus::EventType, syncbus::PublishOptions, syncbus::Scope;

CONTRACT_TEST_CASE("a publish reaches every subscriber of its key and nobody else", "[contract]", Everything) {
  const auto bus = fixture.node();
  Heard first, second, other;
  const auto a = bus->subscribe("user:42", first.on_event());
  const auto b = bus->subscribe("user:42", second.on_event());
  const auto c = bus->subscribe("user:4", other.on_event());
  const auto d = bus->subscribe("user:421", other.on_event());
  const auto e = bus->subscribe_lease("user:42", other.on_event());

  CHECK_FALSE(bus->publish("user:42"));

  CHECK(first.lines() == Lines{"invalidate user:42"});
  CHECK(second.lines() == Lines{"invalidate user:42"});
  REQUIRE(caught_up(*bus, *bus));
  CHECK(other.lines().empty());
  CHECK(first.count() == 1);
}

CONTRACT_TEST_CASE("a publish reaches the subscribers of every node once", "[contract]", Clusters) {
  const auto x = fixture.node(), y = fixture.node(), z = fixture.node();
  Heard at_x, at_y, at_z, other;
  const auto a = x->subscribe("k", at_x.on_event());
  const auto b = y->subscribe("k", at_y.on_event());
  const auto c = z->subscribe("k", at_z.on_event());
  const auto d = z->subscribe("K", other.on_event());

  CHECK_FALSE(x->publish("k"));
  CHECK_FALSE(y->publish("k", {.type = EventType::set}));

  for (const auto& [publisher, listener] : {std::pair{&x, &y}, {&x, &z}, {&y, &x}, {&y, &z}}) {
    REQUIRE(caught_up(**publisher, **listener));
  }
  for (const Heard* heard : {&at_x, &at_y, &at_z}) {
    CHECK(heard->count() == 2);
    CHECK(heard->count("invalidate k") == 1);
    CHECK(heard->count("set k") == 1);
  }
  CHECK(other.lines().empty());
}

CONTRACT_TEST_CASE("an event arrives with its type, key, version and origin", "[contract]", Clusters) {
  const auto publisher = fixture.node(), listener = fixture.node();
  Heard local, remote;
  const auto a = publisher->subscribe_all(local.on_event(), local.on_resync());
  const auto b = listener->subscribe_all(remote.on_event(), remote.on_resync());

  CHECK_FALSE(publisher->publish("a", {.type = EventType::set, .version = 1}));
  CHECK_FALSE(publisher->publish("b", {.type = EventType::remove, .version = ~std::uint64_t{0}}));
  CHECK_FALSE(publisher->publish("c"));

  const Lines expected{"set a v1", "remove b v18446744073709551615", "invalidate c"};
  CHECK(eventually([&] { return remote.count() == 3; }));
  CHECK(local.lines() == expected);
  CHECK(remote.lines() == expected);
  for (const Heard* heard : {&local, &remote}) {
    for (const auto origin : heard->origins()) CHECK(origin == publisher->id());
  }
  CHECK(publisher->id() != listener->id());
}

CONTRACT_TEST_CASE("no byte of a key means anything", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  const std::string longest(4'096, '*');
  for (const std::string_view key : {"*"sv, ">"sv, "a b"sv, "\0"sv, "a\0b"sv, "a\0c"sv, "user:*"sv, "\r\n"sv,
                                     "\xff\xfe"sv, "$5\r\nhello\r\n"sv, std::string_view{longest}}) {
    Heard exact, other;
    const auto a = listener->subscribe(key, exact.on_event());
    const auto b = listener->subscribe("user:1", other.on_event());
    const auto c = listener->subscribe("a\0d"sv, other.on_event());
    CHECK_FALSE(publisher->publish(key));
    CHECK(eventually([&] { return exact.count() == 1; }));
    CHECK(exact.lines() == Lines{"invalidate " + std::string{key}});
    CHECK(other.lines().empty());
  }
}

CONTRACT_TEST_CASE("the scope of a publish says which nodes hear it", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  const bool alone = listener == publisher;
  Heard local, remote;
  const auto a = publisher->subscribe_all(local.on_event(), local.on_resync());
  const auto b = listener->subscribe_all(remote.on_event(), remote.on_resync());

  CHECK_FALSE(publisher->publish("all", {.scope = Scope::all}));
  CHECK_FALSE(publisher->publish("remote", {.scope = Scope::remote}));
  CHECK_FALSE(publisher->publish("local", {.scope = Scope::local}));
  CHECK_FALSE(publisher->revoke_lease("remote", {.scope = Scope::remote}));
  CHECK_FALSE(publisher->publish_all({.scope = Scope::remote}));
  CHECK_FALSE(publisher->publish("end"));

  CHECK(eventually([&] { return remote.contains("invalidate end"); }));
  CHECK(local.lines() == Lines{"invalidate all", "invalidate local", "invalidate end"});
  if (!alone) {
    CHECK(remote.lines() == Lines{"invalidate all", "invalidate remote", "resync: requested", "invalidate end"});
  }
}

CONTRACT_TEST_CASE("the scope of a subscription says whose publishes it hears", "[contract]", Clusters) {
  const auto self = fixture.node(), other = fixture.node();
  Heard all, remote, local;
  const auto a = self->subscribe("k", all.on_event());
  const auto b = self->subscribe("k", remote.on_event(), Scope::remote);
  const auto c = self->subscribe("k", local.on_event(), Scope::local);

  CHECK_FALSE(self->publish("k", {.version = 1}));
  CHECK_FALSE(other->publish("k", {.version = 2}));

  REQUIRE(caught_up(*other, *self));
  CHECK(all.lines() == Lines{"invalidate k v1", "invalidate k v2"});
  CHECK(remote.lines() == Lines{"invalidate k v2"});
  CHECK(local.lines() == Lines{"invalidate k v1"});
}

CONTRACT_TEST_CASE("publish_all is a resync for every subscriber of every node", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard all, prefix, key, lease;
  const auto a = listener->subscribe_all(all.on_event(), all.on_resync());
  const auto b = listener->subscribe_prefix("user:", prefix.on_event(), prefix.on_resync());
  const auto c = listener->subscribe("user:42", key.on_event());
  const auto d = listener->subscribe_lease("lease-1", lease.on_event());

  CHECK_FALSE(publisher->publish_all());

  CHECK(eventually([&] { return all.count() + prefix.count() + key.count() + lease.count() == 4; }));
  CHECK(all.lines() == Lines{"resync: requested"});
  CHECK(prefix.lines() == Lines{"resync: requested"});
  CHECK(key.lines() == Lines{"resync user:42"});
  CHECK(lease.lines() == Lines{"resync lease-1"});
  CHECK(all.origins().front() == publisher->id());
}

CONTRACT_TEST_CASE("what a handler publishes is heard when that handler's dispatch has ended", "[contract]",
                   Everything) {
  const auto bus = fixture.node();
  const auto listener = fixture.peer_of(bus);
  Heard heard, remote;
  const auto c = listener->subscribe_all(remote.on_event(), remote.on_resync());
  const auto chain = bus->subscribe("first", [&](const Event&) {
    if (bus->publish("second")) throw 1;
    heard.on_event()({.key = "the handler goes on"});
  });
  const auto after = bus->subscribe("first", heard.on_event());
  const auto inner = bus->subscribe("second", heard.on_event());

  CHECK_FALSE(bus->publish("first"));

  CHECK(heard.lines() == Lines{"invalidate the handler goes on", "invalidate first", "invalidate second"});
  CHECK(eventually([&] { return remote.count() == 2; }));
  CHECK(remote.lines() == Lines{"invalidate first", "invalidate second"});
}

CONTRACT_TEST_CASE("a handler of a remote event may publish, also back", "[contract]", Clusters) {
  const auto left = fixture.node(), right = fixture.node();
  Heard answers, own;
  const auto echo = right->subscribe("question", [&](const Event& event) {
    if (right->publish("answer", {.version = event.version})) throw 1;
  });
  const auto a = right->subscribe("answer", own.on_event());
  const auto b = left->subscribe("answer", answers.on_event());

  for (std::uint64_t round = 1; round <= 20; ++round) {
    CHECK_FALSE(left->publish("question", {.version = round}));
    CHECK(eventually([&] { return answers.count() == round && own.count() == round; }));
  }
  CHECK(answers.lines() == own.lines());
  CHECK(answers.lines().back() == "invalidate answer v20");
}

CONTRACT_TEST_CASE("a subscription hears nothing of what was published before it", "[contract]", Clusters) {
  const auto publisher = fixture.node(), listener = fixture.node();
  CHECK_FALSE(publisher->publish("k", {.version = 1}));
  REQUIRE(caught_up(*publisher, *listener));

  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(publisher->publish("k", {.version = 2}));
  CHECK(eventually([&] { return heard.count() == 1; }));
  CHECK(heard.lines() == Lines{"invalidate k v2"});
}
