// The C handles of librdkafka, owned and borrowed. The only file that includes its header.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1 {

/// A program's own clients, for a bus to use; they stay the program's and must outlive the bus.
///
/// `producer` may be shared with others. Its settings decide what becomes of frames: with enable.idempotence or
/// max.in.flight=1 they keep their order through retries; linger.ms delays them. The bus polls it, so that its
/// callbacks also run on a thread of the bus, like handlers; that of delivery reports sees the bus's messages, too,
/// whose _private is null. It must not take its reports as events, nor be transactional.
///
/// `consumer` is the bus's alone as long as the bus lives: no subscription, no assignment, polled by nobody else. It
/// needs a group.id (any: no group is joined), and should have auto.offset.reset=error and enable.auto.commit=false.
/// Its callbacks run like the producer's. The bus leaves it without an assignment, and as rd_kafka_poll_set_consumer
/// does.
struct KafkaHandles {
  rd_kafka_t* producer = nullptr;
  rd_kafka_t* consumer = nullptr;
};

}  // namespace syncbus::inline v1

namespace syncbus::inline v1::detail {

struct KafkaDeleter {
  /// Nothing is flushed, and no group is left: a caller that wants that does it before.
  void operator()(rd_kafka_t* client) const noexcept {
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
  }
  void operator()(rd_kafka_conf_t* conf) const noexcept { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_topic_conf_t* conf) const noexcept { rd_kafka_topic_conf_destroy(conf); }
  void operator()(rd_kafka_topic_t* topic) const noexcept { rd_kafka_topic_destroy(topic); }
  void operator()(rd_kafka_queue_t* queue) const noexcept { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_message_t* message) const noexcept { rd_kafka_message_destroy(message); }
  void operator()(rd_kafka_topic_partition_list_t* list) const noexcept { rd_kafka_topic_partition_list_destroy(list); }
  void operator()(const rd_kafka_metadata_t* metadata) const noexcept { rd_kafka_metadata_destroy(metadata); }
  void operator()(rd_kafka_event_t* event) const noexcept { rd_kafka_event_destroy(event); }
  void operator()(rd_kafka_NewTopic_t* topic) const noexcept { rd_kafka_NewTopic_destroy(topic); }
  void operator()(rd_kafka_ConfigResource_t* resource) const noexcept { rd_kafka_ConfigResource_destroy(resource); }
  void operator()(rd_kafka_AdminOptions_t* options) const noexcept { rd_kafka_AdminOptions_destroy(options); }
};
template <class Handle>
using KafkaHandle = std::unique_ptr<Handle, KafkaDeleter>;

/// A property as the client has it; empty when it has none.
[[nodiscard]] inline std::string kafka_property(const rd_kafka_t* client, const char* name) {
  char value[512];
  std::size_t size = sizeof value;
  if (rd_kafka_conf_get(rd_kafka_conf(const_cast<rd_kafka_t*>(client)), name, value, &size) != RD_KAFKA_CONF_OK)
    return {};
  return value;
}

/// The client counts a callback as an event, too.
[[nodiscard]] inline bool takes_reports_as_events(const rd_kafka_t* producer) {
  const int events = std::atoi(kafka_property(producer, "enabled_events").c_str());
  return (events & RD_KAFKA_EVENT_DR) != 0 && kafka_property(producer, "dr_msg_cb").empty() &&
         kafka_property(producer, "dr_cb").empty();
}

/// Whether somebody reads with this consumer already.
[[nodiscard]] inline bool has_assignment(rd_kafka_t* consumer) {
  rd_kafka_topic_partition_list_t* list = nullptr;
  int count = 0;
  for (const auto ask : {&rd_kafka_subscription, &rd_kafka_assignment}) {
    if (ask(consumer, &list) != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    count += KafkaHandle<rd_kafka_topic_partition_list_t> { list } -> cnt;
  }
  return count != 0;
}

/// Of the group whose name librdkafka asks for. We join none, but it looks for one's coordinator all the same.
[[nodiscard]] inline bool is_of_a_group(rd_kafka_resp_err_t error) noexcept {
  switch (error) {
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR: return true;
    default: return false;
  }
}

/// Says that the client's view of the cluster is an old one: it may keep it, and go on asking who led a partition once.
[[nodiscard]] inline bool is_outdated(rd_kafka_resp_err_t error) noexcept {
  switch (error) {
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_BROKER:
    case RD_KAFKA_RESP_ERR__NOENT:
    case RD_KAFKA_RESP_ERR__WAIT_CACHE:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER: return true;
    default: return false;
  }
}

[[nodiscard]] inline bool is_too_large(rd_kafka_resp_err_t error) noexcept {
  return error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || error == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

/// What to do about it.
[[nodiscard]] inline std::string words_of_size() {
  return "; where the topic's max.message.bytes is less, raise it, or set KafkaTuning::max_frame_bytes to 1 KiB below "
         "it "
         "(smaller frames are tried from now on)";
}

/// An error for people, and as a code.
[[nodiscard]] inline std::string kafka_words(rd_kafka_resp_err_t error) {
  const bool compacted = error == RD_KAFKA_RESP_ERR_INVALID_RECORD;  // frames have no keys
  return std::string{rd_kafka_err2str(error)} + " (" + rd_kafka_err2name(error) + ")" +
         (compacted ? "; a topic that is compacted takes no frames: set its cleanup.policy to delete" : "") +
         (is_too_large(error) ? words_of_size() : "");
}
[[nodiscard]] inline Errc kafka_errc(rd_kafka_resp_err_t error) noexcept {
  switch (error) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: return Errc::permission_denied;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__SSL: return Errc::not_connected;
    default: return Errc::transport_failure;
  }
}

}  // namespace syncbus::inline v1::detail
