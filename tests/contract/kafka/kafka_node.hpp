// A KafkaTransport alone with its recorder.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <syncbus/transport/kafka/kafka_transport.hpp>

#include "contract/kafka/kafka_tuning.hpp"
#include "contract/transport/transport_node.hpp"
#include "support/kafka_mock.hpp"

namespace contract {

/// Also of a real broker: more requests than it needs.
[[nodiscard]] inline syncbus::KafkaTuning quick_node() { return quick_kafka<support::KafkaMock>(); }

struct KafkaNode : TransportNode {
  KafkaNode(const std::string& brokers, const std::string& topic, const syncbus::TransportSettings& settings,
            syncbus::KafkaTuning tuning = quick_node())
      : TransportNode{transport_of<syncbus::KafkaTransport>(brokers, topic, std::move(tuning)), settings} {}
  KafkaNode(const std::string& brokers, const std::string& topic, std::uint64_t id)
      : KafkaNode{brokers, topic, settings_of(id)} {}
  KafkaNode(syncbus::KafkaHandles handles, const std::string& topic, const syncbus::TransportSettings& settings)
      : TransportNode{transport_of<syncbus::KafkaTransport>(handles, topic, quick_node()), settings} {}
};

}  // namespace contract
