// expect: ignoring return(ed)? value.*nodiscard
// Whether the quorum was satisfied is why it was asked for.
#include <syncbus/in_memory_bus.hpp>

#pragma GCC diagnostic error "-Wunused-result"

int main() {
  syncbus::InMemoryBus bus;
  bus.publish_and_await("key", 2);
}
