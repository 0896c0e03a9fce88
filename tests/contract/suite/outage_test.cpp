// The broker dies and comes back: publishes are accepted meanwhile, and nothing is lost in silence.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "contract/fixtures/cache.hpp"
#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/control_frames.hpp"
#include "support/eventually.hpp"
#include "support/frames.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::heartbeat_frame;
using syncbus::Errc, syncbus::ResyncCause;

namespace {

template <class... Nodes>
bool all_healthy(const Nodes&... nodes) {
  return eventually([&] { return (nodes->is_healthy() && ...); });
}
template <class... Nodes>
bool none_healthy(const Nodes&... nodes) {
  return eventually([&] { return (!nodes->is_healthy() && ...); });
}

}  // namespace

CONTRACT_TEST_CASE("a broker that is killed and restarted costs nobody a resync", "[contract]", Brokers) {
  const auto left = fixture.node(), right = fixture.node();
  Heard at_left, at_right, key, lease;
  const auto a = left->subscribe_all(at_left.on_event(), at_left.on_resync());
  const auto b = right->subscribe_all(at_right.on_event(), at_right.on_resync());
  const auto c = right->subscribe("key", key.on_event());
  const auto d = right->subscribe_lease("lease", lease.on_event());
  CHECK_FALSE(left->publish("before"));
  CHECK_FALSE(right->publish("before"));
  CHECK(eventually([&] { return at_left.count() == 2 && at_right.count() == 2; }));

  fixture.kill_broker();
  CHECK(none_healthy(left, right));
  fixture.restart_broker();
  CHECK(all_healthy(left, right));
  REQUIRE(caught_up(*left, *right));
  REQUIRE(caught_up(*right, *left));

  for (const auto& [node, heard] : {std::pair{&left, &at_left}, {&right, &at_right}}) {
    CHECK(heard->count("invalidate before") == 2);
    const auto metrics = (*node)->metrics();
    CHECK(metrics.resyncs == decltype(metrics.resyncs){});
    CHECK(metrics.reconnects == 1);
  }
  CHECK(key.lines().empty());
  CHECK(lease.lines().empty());
}

CONTRACT_TEST_CASE("what an outage cost and nobody repairs is one resync, interrupted, for every subscriber",
                   "[contract]", Brokers) {
  const auto node = fixture.node({.repair_timeout = 1min});  // frame 9 could still be repaired, and is not given up
  Heard all, key, lease;
  const auto a = node->subscribe_all(all.on_event(), all.on_resync());
  const auto b = node->subscribe("k", key.on_event());
  const auto c = node->subscribe_lease("l", lease.on_event());
  auto key_box = node->subscribe("k"), prefix_box = node->subscribe_prefix("p");
  const syncbus::NodeId strangers[]{{0x57A1}, {0x57A2}};
  for (const auto id : strangers) fixture.inject(support::events_frame(id, 1, {{.key = "before"}}));
  CHECK(eventually([&] { return all.count() == 2; }));

  fixture.kill_broker();
  CHECK(none_healthy(node));
  fixture.restart_broker();
  CHECK(all_healthy(node));
  for (const auto id : strangers) {
    fixture.inject(heartbeat_frame(id, {.number = 1, .last_sequence = 9, .oldest_sequence = 9, .interval = 1min}));
  }
  for (const auto& [box, line] : {std::pair{&key_box, "resync k"}, {&prefix_box, "resync p"}}) {
    const auto event = box->receive(30s);
    REQUIRE(event);
    CHECK(line_of(**event) == line);
  }
  CHECK(eventually([&] { return node->metrics().gaps == 16; }));
  for (const auto id : strangers) fixture.inject(support::events_frame(id, 10, {{.key = "after"}}));
  CHECK(eventually([&] { return all.count("invalidate after") == 2; }));
  CHECK(all.count("resync: interrupted") >= 1);
  CHECK(all.count("resync: interrupted") <= 2);  // one, unless the join window closed between the two
  CHECK(key.contains("resync k"));
  CHECK(lease.contains("resync l"));
  CHECK(node->metrics().resyncs_by(ResyncCause::interrupted) == all.count("resync: interrupted"));
  CHECK(node->metrics().resyncs_by(ResyncCause::unrepairable) == 0);
}

CONTRACT_TEST_CASE("what is published while disconnected is heard afterwards, without a resync", "[contract]",
                   Brokers) {
  const auto publisher = fixture.node(), listener = fixture.node();
  Heard heard, own;
  const auto a = listener->subscribe("k", heard.on_event());
  const auto b = publisher->subscribe("k", own.on_event());
  Cache cache;
  const auto c = cache.attach(*listener);
  fixture.kill_broker();
  CHECK(none_healthy(publisher, listener));

  for (int i = 0; i != 100; ++i) {
    cache.put(std::to_string(i));
    CHECK_FALSE(publisher->publish(std::to_string(i)));
  }
  CHECK_FALSE(publisher->publish("k"));
  CHECK(own.lines() == Lines{"invalidate k"});  // its own node hears it at once, broker or not
  CHECK(cache.size() == 100);
  CHECK(publisher->flush(0s) == Errc::not_connected);

  fixture.restart_broker();
  CHECK(eventually([&] { return cache.size() == 0; }));
  CHECK(eventually([&] { return heard.count() == 1; }));
  CHECK(heard.lines() == Lines{"invalidate k"});
  CHECK_FALSE(publisher->flush(30s));
  for (const auto& node : {publisher, listener}) {
    const auto metrics = node->metrics();
    CHECK(metrics.resyncs == decltype(metrics.resyncs){});
  }
}

CONTRACT_TEST_CASE("whenever the broker dies, every accepted publish is heard or covered", "[contract][threads]",
                   Brokers) {
  const auto publisher = fixture.node(), listener = fixture.node();
  Cache cache;
  const auto subscription = cache.attach(*listener);
  std::atomic<int> failures = 0, published = 0;
  {
    const std::jthread publishing{[&](const std::stop_token& stop) {
      for (int i = 0; !stop.stop_requested(); ++i) {
        const std::string key = std::to_string(i);
        cache.put(key);
        if (publisher->publish(key)) ++failures;
        ++published;
        if (i % 50 == 49) std::this_thread::yield();
      }
    }};
    for (int round = 0; round != 3; ++round) {
      const int seen = published;
      CHECK(eventually([&] { return published > seen + 200; }));
      fixture.kill_broker();
      const int then = published;
      CHECK(eventually([&] { return published > then + 200; }));
      CHECK(none_healthy(publisher, listener));
      fixture.restart_broker();
      CHECK(all_healthy(publisher, listener));
      CHECK(caught_up(*publisher, *listener));
    }
  }
  CHECK(failures == 0);
  CHECK_FALSE(publisher->flush(30s));
  CHECK(eventually([&] { return cache.size() == 0; }));
  const auto metrics = listener->metrics();
  for (const auto cause : {ResyncCause::unrepairable, ResyncCause::peer_lost, ResyncCause::joined}) {
    CHECK(metrics.resyncs_by(cause) == 0);
  }
}

CONTRACT_TEST_CASE("publishing while disconnected never waits, and joins what it cannot hold", "[contract]", Brokers) {
  const auto publisher = fixture.node({.send_wait = 1h, .pending_bytes = std::size_t{64} << 10U});
  const auto listener = fixture.node();
  Cache cache;
  const auto subscription = cache.attach(*listener);
  fixture.kill_broker();
  CHECK(none_healthy(publisher, listener));
  for (int i = 0; i != 20'000; ++i) {
    cache.put(std::to_string(i));
    REQUIRE_FALSE(publisher->publish(std::to_string(i)));
  }
  CHECK(publisher->metrics().joined > 0);
  fixture.restart_broker();
  CHECK(eventually([&] { return cache.size() == 0; }));
  CHECK_FALSE(publisher->flush(30s));
}

CONTRACT_TEST_CASE("on_health tells of the interruption and of its end", "[contract]", Brokers) {
  std::mutex mutex;
  std::vector<syncbus::Health> told;
  const auto node = fixture.node({.on_health = [&](const syncbus::Health& health) {
    const std::lock_guard lock{mutex};
    told.push_back(health);
  }});
  const auto latest = [&]() -> syncbus::Health {
    const std::lock_guard lock{mutex};
    return told.empty() ? syncbus::Health{} : told.back();
  };
  CHECK(node->is_healthy());
  fixture.kill_broker();
  CHECK(eventually([&] { return !node->is_healthy(); }));
  CHECK(eventually([&] {
    const std::lock_guard lock{mutex};
    return !told.empty() && !told.back().connected;
  }));
  fixture.restart_broker();
  CHECK(eventually([&] { return latest().connected; }));
  CHECK(eventually([&] { return node->staleness() == 0s; }));
  CHECK(node->is_healthy());
}

CONTRACT_TEST_CASE("close ends by its deadline while the broker is away", "[contract]", Brokers) {
  const auto node = fixture.node();
  fixture.kill_broker();
  CHECK(eventually([&] { return !node->is_healthy(); }));
  CHECK_FALSE(node->publish("k"));
  const auto begin = fixture.now();
  CHECK(node->close(50ms) == Errc::not_connected);
  CHECK(fixture.now() - begin < 15s);  // what a busy machine adds included
  CHECK(node->publish("k") == Errc::closed);
  fixture.restart_broker();
}

CONTRACT_TEST_CASE("a publish_only node survives its broker too", "[contract]", Brokers) {
  const auto publisher = fixture.node({.publish_only = true}), listener = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(publisher->publish("before"));
  CHECK_FALSE(publisher->flush(30s));
  fixture.kill_broker();
  CHECK(none_healthy(publisher, listener));
  fixture.restart_broker();
  CHECK(all_healthy(publisher, listener));
  CHECK_FALSE(publisher->publish("after"));
  CHECK(eventually([&] { return heard.contains("invalidate after"); }));
  CHECK(publisher->metrics().resyncs_by(ResyncCause::interrupted) == 0);
}

CONTRACT_TEST_CASE("a node that waits for its broker is made when that has come", "[contract]", Brokers) {
  static_cast<void>(fixture.node());  // where a topic has to be made, it is
  fixture.kill_broker();
  std::atomic<bool> told = false;
  auto made = std::async(std::launch::async, [&] {
    return fixture.node({.connect_timeout = 4s,
                         .wait_for_broker = 1min,
                         .on_log = [&](std::string_view) { told = true; }});
  });
  const bool was_told = eventually([&] { return told.load(); });
  fixture.restart_broker();
  const auto node = made.get();
  CHECK(was_told);
  const auto other = fixture.node();
  REQUIRE(caught_up(*node, *other));
  CHECK(node->metrics().reconnects == 0);
}
