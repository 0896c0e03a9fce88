// expect: subscribe_all needs a second callable, on_resync.*say what a loss means
// Who listens to every key must say what a loss means.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe_all([](const syncbus::Event&) {});
}
