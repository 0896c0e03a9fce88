// What the contract suite runs over: makers of nodes that hear each other, one for each kind of bus.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "contract/nats_fixture.hpp"
#include "contract/real_time.hpp"
#include "contract/redis_fixture.hpp"
#include "support/eventually.hpp"

namespace contract {

using support::eventually;

/// An InMemoryBus{}: its own only peer.
class Alone {
 public:
  using Node = syncbus::InMemoryBus;
  static constexpr bool has_peers = false;

  [[nodiscard]] std::shared_ptr<Node> node(const syncbus::BusOptions& options = {}) {
    return std::make_shared<Node>(options);
  }
  [[nodiscard]] std::shared_ptr<Node> peer_of(const std::shared_ptr<Node>& node) { return node; }

  /// On the clock of the nodes: now, and a time in which nothing is done.
  [[nodiscard]] syncbus::TimePoint now() const { return std::chrono::steady_clock::now(); }
  void let_pass(syncbus::Duration) const {}

  /// Whether the condition becomes true while time passes for the nodes.
  template <class Condition>
  [[nodiscard]] bool in_time(const Condition& condition) const {
    return eventually(condition);
  }
};

/// InMemoryBus nodes on a hub, in virtual time.
class OnHub {
 public:
  using Node = syncbus::InMemoryBus;
  static constexpr bool has_peers = true;

  [[nodiscard]] std::shared_ptr<Node> node(const syncbus::BusOptions& options = {}) {
    return std::make_shared<Node>(hub_, options);
  }
  [[nodiscard]] std::shared_ptr<Node> peer_of(const std::shared_ptr<Node>&) { return node(); }

  [[nodiscard]] syncbus::InMemoryHub& hub() noexcept { return hub_; }
  [[nodiscard]] syncbus::TimePoint now() const { return hub_.now(); }
  void let_pass(syncbus::Duration duration) { hub_.advance(duration); }
  template <class Condition>
  [[nodiscard]] bool in_time(const Condition& condition) {
    for (const auto deadline = now() + support::patience; !condition(); hub_.advance(std::chrono::milliseconds{1})) {
      if (now() >= deadline) return false;
    }
    return true;
  }

 private:
  syncbus::InMemoryHub hub_;
};

/// The same on the steady clock: the hub's own thread brings what is due.
class OnHubInRealTime {
 public:
  using Node = syncbus::InMemoryBus;
  static constexpr bool has_peers = true;

  [[nodiscard]] std::shared_ptr<Node> node(const syncbus::BusOptions& options = {}) {
    return std::make_shared<Node>(hub_, options);
  }
  [[nodiscard]] std::shared_ptr<Node> peer_of(const std::shared_ptr<Node>&) { return node(); }

  [[nodiscard]] syncbus::InMemoryHub& hub() noexcept { return hub_; }
  [[nodiscard]] syncbus::TimePoint now() const { return hub_.now(); }
  void let_pass(syncbus::Duration duration) const { contract::let_pass(duration); }
  template <class Condition>
  [[nodiscard]] bool in_time(const Condition& condition) const {
    return eventually(condition);
  }

 private:
  syncbus::InMemoryHub hub_{{.real_time = true}};
};

/// Buses over a real broker, in real time. Their fixtures also have kill_broker() and restart_broker(); stop_broker()
/// and resume_broker(), for one that is there and answers nothing; proxy(), in front of it, and node_behind(proxy);
/// and inject(bytes), a message on the channel that no node sent. A broker is added to the suite here.
using Brokers = std::tuple<OnRedis, OnNats>;

using Clusters = decltype(std::tuple_cat(std::declval<std::tuple<OnHub>>(), std::declval<Brokers>()));
using Everything = decltype(std::tuple_cat(std::declval<std::tuple<Alone>>(), std::declval<Clusters>()));

/// Clusters on the steady clock, and all ways to keep time: for what depends on it.
using InRealTime = decltype(std::tuple_cat(std::declval<std::tuple<OnHubInRealTime>>(), std::declval<Brokers>()));
using ClustersOfAnyTime = decltype(std::tuple_cat(std::declval<std::tuple<OnHub>>(), std::declval<InRealTime>()));

inline constexpr std::string_view fence_prefix = "the fence ";

/// Publishes something more and waits until `listener` has heard it, and with it everything that `publisher` published
/// before.
template <class Publisher, class Listener>
[[nodiscard]] bool caught_up(Publisher& publisher, Listener& listener) {
  static std::atomic<int> number = 0;
  const std::string fence = std::string{fence_prefix} + std::to_string(++number);
  std::atomic<bool> heard = false;
  const auto subscription = listener.subscribe(fence, [&heard](const syncbus::Event& event) {
    if (event.type == syncbus::EventType::invalidate) heard = true;
  });
  // Where a queue overflows a resync may stand for the fence: then it takes another.
  return eventually(
      [&] { return !publisher.publish(fence) && eventually([&] { return heard.load(); }, std::chrono::seconds{2}); });
}

}  // namespace contract
