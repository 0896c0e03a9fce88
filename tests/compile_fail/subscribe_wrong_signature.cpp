// expect: no matching (member )?function
// expect: EventHandler
// A handler takes an Event; the diagnostic names the concept that it misses.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe("key", [](int) {});
}
