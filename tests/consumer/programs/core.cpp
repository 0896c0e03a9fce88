// A program that needs no broker: a handler hears what its own process publishes.
#include <syncbus/syncbus.hpp>

int main() {
  syncbus::InMemoryBus bus;
  int heard = 0;
  const auto subscription = bus.subscribe("user:42", [&](const syncbus::Event&) { ++heard; });
  return !bus.publish("user:42") && heard == 1 ? 0 : 1;
}
