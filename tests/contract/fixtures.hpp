// What the contract suite runs over: makers of nodes that hear each other, one for each kind of bus.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

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
};

/// InMemoryBus nodes on a hub.
class OnHub {
 public:
  using Node = syncbus::InMemoryBus;
  static constexpr bool has_peers = true;

  [[nodiscard]] std::shared_ptr<Node> node(const syncbus::BusOptions& options = {}) {
    return std::make_shared<Node>(hub_, options);
  }
  [[nodiscard]] std::shared_ptr<Node> peer_of(const std::shared_ptr<Node>&) { return node(); }

 private:
  syncbus::InMemoryHub hub_;
};

/// Buses over a real broker. Their fixtures also have kill_broker(), restart_broker() and inject(bytes): a message on
/// the channel that no node sent. A broker is added to the suite here.
using Brokers = std::tuple<OnRedis>;

using Clusters = decltype(std::tuple_cat(std::declval<std::tuple<OnHub>>(), std::declval<Brokers>()));
using Everything = decltype(std::tuple_cat(std::declval<std::tuple<Alone>>(), std::declval<Clusters>()));

inline constexpr std::string_view fence_prefix = "the fence ";

/// Publishes once more and waits until `listener` has heard it, and with it everything that `publisher` published
/// before.
template <class Publisher, class Listener>
[[nodiscard]] bool caught_up(Publisher& publisher, Listener& listener) {
  static std::atomic<int> number = 0;
  const std::string fence = std::string{fence_prefix} + std::to_string(++number);
  std::atomic<bool> heard = false;
  const auto subscription = listener.subscribe(fence, [&heard](const syncbus::Event& event) {
    if (event.type == syncbus::EventType::invalidate) heard = true;
  });
  if (publisher.publish(fence)) return false;
  return eventually([&] { return heard.load(); });
}

}  // namespace contract
