// Promise 6: what one node publishes one after the other, every subscriber hears in that order.
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using syncbus::Event, syncbus::Resync;

CONTRACT_TEST_CASE("one thread's publishes are heard in their order, singles, spans and leases", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto a = listener->subscribe_all(heard.on_event(), heard.on_resync());
  const auto b = listener->subscribe_lease("lease", heard.on_event());
  Lines expected;
  for (int i = 0; i != 500; ++i) {
    const std::string key = std::to_string(i), x = key + "x", y = key + "y";
    CHECK_FALSE(publisher->publish(key));
    CHECK_FALSE(publisher->publish({x, y}));
    for (const auto& each : {key, x, y}) expected.push_back("invalidate " + each);
    if (i % 100 == 0) {
      const auto version = static_cast<std::uint64_t>(i) + 1;
      CHECK_FALSE(publisher->revoke_lease("lease", {.version = version}));
      expected.push_back("lease_revoked lease v" + std::to_string(version));
    }
  }
  CHECK(eventually([&] { return heard.count() >= expected.size(); }));
  CHECK((heard.lines() == expected));
}

CONTRACT_TEST_CASE("publish_all keeps its place among the events", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(publisher->publish("before"));
  CHECK_FALSE(publisher->publish_all());
  CHECK_FALSE(publisher->publish("after"));
  CHECK(eventually([&] { return heard.count() >= 3; }));
  CHECK(heard.lines() == Lines{"invalidate before", "resync: requested", "invalidate after"});
}

CONTRACT_TEST_CASE("publishes that follow each other on different threads keep their order", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  constexpr int rounds = 200;
  std::mutex turn;
  int next = 0;
  bool failed = false;
  {
    const auto work = [&] {
      while (true) {
        const std::lock_guard lock{turn};  // one publish returns before the other begins
        if (next == rounds) return;
        failed = failed || publisher->publish("k", {.version = static_cast<std::uint64_t>(++next)});
      }
    };
    const std::jthread a{work}, b{work};
  }
  CHECK_FALSE(failed);
  CHECK(eventually([&] { return heard.count() >= rounds; }));
  Lines expected;
  for (int i = 1; i <= rounds; ++i) expected.push_back("invalidate k v" + std::to_string(i));
  CHECK((heard.lines() == expected));
}

CONTRACT_TEST_CASE("concurrent publishes of a node reach remote nodes in one order", "[contract][threads]", Clusters) {
  const auto publisher = fixture.node(), first = fixture.node(), second = fixture.node();
  Heard at_first, at_second;
  const auto a = first->subscribe_all(at_first.on_event(), at_first.on_resync());
  const auto b = second->subscribe_all(at_second.on_event(), at_second.on_resync());
  constexpr int rounds = 300;
  {
    const auto work = [&](const std::string& name) {
      for (int i = 0; i != rounds; ++i) static_cast<void>(publisher->publish(name + std::to_string(i)));
    };
    const std::jthread x{work, "x"}, y{work, "y"};
  }
  CHECK(eventually([&] { return at_first.count() >= 2 * rounds && at_second.count() >= 2 * rounds; }));
  CHECK(at_first.count() == 2 * rounds);
  CHECK((at_first.lines() == at_second.lines()));
}

CONTRACT_TEST_CASE("cause comes before effect: who publishes in answer is heard after the question", "[contract]",
                   Clusters) {
  const auto asker = fixture.node(), answerer = fixture.node();
  Heard heard;
  const auto echo = answerer->subscribe("question", [&](const Event& event) {
    if (answerer->publish("answer", {.version = event.version})) throw 1;
  });
  const auto subscription = answerer->subscribe_all(heard.on_event(), heard.on_resync());
  for (std::uint64_t i = 1; i <= 50; ++i) CHECK_FALSE(asker->publish("question", {.version = i}));

  CHECK(eventually([&] { return heard.count() == 100; }));
  const Lines lines = heard.lines();
  for (std::size_t i = 1; i <= 50; ++i) {
    const auto question = std::ranges::find(lines, "invalidate question v" + std::to_string(i));
    const auto answer = std::ranges::find(lines, "invalidate answer v" + std::to_string(i));
    CHECK(question < answer);
  }
}
