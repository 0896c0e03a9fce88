// How far behind a node says it may be: bounded while all is well, growing while something is not, and never from hope.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <semaphore>
#include <vector>

#include "contract/fixtures/crank.hpp"
#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::Event;

namespace {

constexpr auto beat = 50ms;

/// A little more than two heartbeats, which prove everything on an idle channel.
constexpr auto fresh = 3 * beat;

}  // namespace

CONTRACT_TEST_CASE("a node without peers is never stale", "[contract]", Everything) {
  const auto node = fixture.node({.heartbeat = beat});
  for (int i = 0; i != 5; ++i) {
    CHECK(node->staleness() == 0s);
    CHECK_FALSE(node->publish("k"));
    fixture.let_pass(beat);
  }
  CHECK(node->is_healthy());
}

TEST_CASE("between idle nodes staleness stays below two heartbeats", "[contract]") {
  OnHub fixture;
  const auto x = fixture.node(), y = fixture.node(), z = fixture.node();
  fixture.let_pass(5s);
  auto worst = syncbus::Duration::zero();
  for (int i = 0; i != 4'000; ++i) {
    fixture.let_pass(3ms);
    for (const auto& node : {x, y, z}) worst = (std::max)(worst, node->staleness());
  }
  CHECK(worst > 500ms);  // evidence comes with heartbeats only
  CHECK(worst <= 2s);
}

CONTRACT_TEST_CASE("staleness comes back to a few heartbeats, idle or not", "[contract]", ClustersOfAnyTime) {
  const auto x = fixture.node({.heartbeat = beat}), y = fixture.node({.heartbeat = beat});
  Heard heard;
  const auto subscription = y->subscribe_all(heard.on_event(), heard.on_resync());
  for (int i = 0; i != 5; ++i) {
    REQUIRE(fixture.in_time([&] { return y->staleness() < fresh; }));
    CHECK_FALSE(x->publish("k"));
    fixture.let_pass(beat);
  }
  const auto until = fixture.now() + 4 * beat;
  while (fixture.now() < until) {  // nor does a stream of events put the proof off
    for (int i = 0; i != 20; ++i) CHECK_FALSE(x->publish("k"));
    fixture.let_pass(1ms);
  }
  REQUIRE(fixture.in_time([&] {
    static_cast<void>(x->publish("k"));
    return y->staleness() < fresh;
  }));
}

CONTRACT_TEST_CASE("staleness grows while a handler of a remote event has not returned", "[contract]", InRealTime) {
  Crank crank;
  const auto listener = fixture.node({.heartbeat = beat, .executor = crank.post()});
  const auto publisher = fixture.node({.heartbeat = beat});
  Heard heard;
  const auto subscription = listener->subscribe("k", heard.on_event());
  REQUIRE(eventually([&] {
    crank.turn();
    return listener->staleness() < fresh;
  }));
  CHECK_FALSE(publisher->publish("k"));
  const auto accepted = fixture.now();
  REQUIRE(eventually([&] { return crank.waiting() == 1; }));
  int too_fresh = 0;
  for (std::chrono::milliseconds age = 0ms; age < 8 * beat; let_pass(5ms)) {
    age = std::chrono::duration_cast<std::chrono::milliseconds>(fixture.now() - accepted);
    too_fresh += listener->staleness() < age ? 1 : 0;  // never less than the age of what has not been heard
  }
  CHECK(too_fresh == 0);
  CHECK(heard.count() == 0);
  CHECK(listener->is_healthy());
  REQUIRE(eventually([&] {
    crank.turn();
    return heard.count() == 1 && listener->staleness() < fresh;
  }));
}

CONTRACT_TEST_CASE("staleness grows while a handler runs, also for other keys", "[contract][threads]", Brokers) {
  const auto publisher = fixture.node({.heartbeat = beat}), listener = fixture.node({.heartbeat = beat});
  std::binary_semaphore entered{0}, leave{0};
  const auto subscription = listener->subscribe("slow", [&](const Event&) {
    entered.release();
    leave.acquire();
  });
  CHECK_FALSE(publisher->publish("slow"));
  entered.acquire();
  CHECK(eventually([&] { return listener->staleness() > 6 * beat; }));
  leave.release();
  CHECK(eventually([&] { return listener->staleness() < fresh; }));
}

CONTRACT_TEST_CASE("while the broker is away staleness grows, and it is told how long it was", "[contract]", Brokers) {
  std::mutex mutex;
  std::vector<syncbus::Health> told;
  const auto x = fixture.node({.heartbeat = beat}),
             y = fixture.node({.heartbeat = beat, .on_health = [&](const syncbus::Health&health) {
                                 const std::lock_guard lock{mutex};
                                 told.push_back(health);
                               }});
  Heard heard;
  const auto subscription = y->subscribe_all(heard.on_event(), heard.on_resync());
  REQUIRE(eventually([&] { return y->staleness() < fresh; }));
  const auto told_of = [&](bool connected) {
    return eventually([&] {  // the word comes on the dispatch thread, which may be behind
      const std::lock_guard lock{mutex};
      return !told.empty() && told.back().connected == connected;
    });
  };
  const auto begin = fixture.now();
  const auto before = y->staleness();
  fixture.kill_broker();
  CHECK(eventually([&] { return !y->is_healthy() && !x->is_healthy(); }));
  CHECK_FALSE(x->publish("meanwhile"));
  CHECK(eventually([&] { return y->staleness() >= 10 * beat; }));
  CHECK(fixture.now() - begin >= 5 * beat - before);  // as the clock did, but from when it last heard itself
  CHECK(told_of(false));  // before the end of the outage, which would be told of in its place
  fixture.restart_broker();
  CHECK(eventually([&] { return y->is_healthy() && y->staleness() < fresh; }));
  CHECK(heard.contains("invalidate meanwhile"));  // what proves that it is fresh is that it has heard this
  CHECK(told_of(true));
}
