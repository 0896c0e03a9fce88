// A program that links two components and gives either bus to the same code: nothing listens on port 1, which the
// constructors say.
#include <chrono>
#include <string_view>
#include <system_error>

#include <syncbus/nats_bus.hpp>
#include <syncbus/redis_bus.hpp>

namespace {

void publish_over(syncbus::Bus auto&& bus) { (void)bus.publish("user:42"); }

template <syncbus::Bus B>
bool says_not_connected(std::string_view url) {
  try {
    publish_over(B{url, "events", {.connect_timeout = std::chrono::milliseconds{500}}});
  } catch (const std::system_error& error) {
    return error.code() == syncbus::Errc::not_connected;
  }
  return false;
}

}  // namespace

int main() {
  const bool nats = says_not_connected<syncbus::NatsBus>("nats://127.0.0.1:1");
  const bool redis = says_not_connected<syncbus::RedisBus>("redis://127.0.0.1:1");
  return nats && redis ? 0 : 1;
}
