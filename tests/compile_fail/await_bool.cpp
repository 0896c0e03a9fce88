// expect: no matching (member )?function for call to
// expect: Quorum
// A flag is no number of replicas: "wait until it is durable" has to say on how many nodes.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  return bus.publish_and_await("key", true).error ? 1 : 0;
}
