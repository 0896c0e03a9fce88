// KafkaBus: a bus over one partition of a Kafka topic. Including it pulls in librdkafka; link syncbus::kafka.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <syncbus/basic_bus.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport/kafka/kafka_transport.hpp>

namespace syncbus::inline v1 {

/// A node on a topic of an Apache Kafka cluster (2.1 or newer, or what speaks its protocol). It needs Describe, Read
/// and Write on the topic; it joins no group and commits nothing. All frames go through one partition, so that there is
/// one order; the topic needs no more than one, and is best used for nothing else. While the cluster is away publishes
/// are accepted, when it is back they go out; Kafka kept what a node missed meanwhile, and what it did not keep is
/// repaired from the peers' histories. Only where these no longer have it, subscribers hear a resync with cause
/// `interrupted` or `unrepairable`.
///
/// Constructors block until this node hears itself and a peer has named all others: a round trip and some milliseconds,
/// 20 ms or more for the first node; at most `connect_timeout`, `wait_for_broker` aside. They throw std::system_error
/// with a sentence that says what to do: invalid_argument (addresses, handles, the topic's name, the partition, the
/// options), not_connected (no broker, no such topic, no leader), permission_denied, frame_too_large (the topic takes
/// no message of 1 KiB), transport_failure (what else the client reports).
class KafkaBus : public BasicBus<KafkaTransport> {
 public:
  /// `brokers`: some of the cluster's, host:port,host:port, with or without kafka:// before it. For TLS and SASL set
  /// KafkaTuning::properties, or bring clients.
  KafkaBus(std::string_view brokers, std::string_view topic, BusOptions options = {}, KafkaTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, brokers, std::string{topic}, std::move(tuning)} {}

  /// Over the caller's clients, which stay the caller's: see KafkaHandles. A caller's producer tells the bus of no
  /// delivery: a frame counts as stored when it comes back through the consumer.
  KafkaBus(KafkaHandles handles, std::string_view topic, BusOptions options = {}, KafkaTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, handles, std::string{topic}, std::move(tuning)} {}
};

static_assert(Bus<KafkaBus>);

}  // namespace syncbus::inline v1
