// The state that the sessions of one Kafka transport share.
#pragma once

#include <cstdint>
#include <optional>

#include <syncbus/transport/kafka/kafka_clients.hpp>
#include <syncbus/transport/kafka/kafka_publisher.hpp>
#include <syncbus/transport/session/session_context.hpp>

namespace syncbus::inline v1::detail {

/// Where a node reads, through all its sessions.
struct KafkaPosition {
  std::optional<std::int64_t> next{};       ///< the offset to be read next
  std::optional<std::int64_t> jumped_to{};  ///< the consumer went on there instead, without an error
  bool of_old_log = false;                  ///< the topic is another one since
  bool has_begun = false;                   ///< there was a session

  void go_to(std::int64_t offset) noexcept { *this = {offset, std::nullopt, false, has_begun}; }
};

/// What all sessions of a transport have in common.
struct KafkaContext : SessionContext {
  const KafkaEndpoint& place;
  KafkaClients& clients;
  KafkaPublisher& publisher;
  KafkaPosition& position;
};

}  // namespace syncbus::inline v1::detail
