// A service that may start before its broker. How to try it: start it with the address of a server that does not run
// yet, then start that:
//   07_late_broker redis://127.0.0.1:6379
// Or without an argument: it waits for a moment for a server that never comes, and shows what it is told.
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/redis_bus.hpp>

namespace {

void log(std::string_view line) { std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data()); }

void serve(syncbus::RedisBus& bus) { std::printf("node %s is there\n", to_string(bus.id()).c_str()); }

/// Whether the bus could be made.
bool serve_over(const std::string& url, syncbus::Duration patience) {
  // [readme: late_broker]
  try {
    syncbus::RedisBus bus{url, "my-service.events", {.wait_for_broker = patience, .on_log = log}};
    serve(bus);
  } catch (const std::system_error& error) {
    log(error.what());  // nothing answered in time, or the broker refused this node
    return false;
  }
  return true;
  // [end]
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) return serve_over(arguments[1], std::chrono::minutes{1}) ? 0 : 1;
  return serve_over("redis://127.0.0.1:1", std::chrono::milliseconds{300}) ? 1 : 0;
}
