// expect: ignoring return value.*nodiscard
// A publish that was refused published nothing: who ignores that must say so.
#include <syncbus/in_memory_bus.hpp>

#pragma GCC diagnostic error "-Wunused-result"

int main() {
  syncbus::InMemoryBus bus;
  bus.publish("key");
}
