// flush and close: what they promise, what they refuse, and what is left afterwards.
#include <atomic>
#include <chrono>
#include <semaphore>
#include <thread>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::Errc, syncbus::Event, syncbus::ResyncCause;

CONTRACT_TEST_CASE("flush returns when the broker has all that was published", "[contract]", Everything) {
  const auto publisher = fixture.node();
  CHECK_FALSE(publisher->flush(10s));
  CHECK_FALSE(publisher->flush(0s));
  Heard heard;
  const auto listener = fixture.peer_of(publisher);
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  for (int i = 0; i != 1'000; ++i) REQUIRE_FALSE(publisher->publish(std::to_string(i)));
  CHECK_FALSE(publisher->flush(10s));
  CHECK_FALSE(publisher->flush(0s));  // nothing is left to wait for
  CHECK(eventually([&] { return heard.count() == 1'000; }));
}

CONTRACT_TEST_CASE("what was published before close is heard", "[contract]", Clusters) {
  const auto listener = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  {
    const auto publisher = fixture.node();
    for (int i = 0; i != 2'000; ++i) REQUIRE_FALSE(publisher->publish(std::to_string(i)));
  }
  CHECK(eventually([&] { return heard.count() == 2'000; }));
}

CONTRACT_TEST_CASE("a closed bus refuses everything, and closing again is nothing", "[contract]", Everything) {
  const auto bus = fixture.node();
  Heard heard;
  const auto subscription = bus->subscribe("k", heard.on_event());
  CHECK(bus->is_healthy());
  CHECK_FALSE(bus->close(10s));
  CHECK_FALSE(bus->is_healthy());
  CHECK_FALSE(bus->close(10s));
  CHECK_FALSE(bus->close(0s));

  CHECK(bus->publish("k") == Errc::closed);
  CHECK(bus->publish({"k", "l"}) == Errc::closed);
  CHECK(bus->publish("k", {.scope = syncbus::Scope::local}) == Errc::closed);
  CHECK(bus->publish_all() == Errc::closed);
  CHECK(bus->revoke_lease("k") == Errc::closed);
  CHECK(bus->flush(1s) == Errc::closed);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe("k", heard.on_event())); }) == Errc::closed);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe("k")); }) == Errc::closed);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_all(heard.on_event(), heard.on_resync())); }) == Errc::closed);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_lease("k", heard.on_event())); }) == Errc::closed);
  CHECK(bus->metrics().published == 0);
  CHECK(heard.lines().empty());
}

CONTRACT_TEST_CASE("a closed node hears nothing more, the others go on", "[contract]", Clusters) {
  const auto x = fixture.node(), y = fixture.node(), z = fixture.node();
  Heard at_y, at_z;
  const auto a = y->subscribe("k", at_y.on_event());
  const auto b = z->subscribe("k", at_z.on_event());
  CHECK_FALSE(y->close(10s));
  CHECK_FALSE(x->publish("k"));
  REQUIRE(caught_up(*x, *z));
  CHECK(at_z.count() == 1);
  CHECK(at_y.count() == 0);
}

CONTRACT_TEST_CASE("flush and close inside a handler answer would_deadlock", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  std::atomic<int> refused = 0, calls = 0;
  const auto attempt = [&] {
    refused += listener->flush(10s) == Errc::would_deadlock ? 1 : 0;
    refused += listener->close(10s) == Errc::would_deadlock ? 1 : 0;
    refused += publisher->flush(10s) == Errc::would_deadlock ? 1 : 0;
    ++calls;
  };
  const auto a = listener->subscribe("k", [&](const Event&) { attempt(); });
  const auto b = listener->subscribe_all([](const Event&) {}, [&](const syncbus::Resync&) { attempt(); });
  CHECK_FALSE(publisher->publish("k"));
  CHECK(eventually([&] { return calls == 1; }));
  CHECK_FALSE(publisher->publish_all());  // both hear it: the key's handler as an event
  CHECK(eventually([&] { return calls == 3; }));
  CHECK(refused == 9);
  CHECK(listener->is_healthy());
  CHECK_FALSE(listener->flush(10s));
}

CONTRACT_TEST_CASE("close while others publish: what was accepted is heard, the rest is refused", "[contract][threads]",
                   Clusters) {
  const auto listener = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  std::atomic<std::size_t> accepted = 0;
  std::atomic<bool> wrong = false;
  {
    const auto publisher = fixture.node();
    std::counting_semaphore<> started{0};
    const auto work = [&](const std::string& name) {
      for (int i = 0;; ++i) {
        const auto error = publisher->publish(name + std::to_string(i));
        if (i == 20) started.release();
        if (error) {
          wrong = wrong || error != Errc::closed;
          return;
        }
        ++accepted;
      }
    };
    const std::jthread a{work, "a"}, b{work, "b"};
    started.acquire();
    started.acquire();
    const auto error = publisher->close(30s);
    CHECK_FALSE(error);
  }
  CHECK_FALSE(wrong);
  CHECK(accepted >= 42);
  CHECK(eventually([&] { return heard.count() >= accepted; }));
  CHECK(heard.count() == accepted);
  CHECK(listener->metrics().gaps == 0);
}

CONTRACT_TEST_CASE("many threads may close at once", "[contract][threads]", Everything) {
  const auto bus = fixture.node();
  Heard heard;
  const auto subscription = bus->subscribe("k", heard.on_event());
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i != 4; ++i) {
      threads.emplace_back([&] {
        static_cast<void>(bus->publish("k"));
        if (bus->close(30s)) ++failures;
      });
    }
  }
  CHECK(failures == 0);
  CHECK_FALSE(bus->is_healthy());
}

CONTRACT_TEST_CASE("nodes that join and publish at different times cause no resync", "[contract]", Clusters) {
  std::vector<AnyNode> nodes;
  std::vector<Heard> heard(6);
  std::vector<syncbus::Subscription> subscriptions;
  for (std::size_t i = 0; i != heard.size(); ++i) {
    nodes.push_back(fixture.node());
    REQUIRE(fixture.has_met(nodes.back(), nodes.size() - 1));
    subscriptions.push_back(nodes.back()->subscribe_all(heard[i].on_event(), heard[i].on_resync()));
    for (const auto& node : nodes) {
      REQUIRE_FALSE(node->publish({"a", "b"}));
      REQUIRE_FALSE(node->publish("c"));
    }
    if (i == 3) nodes.erase(nodes.begin() + 1);  // one leaves
    for (const auto& node : nodes) REQUIRE(caught_up(*nodes.front(), *node));
  }
  for (const auto& node : nodes) {
    CHECK(node->metrics().resyncs == decltype(syncbus::Metrics::resyncs){});
    CHECK(node->metrics().gaps == 0);
    CHECK(node->metrics().invalid_frames == 0);
  }
}
