// How a node uses Kafka: which partition, whether it makes the topic, how fast it comes back.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1 {

/// The same in all nodes of a topic, except the pace. What names the partition and makes the topic is checked at
/// construction.
struct KafkaTuning {
  std::int32_t partition = 0;  ///< the one that carries all frames: one partition is one order

  bool create_topic = false;            ///< make the topic when it does not exist; what exists is left as it is
  std::int32_t topic_partitions = 1;    ///< of a topic that is made
  std::int32_t topic_replication = -1;  ///< likewise; -1: the cluster's default
  /// Likewise: how long frames are kept. A node that was cut off for longer reads on where the log begins by then.
  Duration topic_retention = std::chrono::hours{1};

  /// Neither frames nor what is sent at once are larger, in bytes: 1 KiB or so below the max.message.bytes of the
  /// topic, if that is not the usual 1 MB. 0: what the client allows. It is halved when a broker finds it too large,
  /// down to 4 KiB; lent clients keep to what the topic's settings say.
  std::size_t max_frame_bytes = 0;
  /// How long a broker holds an unanswered fetch. What is published meanwhile ends it at once, so it costs no latency;
  /// shorter only means more requests of idle nodes. Own clients only.
  Duration fetch_wait = std::chrono::milliseconds{500};

  Duration min_backoff = std::chrono::milliseconds{50};  ///< longest pause before the first attempt to make a session
  Duration max_backoff = std::chrono::seconds{2};        ///< the pause doubles up to this
  Duration attempt_timeout = std::chrono::seconds{2};    ///< limit of one attempt, but of the first: connect_timeout

  /// Further properties of librdkafka for own clients, set last: {"security.protocol", "SASL_SSL"}, for example. With
  /// statistics.interval.ms the client's statistics go to BusOptions::on_log, with debug its lines.
  std::vector<std::pair<std::string, std::string>> properties{};
};

}  // namespace syncbus::inline v1
