// More than fits: what a publisher waits for when its ring is full, and what a node does that cannot keep up.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <semaphore>
#include <string>

#include "contract/fixtures/cache.hpp"
#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/keys.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::kib, support::wide_key;
using syncbus::Event, syncbus::Metrics, syncbus::Resync;

namespace {

/// Publishes; how long that took.
template <class Node>
syncbus::Duration time_of_publishing(Node& node, const std::string& key) {
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(node.publish(key));
  return std::chrono::steady_clock::now() - begin;
}

/// Holds the thread that calls its handler, until it is released; a resync, which every subscriber hears, does not.
struct Held {
  [[nodiscard]] auto on_event() {
    return [this](const Event& event) {
      if (event.type == syncbus::EventType::resync) return;
      entered.release();
      leave.acquire();
    };
  }
  std::binary_semaphore entered{0}, leave{0};
};

}  // namespace

CONTRACT_TEST_CASE("a full ring that nobody confirms makes a publish wait for send_wait, then join", "[contract]",
                   Servers) {
  constexpr auto send_wait = 50ms;
  const auto publisher = fixture.node({.send_wait = send_wait, .history_bytes = 64 * kib}), listener = fixture.node();
  Cache cache;
  const auto subscription = cache.attach(*listener);
  fixture.stop_broker();
  auto took = syncbus::Duration::zero();
  int published = 0;
  for (; took < send_wait; ++published) {
    REQUIRE(published < 5'000);  // they would not fit
    cache.put(wide_key(published));
    took = time_of_publishing(*publisher, wide_key(published));
  }
  CHECK(took < support::patience);
  CHECK(publisher->metrics().joined == 0);  // keys that differ
  cache.put("again");
  for (int i = 0; i != 3; ++i) {
    took = time_of_publishing(*publisher, "again");
    CHECK(took >= send_wait);  // each call waits anew: confirmations may have begun to come
    CHECK(took < support::patience);
  }
  CHECK(publisher->metrics().joined == 2);
  fixture.resume_broker();
  CHECK_FALSE(publisher->flush(support::patience));
  CHECK(eventually([&] { return cache.size() == 0; }));
  CHECK(listener->metrics().resyncs == decltype(Metrics::resyncs){});
}

CONTRACT_TEST_CASE("with a send_wait of zero a publish never waits, and joins what finds no room", "[contract]",
                   Servers) {
  const auto publisher = fixture.node({.send_wait = 0s, .history_bytes = 64 * kib, .pending_bytes = 16 * kib});
  const auto listener = fixture.node();
  Cache cache;
  const auto subscription = cache.attach(*listener);
  fixture.stop_broker();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i != 5'000; ++i) {
    cache.put(wide_key(i));
    REQUIRE_FALSE(publisher->publish(wide_key(i)));
  }
  CHECK(std::chrono::steady_clock::now() - begin < 15s);  // the wait of 100 ms that is usual would take minutes
  CHECK(publisher->metrics().joined > 0);
  fixture.resume_broker();
  CHECK_FALSE(publisher->flush(support::patience));
  CHECK(eventually([&] { return cache.size() == 0; }));
}

CONTRACT_TEST_CASE("a handler that does not return keeps no publisher elsewhere waiting", "[contract][threads]",
                   Brokers) {
  const auto publisher = fixture.node({.send_wait = support::patience, .history_bytes = 64 * kib});
  const auto listener = fixture.node();
  Held held;
  Cache cache;
  const auto a = listener->subscribe("hold", held.on_event());
  const auto b = cache.attach(*listener);
  CHECK_FALSE(publisher->publish("hold"));
  held.entered.acquire();
  for (int i = 0; i != 5'000; ++i) {  // ten times what the ring holds
    cache.put(wide_key(i));
    REQUIRE_FALSE(publisher->publish(wide_key(i)));
  }
  CHECK_FALSE(publisher->flush(support::patience));
  CHECK(publisher->metrics().joined == 0);
  CHECK(cache.size() == 5'000);
  held.leave.release();
  CHECK(eventually([&] { return cache.size() == 0; }));
}

CONTRACT_TEST_CASE("a node whose handler is held up joins what its queue cannot hold, and loses nothing",
                   "[contract][threads]", Brokers) {
  const std::size_t queue = 64 * kib;
  const std::size_t pending = GENERATE(std::size_t{4} * kib, std::size_t{1'024} * kib);
  const bool overflows = pending == 4 * kib;
  const auto listener = fixture.node({.queue_bytes = queue, .pending_bytes = pending}), publisher = fixture.node();
  Held held;
  Cache cache;
  Heard heard;
  const auto a = listener->subscribe("hold", held.on_event());
  const auto b = cache.attach(*listener);
  const auto c = listener->subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(publisher->publish("hold"));
  held.entered.acquire();
  std::size_t most = 0;
  const auto queue_bytes = [&] {
    const std::size_t bytes = listener->metrics().queue_bytes;
    most = (std::max)(most, bytes);
    return bytes;
  };
  for (int i = 0; i != 5'000; ++i) {
    cache.put(wide_key(i));
    CHECK_FALSE(publisher->publish(wide_key(i)));
    static_cast<void>(queue_bytes());
  }
  CHECK_FALSE(publisher->flush(support::patience));
  CHECK(eventually([&] { return overflows ? listener->metrics().joined > 0 : queue_bytes() > queue; }));
  CHECK(cache.size() == 5'000);
  held.leave.release();
  REQUIRE(eventually([&] { return cache.size() == 0; }));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.contains("resync: overflow") == overflows);
  if (!overflows) CHECK(heard.count() >= 5'000);
  CHECK(most <= queue + pending);
  CHECK(listener->metrics().gaps == 0);
}
