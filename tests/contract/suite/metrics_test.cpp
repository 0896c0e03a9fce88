// What the counters count: each as its documentation says, on every bus.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/all_resyncs.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::Event, syncbus::EventType, syncbus::Metrics, syncbus::ResyncCause, syncbus::Scope;

CONTRACT_TEST_CASE("published counts the keys that were accepted, whatever the scope", "[contract]", Everything) {
  const auto bus = fixture.node();
  CHECK(bus->metrics().published == 0);
  CHECK_FALSE(bus->publish("a"));
  CHECK_FALSE(bus->publish({"a", "b", "c"}));
  CHECK_FALSE(bus->publish("a", {.scope = Scope::local}));
  CHECK_FALSE(bus->publish("a", {.scope = Scope::remote}));
  CHECK_FALSE(bus->revoke_lease("lease"));
  CHECK_FALSE(bus->publish_all());
  CHECK(bus->metrics().published == 8);
  CHECK(bus->publish(""));
  CHECK(bus->publish({"a", ""}));
  CHECK(bus->publish("a", {.type = EventType::resync}));
  CHECK(bus->metrics().published == 8);
}

CONTRACT_TEST_CASE("delivered counts the handlers that returned, and events put into mailboxes", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  std::vector<syncbus::Subscription> subscriptions;
  subscriptions.push_back(listener->subscribe("k", [](const Event&) {}));
  subscriptions.push_back(listener->subscribe("k", [](const Event&) {}));
  subscriptions.push_back(listener->subscribe("other", [](const Event&) {}));
  const auto box = listener->subscribe("k");
  const auto before = listener->metrics().delivered;

  CHECK_FALSE(publisher->publish("k", {.version = 1}));
  CHECK_FALSE(publisher->publish("k", {.version = 2}));
  CHECK_FALSE(publisher->publish_all());

  CHECK(eventually([&] { return listener->metrics().delivered == before + 6; }));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(eventually([&] { return listener->metrics().delivered >= before + 6 + 1; }));
  CHECK(listener->metrics().delivered == before + 6 + 1);  // the last is the fence's
  CHECK(listener->metrics().handler_errors == 0);
}

CONTRACT_TEST_CASE("a handler that throws is an error, not a delivery", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto a = listener->subscribe("k", [](const Event&) { throw std::runtime_error{"no"}; });
  const auto b = listener->subscribe("k", heard.on_event());
  const auto c = listener->subscribe("k", [](const Event&) { throw 1; });
  const auto before = listener->metrics().delivered;
  CHECK_FALSE(publisher->publish("k"));
  CHECK(eventually([&] { return listener->metrics().handler_errors == 2; }));
  CHECK(eventually([&] { return listener->metrics().delivered == before + 1; }));
  CHECK(heard.count() == 1);
}

CONTRACT_TEST_CASE("resyncs are counted by their cause", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(publisher->publish_all());
  CHECK_FALSE(publisher->publish("between"));
  CHECK_FALSE(publisher->flush(10s));  // else the second may find the first in the frame that is open, and join it
  CHECK_FALSE(publisher->publish_all());
  CHECK(eventually([&] { return heard.count() == 3; }));
  CHECK(eventually([&] { return listener->metrics().resyncs_by(ResyncCause::requested) == 2; }));
  const Metrics metrics = listener->metrics();
  CHECK(support::all_resyncs(metrics) == 2);
}

CONTRACT_TEST_CASE("frames and their bytes are counted on both sides", "[contract]", Clusters) {
  const auto publisher = fixture.node(), listener = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe("k", heard.on_event());
  const Metrics before = publisher->metrics(), before_there = listener->metrics();
  for (std::uint64_t i = 1; i <= 10; ++i) {
    CHECK_FALSE(publisher->publish("k", {.version = i}));
    CHECK_FALSE(publisher->flush(10s));
  }
  CHECK(eventually([&] { return heard.count() == 10 && listener->metrics().queue_bytes == 0; }));

  // Each was confirmed before the next, so nothing could batch; heartbeats may have gone between them.
  const Metrics received = listener->metrics(), sent = publisher->metrics();
  CHECK(sent.frames_sent - before.frames_sent >= 10);
  CHECK(received.frames_received - before_there.frames_received >= 10);
  CHECK(sent.history_bytes > 10 * 28);
  CHECK(sent.history_bytes < 10 * 100);
  CHECK(sent.bytes_sent - before.bytes_sent >= 10 * 28);
  CHECK(received.bytes_received - before_there.bytes_received >= 10 * 28);
  CHECK(received.history_bytes == 0);
  for (const Metrics& metrics : {sent, received}) {
    CHECK(metrics.bytes_sent >= 28 * metrics.frames_sent);
    CHECK(metrics.bytes_received >= 28 * metrics.frames_received);
    CHECK(metrics.invalid_frames == 0);
    CHECK(metrics.duplicates == 0);
    CHECK(metrics.gaps == 0);
    CHECK(metrics.frames_repaired == 0);
    CHECK(metrics.joined == 0);
    CHECK(metrics.reconnects == 0);
    CHECK(metrics.resyncs == decltype(metrics.resyncs){});
    CHECK(metrics.queue_bytes == 0);
  }
}

CONTRACT_TEST_CASE("heartbeats are frames too, its own echoes included", "[contract]", Clusters) {
  const auto node = fixture.node({.heartbeat = std::chrono::milliseconds{20}});
  const auto before = node->metrics();
  REQUIRE(fixture.in_time([&] {
    const auto now = node->metrics();
    return now.frames_sent >= before.frames_sent + 5 && now.frames_received >= before.frames_received + 5;
  }));
  CHECK(node->metrics().history_bytes == 0);
  CHECK(node->metrics().published == 0);
}

CONTRACT_TEST_CASE("a publish of local scope sends no frame", "[contract]", Everything) {
  const auto bus = fixture.node();
  CHECK_FALSE(bus->publish("k", {.scope = Scope::local}));
  CHECK_FALSE(bus->publish_all({.scope = Scope::local}));
  CHECK_FALSE(bus->flush(10s));
  CHECK(bus->metrics().history_bytes == 0);  // heartbeats leave nothing there
}

CONTRACT_TEST_CASE("history stays below its cap however much is published", "[contract]", Clusters) {
  const std::size_t cap = std::size_t{256} << 10U;
  const auto publisher = fixture.node({.send_wait = 10s, .history_bytes = cap});
  const auto listener = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  const std::string filler(1'000, 'x');
  std::uint64_t worst = 0;
  for (int i = 0; i != 2'000; ++i) {
    REQUIRE_FALSE(publisher->publish(filler + std::to_string(i)));
    worst = (std::max)(worst, publisher->metrics().history_bytes);
  }
  CHECK(worst <= cap);
  CHECK(eventually([&] { return heard.count() >= 2'000; }));
  CHECK(heard.count() == 2'000);
  CHECK(listener->metrics().resyncs == decltype(Metrics::resyncs){});
}
