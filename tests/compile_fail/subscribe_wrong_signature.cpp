// expect first: a handler of events is a callable that takes const Event&
// expect: EventHandler
// A handler takes an Event; the first thing that the compiler says is what a handler is.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe("key", [](int) {});
}
