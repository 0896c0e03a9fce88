// How the nodes of the contract suite come back to a Kafka cluster.
#pragma once

#include <syncbus/transport/kafka/kafka_tuning.hpp>

#include "contract/fixtures/quick.hpp"

namespace contract {

/// With these pauses between attempts to reconnect. `Cluster` is that of the tests: how long fetches wait there.
template <class Cluster>
[[nodiscard]] syncbus::KafkaTuning quick_kafka(const syncbus::ReconnectTuning& pauses = quick) {
  syncbus::KafkaTuning tuning;
  tuning.min_backoff = pauses.min_backoff;
  tuning.max_backoff = pauses.max_backoff;
  tuning.fetch_wait = Cluster::fetch_wait;
  return tuning;
}

}  // namespace contract
