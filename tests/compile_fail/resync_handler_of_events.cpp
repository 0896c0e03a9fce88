// expect first: the second callable, on_resync, takes const Resync&
// expect: ResyncHandler
// The second callable of subscribe_all hears a Resync, not an Event.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe_all([](const syncbus::Event&) {}, [](const syncbus::Event&) {});
}
