// How the nodes of the contract suite come back to a Kafka cluster.
#pragma once

#include <chrono>

#include <syncbus/transport/kafka_tuning.hpp>

namespace contract {

/// Attempts to reconnect follow each other fast, so that a restarted broker is found at once. `Cluster` is that of the
/// tests: how long fetches wait there.
template <class Cluster>
[[nodiscard]] syncbus::KafkaTuning quick_kafka() {
  syncbus::KafkaTuning tuning;
  tuning.min_backoff = std::chrono::milliseconds{5};
  tuning.max_backoff = std::chrono::milliseconds{50};
  tuning.fetch_wait = Cluster::fetch_wait;
  return tuning;
}

}  // namespace contract
