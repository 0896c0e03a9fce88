// expect: deleted (member )?function
// A null pointer is no key: publish(nullptr) is deleted, so that it cannot become a string_view of address zero.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  return bus.publish(nullptr) ? 1 : 0;
}
