// expect: constraint
// expect: Transport
// BasicBus takes a Transport; the diagnostic names the concept, and what is missing.
#include <syncbus/basic_bus.hpp>

struct Half {
  static constexpr bool lossless_sessions = true;
  void close() noexcept {}
};

using Bus = syncbus::BasicBus<Half>;

int main() {}
