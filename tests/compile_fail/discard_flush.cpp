// expect: ignoring return value.*nodiscard
// A flush that failed promises nothing: who ignores that must say so.
#include <chrono>

#include <syncbus/in_memory_bus.hpp>

#pragma GCC diagnostic error "-Wunused-result"

int main() {
  syncbus::InMemoryBus bus;
  bus.flush(std::chrono::seconds{1});
}
