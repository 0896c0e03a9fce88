// Nodes on a Kafka topic of their own: over one Apache Kafka for the whole run of the test program, and over
// librdkafka's mock cluster.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include <syncbus/kafka_bus.hpp>

#include "contract/kafka_tuning.hpp"
#include "contract/real_time.hpp"
#include "support/eventually.hpp"
#include "support/kafka_mock.hpp"
#include "support/kafka_server.hpp"
#include "support/tcp_proxy.hpp"

// Buses are made in kafka_fixture.cpp, where the library is compiled for them once: this is what most time goes into.
extern template class syncbus::BusFacade<syncbus::BasicBus<syncbus::KafkaTransport>>;
extern template class syncbus::BasicBus<syncbus::KafkaTransport>;

namespace contract {

/// What both have in common. `Cluster` has brokers() and admin().
template <class Cluster>
class OnKafkaCluster {
 public:
  using Node = syncbus::KafkaBus;
  static constexpr bool has_peers = true;

  /// A case that failed may have left the broker killed.
  OnKafkaCluster() {
    static std::atomic<int> number = 0;
    cluster().revive();
    topic_ = "contract-" + std::to_string(++number);
    cluster().create_topic(topic_);
  }

  [[nodiscard]] std::shared_ptr<Node> node(syncbus::BusOptions options = {});
  [[nodiscard]] std::shared_ptr<Node> peer_of(const std::shared_ptr<Node>&) { return node(); }

  [[nodiscard]] syncbus::TimePoint now() const { return std::chrono::steady_clock::now(); }
  void let_pass(syncbus::Duration duration) const { contract::let_pass(duration); }
  template <class Condition>
  [[nodiscard]] bool in_time(const Condition& condition) const {
    return support::eventually(condition);
  }

  void kill_broker() { cluster().kill(); }
  void restart_broker() { cluster().start(); }
  void inject(std::span<const std::byte> bytes) {
    constexpr std::byte none{};  // a message of no bytes is not one without a value
    cluster().admin().produce(topic_, bytes.data() != nullptr ? bytes : std::span{&none, std::size_t{0}});
  }

  [[nodiscard]] std::string brokers() const { return cluster().brokers(); }
  [[nodiscard]] const std::string& topic() const noexcept { return topic_; }
  [[nodiscard]] static Cluster& cluster() {
    static Cluster shared;
    return shared;
  }

 private:
  std::string topic_;
};

extern template class OnKafkaCluster<support::KafkaServer>;
extern template class OnKafkaCluster<support::KafkaMock>;

using OnKafkaMock = OnKafkaCluster<support::KafkaMock>;

class OnKafka : public OnKafkaCluster<support::KafkaServer> {
 public:
  void stop_broker() { cluster().stop(); }
  void resume_broker() { cluster().resume(); }

  [[nodiscard]] support::TcpProxy proxy() const { return cluster().proxy(); }
  [[nodiscard]] std::shared_ptr<Node> node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options = {});
};

}  // namespace contract
