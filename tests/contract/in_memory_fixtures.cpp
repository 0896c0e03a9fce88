// The nodes of in_memory_fixtures.hpp.
#include "contract/in_memory_fixtures.hpp"

#include <chrono>
#include <memory>
#include <utility>

#include <syncbus/in_memory_bus.hpp>

namespace contract {

using InMemoryNode = BusOf<syncbus::InMemoryBus>;

Node Alone::node(syncbus::BusOptions options) { return std::make_shared<InMemoryNode>(std::move(options)); }

Node OnHub::node(syncbus::BusOptions options) { return std::make_shared<InMemoryNode>(hub_, std::move(options)); }

bool OnHub::in_time(const std::function<bool()>& condition) {
  for (const auto deadline = now() + support::patience; !condition(); hub_.advance(std::chrono::milliseconds{1})) {
    if (now() >= deadline) return false;
  }
  return true;
}

Node OnHubInRealTime::node(syncbus::BusOptions options) {
  return std::make_shared<InMemoryNode>(hub_, std::move(options));
}

}  // namespace contract
