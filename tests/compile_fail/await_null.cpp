// expect: deleted (member )?function
// A null pointer is no key: publish_and_await(nullptr) is deleted, so that it cannot become a string_view of address
// zero.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  return bus.publish_and_await(nullptr, 1).error ? 1 : 0;
}
