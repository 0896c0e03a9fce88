// A program that links the Kafka component: nothing listens on port 1, which the constructor says.
#include <chrono>
#include <system_error>

#include <syncbus/kafka_bus.hpp>

int main() {
  try {
    syncbus::KafkaBus bus{"kafka://127.0.0.1:1", "events", {.connect_timeout = std::chrono::milliseconds{500}}};
  } catch (const std::system_error& error) {
    return error.code() == syncbus::Errc::not_connected ? 0 : 1;
  }
  return 1;
}
