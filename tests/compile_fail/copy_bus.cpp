// expect: deleted (function|constructor)
// A bus is a node with an identity: it is not copied.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  syncbus::InMemoryBus copy{bus};
}
