// The nodes of in_memory_fixtures.hpp.
#include "contract/in_memory_fixtures.hpp"

#include <chrono>
#include <memory>
#include <utility>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

namespace contract {

using InMemoryNode = BusOf<syncbus::InMemoryBus>;

AnyNode Alone::node(syncbus::BusOptions options) { return std::make_shared<InMemoryNode>(std::move(options)); }

OnHub::OnHub() : hub_{std::make_unique<syncbus::InMemoryHub>()} {}
OnHub::~OnHub() = default;

AnyNode OnHub::node(syncbus::BusOptions options) { return std::make_shared<InMemoryNode>(*hub_, std::move(options)); }

syncbus::TimePoint OnHub::now() const { return hub_->now(); }
void OnHub::let_pass(syncbus::Duration duration) { hub_->advance(duration); }

bool OnHub::in_time(const std::function<bool()>& condition) {
  for (const auto deadline = now() + support::patience; !condition(); let_pass(std::chrono::milliseconds{1})) {
    if (now() >= deadline) return false;
  }
  return true;
}

OnHubInRealTime::OnHubInRealTime()
    : hub_{std::make_unique<syncbus::InMemoryHub>(syncbus::HubOptions{.real_time = true})} {}
OnHubInRealTime::~OnHubInRealTime() = default;

AnyNode OnHubInRealTime::node(syncbus::BusOptions options) {
  return std::make_shared<InMemoryNode>(*hub_, std::move(options));
}

}  // namespace contract
