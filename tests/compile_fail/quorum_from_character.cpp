// expect: no matching (member )?function for call to
// expect: Quorum
// A character is no number: '2' is 50.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  return bus.publish_and_await("key", '2').error ? 1 : 0;
}
