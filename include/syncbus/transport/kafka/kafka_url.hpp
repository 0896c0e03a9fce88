// The addresses of a Kafka cluster: kafka://host:port,host:port or without the scheme. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/url_parts.hpp>

namespace syncbus::inline v1::detail {

[[noreturn]] inline void refuse_kafka_brokers(std::string_view why) {
  throw std::system_error{make_error_code(Errc::invalid_argument),
                          "not the brokers of a Kafka cluster: " + std::string{why} +
                              "; expected host[:port][,host[:port]...] or kafka://host[:port][,...], for example "
                              "kafka://127.0.0.1:9092"};
}

inline void check_kafka_broker(std::string_view broker) {
  for (const char c : broker) {
    if (is_blank_or_control(c)) refuse_kafka_brokers("it holds a space or a control character");
  }
  if (broker.find_first_of("/?#@") != std::string_view::npos) {
    refuse_kafka_brokers("a broker is a host and a port, without a user, a path or a query");
  }
  std::string host;
  std::uint16_t port = 0;
  parse_host_and_port(broker, host, port, refuse_kafka_brokers);
}

/// The list as librdkafka takes it. Throws std::system_error (invalid_argument) with a sentence that says what was
/// expected.
[[nodiscard]] inline std::string parse_kafka_brokers(std::string_view text) {
  constexpr std::string_view scheme = "kafka://";
  if (text.starts_with(scheme)) {
    text.remove_prefix(scheme.size());
    if (text.ends_with('/')) text.remove_suffix(1);
  }
  const std::string brokers{text};
  for (std::size_t comma = 0; comma != std::string_view::npos;) {
    comma = text.find(',');
    check_kafka_broker(text.substr(0, comma));
    if (comma != std::string_view::npos) text.remove_prefix(comma + 1);
  }
  return brokers;
}

}  // namespace syncbus::inline v1::detail
