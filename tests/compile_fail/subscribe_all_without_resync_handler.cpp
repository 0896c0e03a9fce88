// expect first: subscribe_all needs a second callable, on_resync.*say what a loss means
// Who listens to every key must say what a loss means.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto erase = [](const syncbus::Event&) {};
  const auto subscription = bus.subscribe_all(erase);
}
