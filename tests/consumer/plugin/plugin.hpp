// What the program asks of its plugins. Both see buses by the library's headers, and share no symbol.
#pragma once

#include <system_error>

#include <syncbus/in_memory_bus.hpp>

struct Plugin {
  /// Publishes on the program's bus.
  std::error_code (*publish)(syncbus::InMemoryBus& bus, const char* key);
  /// What the plugin's own code is told by a call that waits, inside a handler of the program's bus: its subscription
  /// lasts until end_subscription().
  void (*subscribe)(syncbus::InMemoryBus& bus, const char* key, std::error_code* flushed);
  void (*end_subscription)();
  /// A bus of the plugin's own: how many of two hundred events were heard, each by a handler that comes and goes.
  int (*publish_own)(const char* key);
  std::error_code (*close_own)();
  void (*end_own)();
};
