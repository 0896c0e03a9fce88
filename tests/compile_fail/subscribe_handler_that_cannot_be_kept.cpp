// expect first: a handler of events is a callable .* and that can be moved
// A handler is kept by the bus, so it is moved or copied there: one that owns a mutex is passed by std::ref.
#include <mutex>

#include <syncbus/in_memory_bus.hpp>

struct Handler {
  void operator()(const syncbus::Event&) {}

  std::mutex mutex;
};

int main() {
  syncbus::InMemoryBus bus;
  Handler handler;
  const auto subscription = bus.subscribe_lease("lease", handler);
}
