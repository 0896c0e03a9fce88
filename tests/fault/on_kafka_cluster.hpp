// What a cluster of audited nodes has to know of three Apache Kafka brokers: one cluster of them for the whole test
// program, and a topic of its own there for each trial.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/kafka_bus.hpp>

#include "support/kafka_cluster.hpp"
#include "support/tcp_proxy.hpp"

namespace fault {

/// Whether tests take the time that they like: `tests/run --long` says so.
[[nodiscard]] inline bool takes_long() {
  const char* const said = std::getenv("SYNCBUS_TEST_LONG");
  return said != nullptr && std::string_view{said} == "1";
}

struct OnKafkaCluster {
  using Bus = syncbus::KafkaBus;
  struct Client {};

  /// The cluster as it is to be at the beginning of a case, and a new topic, led by any broker.
  class Server {
   public:
    Server() {
      cluster().revive();
      cluster().create_topic(topic_);
    }

    [[nodiscard]] support::KafkaCluster& brokers() const { return cluster(); }
    [[nodiscard]] const std::string& topic() const noexcept { return topic_; }
    [[nodiscard]] std::int32_t leader() const { return cluster().leader(topic_); }

   private:
    /// A leader that is gone is replaced after broker.session.timeout.ms: 9 s, unless a test is in a hurry.
    [[nodiscard]] static support::KafkaCluster& cluster() {
      static support::KafkaCluster shared{
          takes_long() ? std::vector<std::string>{"broker.session.timeout.ms=9000", "broker.heartbeat.interval.ms=2000"}
                       : std::vector<std::string>{"broker.session.timeout.ms=2500"}};
      return shared;
    }
    [[nodiscard]] static std::string new_topic() {
      static int number = 0;
      return "fault-" + std::to_string(++number);
    }

    const std::string topic_ = new_topic();
  };

  [[nodiscard]] static Server server() { return {}; }
  [[nodiscard]] static Bus bus(const Server& server, std::size_t, syncbus::BusOptions options) {
    return Bus{server.brokers().brokers(), server.topic(), std::move(options)};
  }
};

/// Clients come by the proxies, one for each broker.
struct OnProxiedKafkaCluster {
  using Bus = syncbus::KafkaBus;
  using Client = OnKafkaCluster::Client;

  struct Server : OnKafkaCluster::Server {
    Server() {
      for (std::int32_t id = 1; id <= support::KafkaCluster::size; ++id) proxies.push_back(brokers().proxy(id));
    }
    [[nodiscard]] support::TcpProxy& proxy(std::int32_t id) const { return *proxies[static_cast<std::size_t>(id - 1)]; }

    std::vector<std::unique_ptr<support::TcpProxy>> proxies{};
  };

  [[nodiscard]] static Server server() { return {}; }
  [[nodiscard]] static Bus bus(const Server& server, std::size_t, syncbus::BusOptions options) {
    return Bus{server.brokers().proxied_brokers(), server.topic(), std::move(options)};
  }
};

}  // namespace fault
