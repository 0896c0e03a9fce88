// expect: subscribe_prefix needs a second callable, on_resync.*say what a loss means
// Who listens to many keys must say what a loss means.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe_prefix("user:", [](const syncbus::Event&) {});
}
