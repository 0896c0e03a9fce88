// expect first: a handler of events is a callable that takes const Event&
// expect: EventHandler
// Events are shared by all handlers: none may change them.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe("key", [](syncbus::Event& event) { event.version = 1; });
}
