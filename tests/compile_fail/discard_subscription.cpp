// expect: ignoring return value.*nodiscard
// A subscription that nobody keeps ends at once.
#include <syncbus/in_memory_bus.hpp>

#pragma GCC diagnostic error "-Wunused-result"

int main() {
  syncbus::InMemoryBus bus;
  bus.subscribe("key", [](const syncbus::Event&) {});
}
