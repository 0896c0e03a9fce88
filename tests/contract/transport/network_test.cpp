// A network that does what no server does: a proxy between one node and the broker cuts, stalls, slows down and forgets
// its connections.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/all_resyncs.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/tcp_proxy.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::all_resyncs, support::TcpProxy;

namespace {

/// Two nodes, one of them behind the proxy; each hears everything that the other publishes.
struct Pair {
  explicit Pair(ServerFixture& fixture, const syncbus::BusOptions& options = {})
      : proxy{fixture.proxy()}, far{fixture.node_behind(proxy, options)}, near{fixture.node(options)} {}

  /// What both publish, numbered; each has to hear all of the other's.
  void publish() {
    const std::string key = std::to_string(published++);
    CHECK_FALSE(far->publish("far " + key));
    CHECK_FALSE(near->publish("near " + key));
  }
  [[nodiscard]] bool both_hear_all() {
    return eventually([&] {
      for (int i = 0; i != published; ++i) {
        if (!at_far.contains("invalidate near " + std::to_string(i))) return false;
        if (!at_near.contains("invalidate far " + std::to_string(i))) return false;
      }
      return true;
    });
  }
  [[nodiscard]] std::uint64_t resyncs() const { return all_resyncs(far->metrics()) + all_resyncs(near->metrics()); }

  TcpProxy proxy;
  AnyNode far, near;
  Heard at_far, at_near;
  int published = 0;
  syncbus::Subscription a = far->subscribe_all(at_far.on_event(), at_far.on_resync());
  syncbus::Subscription b = near->subscribe_all(at_near.on_event(), at_near.on_resync());
};

}  // namespace

CONTRACT_TEST_CASE("connections that are cut again and again cost a node no resync", "[contract]", Servers) {
  Pair pair{fixture};
  for (std::uint64_t round = 1; round <= 10; ++round) {
    for (int i = 0; i != 10; ++i) pair.publish();
    pair.proxy.cut();
    for (int i = 0; i != 10; ++i) pair.publish();
    REQUIRE(eventually([&] { return pair.far->metrics().reconnects >= round && pair.far->is_healthy(); }));
  }
  CHECK(pair.both_hear_all());
  CHECK(pair.resyncs() == 0);
  CHECK(pair.near->metrics().reconnects == 0);
}

CONTRACT_TEST_CASE(
    "a server that is gone without a word is noticed within the peer timeout, and another connection found",
    "[contract]", Servers) {
  Pair pair{fixture, {.peer_timeout = 2s}};
  pair.publish();
  CHECK(pair.both_hear_all());
  pair.proxy.half_open();
  for (int i = 0; i != 10; ++i) pair.publish();
  CHECK(eventually([&] { return pair.far->metrics().reconnects >= 1 && pair.far->is_healthy(); }));
  CHECK(pair.both_hear_all());
  CHECK(pair.resyncs() == 0);
}

CONTRACT_TEST_CASE("a node that dies without a goodbye costs nobody at its server a resync, and what it published is heard",
                   "[contract]", Servers) {
  Pair pair{fixture, {.close_timeout = 100ms, .heartbeat = 500ms, .peer_timeout = 2s}};
  pair.publish();
  CHECK(pair.both_hear_all());
  pair.publish();
  REQUIRE_FALSE(pair.far->flush(support::patience));
  pair.proxy.set({.refuses = true});
  pair.proxy.cut();  // what a server sees of a process that is killed
  const auto outcome = pair.near->publish_and_await("all", syncbus::Quorum::everyone(), {.timeout = support::patience});
  CHECK_FALSE(outcome.error);  // the other one is silent
  CHECK(pair.at_near.contains("invalidate far 1"));
  CHECK(all_resyncs(pair.near->metrics()) == 0);
  CHECK(pair.near->metrics().reconnects == 0);
}

CONTRACT_TEST_CASE("a network that stands still longer than the peer timeout delays events, and loses none",
                   "[contract]", Servers) {
  Pair pair{fixture, {.peer_timeout = 2s}};
  pair.publish();
  CHECK(pair.both_hear_all());
  pair.proxy.set({.stalled = true});
  for (int i = 0; i != 100; ++i) pair.publish();
  CHECK(eventually([&] { return !pair.far->is_healthy(); }));
  for (int i = 0; i != 100; ++i) pair.publish();
  pair.proxy.set({});
  CHECK(eventually([&] { return pair.far->is_healthy(); }));
  CHECK(pair.both_hear_all());
  CHECK(pair.at_far.count("resync: unrepairable") + pair.at_near.count("resync: unrepairable") == 0);
}

CONTRACT_TEST_CASE("a short stall costs nothing at all", "[contract]", Servers) {
  Pair pair{fixture};
  pair.proxy.set({.stalled = true});
  for (int i = 0; i != 100; ++i) pair.publish();
  fixture.let_pass(50ms);
  CHECK_FALSE(pair.at_near.contains("invalidate far 99"));
  pair.proxy.set({});
  CHECK(pair.both_hear_all());
  CHECK(pair.resyncs() == 0);
  CHECK(pair.far->metrics().reconnects == 0);
}

CONTRACT_TEST_CASE("a slow connection makes no publisher wait and loses nothing", "[contract]", Servers) {
  Pair pair{fixture};
  pair.proxy.set({.delay = 5ms, .bytes_per_second = 2'000'000});
  const std::string padding(1'000, '.');
  std::vector<std::string> keys;
  for (int i = 0; i != 1'000; ++i) keys.push_back(std::to_string(i) + padding);
  CHECK_FALSE(pair.far->publish(keys));
  CHECK_FALSE(pair.near->publish(keys));
  REQUIRE(caught_up(*pair.far, *pair.near));
  REQUIRE(caught_up(*pair.near, *pair.far));
  for (const Heard* heard : {&pair.at_far, &pair.at_near}) CHECK(heard->contains("invalidate 999" + padding));
  CHECK(pair.resyncs() == 0);
}

CONTRACT_TEST_CASE("quorums are true while a network delays frames and acknowledgements, and cuts connections",
                   "[contract]", Servers) {
  Pair pair{fixture};
  pair.proxy.set({.delay = 10ms});
  for (int round = 0; round != 20; ++round) {
    const std::string key = "awaited " + std::to_string(round);
    if (round % 5 == 4) pair.proxy.cut();
    const auto outcome = pair.near->publish_and_await(key, syncbus::Quorum{2}, {.timeout = support::patience});
    CHECK_FALSE(outcome.error);
    CHECK(outcome.replicas.size() == 2);
    CHECK(pair.at_far.contains("invalidate " + key));  // it has returned, for its node was counted
  }
  CHECK(pair.resyncs() == 0);
}
