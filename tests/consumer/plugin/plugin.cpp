// A plugin: a shared object with a bus of its own, which also uses the program's.
#include "plugin.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <system_error>

namespace {

using namespace std::chrono_literals;

std::unique_ptr<syncbus::InMemoryBus> own;
std::optional<syncbus::Subscription> subscription;

std::error_code publish(syncbus::InMemoryBus& bus, const char* key) { return bus.publish(key); }

void subscribe(syncbus::InMemoryBus& bus, const char* key, std::error_code* flushed) {
  subscription = bus.subscribe(key, [&bus, flushed](const syncbus::Event&) { *flushed = bus.flush(1s); });
}

void end_subscription() { subscription.reset(); }

int publish_own(const char* key) {
  int heard = 0;
  for (int i = 0; i != 200; ++i) {
    const auto handler = own->subscribe(key, [&](const syncbus::Event&) { ++heard; });
    if (own->publish(key)) return -1;
  }
  return heard;
}

std::error_code close_own() { return own->close(1s); }
void end_own() { own.reset(); }

}  // namespace

extern "C" [[gnu::visibility("default")]] Plugin load_plugin();
extern "C" Plugin load_plugin() {
  own = std::make_unique<syncbus::InMemoryBus>();
  return {publish, subscribe, end_subscription, publish_own, close_own, end_own};
}
