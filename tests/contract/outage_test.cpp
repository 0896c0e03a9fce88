// The broker dies and comes back: publishes are accepted meanwhile, and nothing is lost in silence.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "contract/fixtures.hpp"
#include "contract/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::Errc, syncbus::Event, syncbus::Resync, syncbus::ResyncCause;

namespace {

/// A cache of keys only. What is put in before a publish and still there in the end was lost in silence.
class Cache {
 public:
  template <class Node>
  [[nodiscard]] syncbus::Subscription attach(Node& node) {
    return node.subscribe_all([this](const Event& event) { erase(std::string{event.key}); },
                              [this](const Resync&) { clear(); });
  }
  void put(const std::string& key) {
    const std::lock_guard lock{mutex_};
    keys_.insert(key);
  }
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock{mutex_};
    return keys_.size();
  }

 private:
  void erase(const std::string& key) {
    const std::lock_guard lock{mutex_};
    keys_.erase(key);
  }
  void clear() {
    const std::lock_guard lock{mutex_};
    keys_.clear();
  }

  mutable std::mutex mutex_;
  std::set<std::string> keys_;
};

template <class... Nodes>
bool all_healthy(const Nodes&... nodes) {
  return eventually([&] { return (nodes->is_healthy() && ...); });
}
template <class... Nodes>
bool none_healthy(const Nodes&... nodes) {
  return eventually([&] { return (!nodes->is_healthy() && ...); });
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a broker that is killed and restarted costs each node exactly one resync, interrupted",
                        "[contract]", Brokers) {
  TestType fixture;
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
    CHECK(heard->count("resync: interrupted") == 1);
    CHECK(heard->count("invalidate before") == 2);
    const auto metrics = (*node)->metrics();
    CHECK(metrics.resyncs_by(ResyncCause::interrupted) == 1);
    CHECK(std::accumulate(metrics.resyncs.begin(), metrics.resyncs.end(), std::uint64_t{0}) == 1);
    CHECK(metrics.reconnects == 1);
  }
  CHECK(key.lines() == Lines{"resync key"});
  CHECK(lease.lines() == Lines{"resync lease"});
}

TEMPLATE_LIST_TEST_CASE("what is published while disconnected is heard afterwards, or covered by a resync",
                        "[contract]", Brokers) {
  TestType fixture;
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
  CHECK(heard.count() >= 1);
  CHECK_FALSE(publisher->flush(30s));
}

TEMPLATE_LIST_TEST_CASE("whenever the broker dies, every accepted publish is heard or covered", "[contract][threads]",
                        Brokers) {
  TestType fixture;
  const auto publisher = fixture.node(), listener = fixture.node();
  Cache cache;
  const auto subscription = cache.attach(*listener);
  std::atomic<bool> done = false;
  std::atomic<int> failures = 0, published = 0;
  {
    const std::jthread publishing{[&] {
      for (int i = 0; !done; ++i) {
        const std::string key = std::to_string(i);
        cache.put(key);
        if (publisher->publish(key)) ++failures;
        ++published;
        if (i % 50 == 49) std::this_thread::yield();
      }
    }};
    for (std::uint64_t round = 1; round != 4; ++round) {
      const int seen = published;
      CHECK(eventually([&] { return published > seen + 200; }));
      fixture.kill_broker();
      const int then = published;
      CHECK(eventually([&] { return published > then + 200; }));
      CHECK(none_healthy(publisher, listener));
      fixture.restart_broker();
      CHECK(all_healthy(publisher, listener));
      // Heard before the next round: two that nobody has heard of in between would join into one.
      CHECK(eventually([&] { return listener->metrics().resyncs_by(ResyncCause::interrupted) == round; }));
    }
    done = true;
  }
  CHECK(failures == 0);
  CHECK_FALSE(publisher->flush(30s));
  CHECK(eventually([&] { return cache.size() == 0; }));
  CHECK(listener->metrics().resyncs_by(ResyncCause::interrupted) == 3);
}

TEMPLATE_LIST_TEST_CASE("publishing while disconnected never waits, and joins what it cannot hold", "[contract]",
                        Brokers) {
  TestType fixture;
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

TEMPLATE_LIST_TEST_CASE("on_health tells of the interruption and of its end", "[contract]", Brokers) {
  TestType fixture;
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
  CHECK(eventually([&] { return latest().connected && latest().staleness == 0s; }));
  CHECK(node->is_healthy());
}

TEMPLATE_LIST_TEST_CASE("close ends by its deadline while the broker is away", "[contract]", Brokers) {
  TestType fixture;
  const auto node = fixture.node();
  fixture.kill_broker();
  CHECK(eventually([&] { return !node->is_healthy(); }));
  CHECK_FALSE(node->publish("k"));
  CHECK(node->close(50ms) == Errc::not_connected);
  CHECK(node->publish("k") == Errc::closed);
  fixture.restart_broker();
}

TEMPLATE_LIST_TEST_CASE("a publish_only node survives its broker too", "[contract]", Brokers) {
  TestType fixture;
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

TEMPLATE_LIST_TEST_CASE("mailboxes yield the interruption as an event of what they are subscribed to", "[contract]",
                        Brokers) {
  TestType fixture;
  const auto node = fixture.node();
  auto key = node->subscribe("k"), prefix = node->subscribe_prefix("p");
  fixture.kill_broker();
  CHECK(eventually([&] { return !node->is_healthy(); }));
  fixture.restart_broker();
  for (const auto& [box, line] : {std::pair{&key, "resync k"}, {&prefix, "resync p"}}) {
    const auto event = box->receive(30s);
    REQUIRE(event);
    CHECK(line_of(**event) == line);
    CHECK_FALSE(box->try_receive());
  }
}
