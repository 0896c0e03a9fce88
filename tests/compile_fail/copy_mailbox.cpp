// expect: deleted
// expect: Mailbox
// A mailbox has one owner, whose end ends its subscription.
#include <syncbus/in_memory_bus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  const auto mailbox = bus.subscribe("key");
  const auto copy = mailbox;
}
