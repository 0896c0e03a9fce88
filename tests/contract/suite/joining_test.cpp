// Nodes that come: who starts hears no alarm and raises none, and what was published before it is none of its business.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <syncbus/quorum.hpp>
#include <syncbus/subscription.hpp>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/control_frames.hpp"
#include "support/eventually.hpp"
#include "support/frames.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::heartbeat_frame;
using syncbus::Event, syncbus::Metrics, syncbus::NodeId, syncbus::Resync, syncbus::ResyncCause;

namespace {

template <class Nodes>
[[nodiscard]] bool none_resynced(const Nodes& nodes) {
  for (const auto& node : nodes) {
    if (node->metrics().resyncs != decltype(Metrics::resyncs){}) return false;
  }
  return true;
}

}  // namespace

CONTRACT_TEST_CASE("an ordinary start raises no resync on any node", "[contract]", ClustersOfAnyTime) {
  std::vector<AnyNode> nodes;
  std::vector<Heard> heard(5);
  std::vector<syncbus::Subscription> subscriptions;
  for (auto& each : heard) {
    nodes.push_back(fixture.node({.heartbeat = 100ms}));
    REQUIRE(fixture.has_met(nodes.back(), nodes.size() - 1));
    subscriptions.push_back(nodes.back()->subscribe_all(each.on_event(), each.on_resync()));
    CHECK_FALSE(nodes.back()->publish("hello"));
  }
  fixture.let_pass(500ms);
  for (const auto& from : nodes) {
    for (const auto& to : nodes) REQUIRE(caught_up(*from, *to));
  }
  CHECK(none_resynced(nodes));
  for (std::size_t i = 0; i != heard.size(); ++i) {
    CHECK(heard[i].count("invalidate hello") == heard.size() - i);  // its own, and those of who came later
    CHECK(nodes[i]->metrics().gaps == 0);
  }
}

CONTRACT_TEST_CASE("nodes that start at once on many threads raise no resync either", "[contract][threads]",
                   ClustersOfAnyTime) {
  constexpr std::size_t count = 6;
  std::array<AnyNode, count> nodes;
  std::array<Heard, count> heard;
  std::array<syncbus::Subscription, count> subscriptions;
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i != count; ++i) {
      threads.emplace_back([&, i] {
        nodes[i] = fixture.node();
        subscriptions[i] = nodes[i]->subscribe_all(heard[i].on_event(), heard[i].on_resync());
        failures += nodes[i]->publish("from " + std::to_string(i)) ? 1 : 0;
      });
    }
  }
  CHECK(failures == 0);
  for (const auto& from : nodes) {
    for (const auto& to : nodes) REQUIRE(caught_up(*from, *to));
  }
  CHECK(none_resynced(nodes));
  for (const auto& node : nodes) {
    REQUIRE(fixture.in_time([&] { return node->peers().size() == count - 1; }));
  }
}

CONTRACT_TEST_CASE("a late node hears no resync for what it cannot have cached", "[contract]", ClustersOfAnyTime) {
  const auto small = fixture.node({.send_wait = 10s, .history_bytes = std::size_t{64} << 10U}), quiet = fixture.node();
  for (int i = 0; i != 200; ++i) {  // more frames than a stranger's past may have to be asked for
    REQUIRE_FALSE(small->publish(std::to_string(i) + std::string(1'000, 'x')));
    REQUIRE_FALSE(small->flush(10s));
  }
  const auto late = fixture.node();
  REQUIRE(fixture.has_met(late, 2));
  Heard heard;
  const auto subscription = late->subscribe_all(heard.on_event(), heard.on_resync());
  REQUIRE(fixture.in_time([&] { return late->peers().size() == 2; }));
  fixture.let_pass(200ms);
  CHECK_FALSE(small->publish("now"));
  CHECK_FALSE(quiet->publish("and now"));
  REQUIRE(fixture.in_time([&] { return heard.count() == 2; }));
  CHECK(heard.contains("invalidate now"));
  CHECK(heard.contains("invalidate and now"));
  CHECK(none_resynced(std::array{small, quiet, late}));
  CHECK(late->metrics().gaps == 0);
}

CONTRACT_TEST_CASE("a node that joins a stream hears all of it from its subscription on", "[contract][threads]",
                   ThatKeepWhatIsUnread) {
  const auto publisher = fixture.node({.send_wait = support::patience});  // nothing joins, however busy the broker
  std::atomic<std::uint64_t> published = 0;
  std::atomic<int> holes = 0;
  {
    const std::jthread publishing{[&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        if (publisher->publish("k", {.version = published + 1})) return;
        ++published;
      }
    }};
    for (int round = 0; round != 5; ++round) {
      const auto guest = fixture.node();
      std::atomic<std::uint64_t> last = 0;
      std::atomic<int> resyncs = 0;
      const auto before = published.load();
      const auto subscription = guest->subscribe_all(
          [&](const Event& event) {
            const auto previous = last.exchange(event.version);
            if (previous != 0 && event.version != previous + 1) ++holes;
          },
          [&](const Resync&) { ++resyncs; });
      CHECK(eventually([&] { return last > before + 20; }));
      CHECK(resyncs == 0);
    }
  }
  CHECK(holes == 0);
}

CONTRACT_TEST_CASE("a publisher that publishes as soon as it is there is heard from its first event", "[contract]",
                   ClustersOfAnyTime) {
  const auto listener = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  for (int i = 0; i != 5; ++i) {
    const auto guest = fixture.node({.publish_only = i % 2 == 1});
    CHECK_FALSE(guest->publish("first"));
    CHECK_FALSE(guest->close(support::patience));
  }
  REQUIRE(fixture.in_time([&] { return heard.count() >= 5; }));
  CHECK(heard.lines() == Lines(5, "invalidate first"));
}

CONTRACT_TEST_CASE("when a constructor returns its node knows everybody who is there, with name and zone", "[contract]",
                   Clusters) {
  std::vector<AnyNode> nodes;
  for (int i = 0; i != 5; ++i) {
    nodes.push_back(fixture.node({.name = "n" + std::to_string(i), .zone = i % 2 == 0 ? "even" : "odd"}));
    CHECK_FALSE(nodes.back()->publish("k"));
    // At once; but on a machine so busy that nobody answers in time a node takes itself for the first.
    REQUIRE(fixture.in_time([&] { return nodes.back()->peers().size() == nodes.size() - 1; }));
    const auto peers = nodes.back()->peers();
    for (std::size_t other = 0; other + 1 != nodes.size(); ++other) {
      const auto peer = std::ranges::find(peers, nodes[other]->id(), &syncbus::Peer::id);
      REQUIRE(peer != peers.end());
      CHECK(peer->name == "n" + std::to_string(other));
      CHECK(peer->zone == (other % 2 == 0 ? "even" : "odd"));
    }
  }
}

CONTRACT_TEST_CASE("nodes that begin at the same time all know each other, and none has a resync", "[contract]", Brokers) {
  constexpr std::size_t count = 8;
  std::vector<AnyNode> nodes(count);
  Heard heard;
  {
    std::vector<std::jthread> threads;
    for (AnyNode& node : nodes) {
      threads.emplace_back([&fixture, &node] { node = fixture.node(); });
    }
  }
  std::vector<syncbus::Subscription> subscriptions;
  for (const AnyNode& node : nodes) subscriptions.push_back(node->subscribe_all([](const Event&) {}, heard.on_resync()));
  for (const AnyNode& node : nodes) {
    CHECK(fixture.in_time([&] { return node->peers().size() == count - 1; }));  // as above
    const auto outcome = node->publish_and_await("k", syncbus::Quorum::everyone(),
                                                 {.timeout = support::patience, .publish = {.scope = syncbus::Scope::remote}});
    CHECK_FALSE(outcome.error);
    CHECK(outcome.replicas.size() == count - 1);
  }
  CHECK(heard.count() == 0);
}

CONTRACT_TEST_CASE("a stranger with a past that comes back with the broker is one resync, joined", "[contract]",
                   Brokers) {
  const auto node = fixture.node();
  Heard heard;
  const auto subscription = node->subscribe_all(heard.on_event(), heard.on_resync());
  fixture.kill_broker();
  CHECK(eventually([&] { return !node->is_healthy(); }));
  fixture.restart_broker();
  CHECK(eventually([&] { return node->is_healthy(); }));
  const NodeId latecomer{0x5717A6E4};
  fixture.inject(
      heartbeat_frame(latecomer, {.number = 1, .last_sequence = 500, .oldest_sequence = 400, .interval = 1min}));
  fixture.inject(support::events_frame(latecomer, 501, {{.key = "next"}}));
  REQUIRE(eventually([&] { return heard.count() == 2; }));
  CHECK(heard.count("resync: joined") == 1);
  CHECK(heard.count("invalidate next") == 1);
  CHECK(node->metrics().resyncs_by(ResyncCause::joined) == 1);
}
