// The addresses of a Kafka cluster: what they say, and how wrong ones are refused.
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/transport/kafka/kafka_url.hpp>

#include "support/catch.hpp"

using syncbus::Errc;
using syncbus::detail::parse_kafka_brokers;

TEST_CASE("addresses are taken as they are, without the scheme") {
  CHECK(parse_kafka_brokers("broker-1.example:9092") == "broker-1.example:9092");
  CHECK(parse_kafka_brokers("kafka://127.0.0.1:9092") == "127.0.0.1:9092");
  CHECK(parse_kafka_brokers("kafka://a:1,b:2,c_d/") == "a:1,b:2,c_d");
  CHECK(parse_kafka_brokers("[::1]:9092,host") == "[::1]:9092,host");
}

TEST_CASE("addresses that cannot be are refused in a sentence") {
  for (const std::string_view text :
       {"", "kafka://", "http://h:1", "h:", "h:0", "h:65536", "h:-1", "h:1x", "h:1,", ",h:1", ":1", "[::1", "[]:1",
        "[::1]9092", "a b", "user@h:1", "kafka://h:1/topic"}) {
    INFO(text);
    try {
      static_cast<void>(parse_kafka_brokers(text));
      FAIL("accepted");
    } catch (const std::system_error& error) {
      CHECK(error.code() == Errc::invalid_argument);
      CHECK(std::string_view{error.what()}.find("kafka://127.0.0.1:9092") != std::string_view::npos);
    }
  }
}
