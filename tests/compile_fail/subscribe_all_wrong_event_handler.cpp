// expect first: a handler of events is a callable that takes const Event&
// Of the two callables the first hears events.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto subscription = bus.subscribe_all([] {}, [](const syncbus::Resync&) {});
}
