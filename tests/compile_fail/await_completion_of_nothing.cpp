// expect: no matching (member )?function for call to
// expect: AwaitHandler|invocable
// A completion that does not take the outcome cannot know whether the quorum was satisfied.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  bus.async_publish_and_await("key", 2, {}, [] {});
}
