// Many keys in one call, whatever holds them; and subscriptions to many keys: by prefix, and to all.
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using syncbus::Event, syncbus::EventType;

CONTRACT_TEST_CASE("one publish takes many keys, from any range, in its order", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());

  const std::array<std::string_view, 2> views{"a1", "a2"}, more{"b1", "b2"};
  const std::vector<std::string> strings{"v1", "v2"};
  CHECK_FALSE(publisher->publish({"i1", "i2"}));
  CHECK_FALSE(publisher->publish(std::span<const std::string_view>{views}));
  CHECK_FALSE(publisher->publish(more));
  CHECK_FALSE(publisher->publish(strings, {.type = EventType::set, .version = 3}));

  CHECK(eventually([&] { return heard.count() == 8; }));
  CHECK(heard.lines() == Lines{"invalidate i1", "invalidate i2", "invalidate a1", "invalidate a2", "invalidate b1",
                               "invalidate b2", "set v1 v3", "set v2 v3"});
}

CONTRACT_TEST_CASE("a publish of no keys succeeds and is nothing", "[contract]", Everything) {
  const auto bus = fixture.node();
  Heard heard;
  const auto subscription = bus->subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(bus->publish(std::span<const std::string_view>{}));
  CHECK_FALSE(bus->publish(std::vector<std::string>{}));
  CHECK(bus->metrics().published == 0);
  CHECK(bus->metrics().history_bytes == 0);
  CHECK(heard.lines().empty());
}

CONTRACT_TEST_CASE("a range of ten thousand keys arrives whole", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  std::vector<std::string> keys;
  Lines expected;
  for (int i = 0; i != 10'000; ++i) {
    keys.push_back("key-" + std::to_string(i));
    expected.push_back("invalidate " + keys.back());
  }
  Heard heard;
  const auto subscription = listener->subscribe_prefix("key-", heard.on_event(), heard.on_resync());

  CHECK_FALSE(publisher->publish(keys));

  CHECK(eventually([&] { return heard.count() >= keys.size(); }));
  CHECK((heard.lines() == expected));
}

CONTRACT_TEST_CASE("a prefix hears the keys that begin with it, and itself", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard users, user4, exact;
  const auto a = listener->subscribe_prefix("user:", users.on_event(), users.on_resync());
  const auto b = listener->subscribe_prefix("user:4", user4.on_event(), user4.on_resync());
  const auto c = listener->subscribe("user:4", exact.on_event());

  CHECK_FALSE(publisher->publish({"user:", "user:4", "user:42", "user:5", "user", "User:4", "other"}));
  CHECK_FALSE(publisher->revoke_lease("user:4"));
  REQUIRE(caught_up(*publisher, *listener));

  CHECK(users.lines() == Lines{"invalidate user:", "invalidate user:4", "invalidate user:42", "invalidate user:5"});
  CHECK(user4.lines() == Lines{"invalidate user:4", "invalidate user:42"});
  CHECK(exact.lines() == Lines{"invalidate user:4"});
}

CONTRACT_TEST_CASE("subscribe_all hears every key and no lease", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard all, empty_prefix;
  const auto a = listener->subscribe_all(all.on_event(), all.on_resync());
  const auto b = listener->subscribe_prefix("", empty_prefix.on_event(), empty_prefix.on_resync());

  CHECK_FALSE(publisher->publish({"a", "b c", "*"}));
  CHECK_FALSE(publisher->revoke_lease("a"));
  CHECK_FALSE(publisher->publish("end"));

  CHECK(eventually([&] { return all.contains("invalidate end") && empty_prefix.contains("invalidate end"); }));
  CHECK(all.lines() == Lines{"invalidate a", "invalidate b c", "invalidate *", "invalidate end"});
  CHECK(empty_prefix.lines() == all.lines());
}

CONTRACT_TEST_CASE("many prefixes of one key all hear it, each once", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  const std::string key(100, 'x');
  std::vector<Heard> heard(key.size());
  std::vector<syncbus::Subscription> subscriptions;
  for (std::size_t size = 1; size <= key.size(); ++size) {
    subscriptions.push_back(
        listener->subscribe_prefix(key.substr(0, size), heard[size - 1].on_event(), heard[size - 1].on_resync()));
  }
  CHECK_FALSE(publisher->publish(key));
  REQUIRE(caught_up(*publisher, *listener));
  for (const Heard& each : heard) CHECK(each.lines() == Lines{"invalidate " + key});
}

CONTRACT_TEST_CASE("equal latest events of one key need not be told twice, different ones all are", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe("k", heard.on_event());

  CHECK_FALSE(publisher->publish({"k", "k", "k"}, {.version = 1}));
  CHECK_FALSE(publisher->publish("k", {.version = 2}));
  CHECK_FALSE(publisher->publish("k", {.type = EventType::remove, .version = 2}));
  REQUIRE(caught_up(*publisher, *listener));

  CHECK(heard.count("invalidate k v1") >= 1);
  CHECK(heard.count("invalidate k v1") <= 3);
  CHECK(heard.count("invalidate k v2") == 1);
  CHECK(heard.lines().back() == "remove k v2");
}
