// expect: no matching (member )?function
// A key is bytes: a number has no one form as bytes.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  return bus.publish(42) ? 1 : 0;
}
