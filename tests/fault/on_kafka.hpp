// What a cluster of audited nodes has to know of Apache Kafka: its broker, with a topic for them.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include <syncbus/kafka_bus.hpp>

#include "support/kafka_admin.hpp"
#include "support/kafka_server.hpp"

namespace fault {

struct OnKafka {
  using Bus = syncbus::KafkaBus;
  struct Client {};

  static constexpr const char* topic = "fault";

  struct Server : support::KafkaServer {
    Server() { support::KafkaAdmin{brokers()}.create_topic(topic); }
  };

  /// `Cluster` is that of the tests: how long fetches wait there.
  template <class Cluster = support::KafkaServer>
  [[nodiscard]] static syncbus::KafkaTuning tuning() {
    syncbus::KafkaTuning quick;
    quick.min_backoff = std::chrono::milliseconds{20};
    quick.max_backoff = std::chrono::milliseconds{100};
    quick.fetch_wait = Cluster::fetch_wait;
    return quick;
  }

  [[nodiscard]] static Server server() { return {}; }

  [[nodiscard]] static Bus bus(const Server& server, std::size_t, syncbus::BusOptions options) {
    return Bus{server.brokers(), topic, std::move(options), tuning()};
  }
};

}  // namespace fault
