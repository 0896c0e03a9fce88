// expect: deleted
// expect: Subscription
// A subscription has one owner, whose end ends it.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe("key", [](const syncbus::Event&) {});
  const auto copy = subscription;
}
