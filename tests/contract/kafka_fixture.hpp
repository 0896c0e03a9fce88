// Nodes on a Kafka topic of their own: over one Apache Kafka for the whole run of the test program, and over
// librdkafka's mock cluster.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "contract/fixture.hpp"

namespace support {
class KafkaMock;
class KafkaServer;
}  // namespace support

namespace contract {

/// What both have in common. `Cluster` is that of the tests, `Base` what can be done to it.
template <class Cluster, class Base>
class OnKafkaCluster : public Base {
 public:
  OnKafkaCluster();

  [[nodiscard]] AnyNode node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] std::unique_ptr<AnyTransport> transport(const syncbus::ReconnectTuning& tuning = quick) override;
  [[nodiscard]] bool notices_silence() const override { return false; }
  [[nodiscard]] bool brings_late_frames() const override { return true; }
  [[nodiscard]] bool shares_directed_frames() const override { return true; }
  void inject(std::span<const std::byte> bytes) override;

  [[nodiscard]] std::string brokers() const;
  [[nodiscard]] static Cluster& cluster();
};

extern template class OnKafkaCluster<support::KafkaServer, ServerFixture>;
extern template class OnKafkaCluster<support::KafkaMock, BrokerFixture>;

/// A broker in the test's own process: it cannot be stopped, is where it says that it is, and drops messages above
/// 5 MiB of them, read or not.
class OnKafkaMock final : public OnKafkaCluster<support::KafkaMock, BrokerFixture> {};

/// Each transport over clients of a caller's.
class OnLentKafkaMock final : public OnKafkaCluster<support::KafkaMock, BrokerFixture> {
 public:
  [[nodiscard]] std::unique_ptr<AnyTransport> transport(const syncbus::ReconnectTuning& tuning = quick) override;
};

class OnKafka final : public OnKafkaCluster<support::KafkaServer, ServerFixture> {
 public:
  [[nodiscard]] support::TcpProxy proxy() const override;
  [[nodiscard]] AnyNode node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options = {}) override;
};

}  // namespace contract
