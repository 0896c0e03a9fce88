// expect: deleted (function|constructor)
// A bus is not moved either: its subscriptions and threads know where it lives.
#include <utility>

#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  syncbus::InMemoryBus moved{std::move(bus)};
}
