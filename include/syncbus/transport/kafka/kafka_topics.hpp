// Makes the topic, and reads those of its settings that concern frames.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport/kafka/kafka_clients.hpp>
#include <syncbus/transport/kafka/kafka_conf.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// A request to make the topic as its tuning says, whose answer is polled for. Throws ConnectError.
class KafkaTopicCreation {
 public:
  KafkaTopicCreation(rd_kafka_t* client, const KafkaEndpoint& place, int limit_ms) : place_{place} {
    char why[512] = "";
    const KafkaTuning& tuning = place.tuning;
    const KafkaHandle<rd_kafka_NewTopic_t> topic{
        rd_kafka_NewTopic_new(place.topic.c_str(), (std::max)(tuning.topic_partitions, tuning.partition + 1),
                              tuning.topic_replication, why, sizeof why)};
    if (!topic)
      throw ConnectError{Errc::invalid_argument, std::string{"librdkafka does not make such a topic: "} + why};
    const auto retention = kafka_ms(tuning.topic_retention, 1, (std::numeric_limits<std::int64_t>::max)());
    rd_kafka_NewTopic_set_config(topic.get(), "cleanup.policy", "delete");  // frames have no keys to be compacted by
    rd_kafka_NewTopic_set_config(topic.get(), "retention.ms", std::to_string(retention).c_str());
    const KafkaHandle<rd_kafka_AdminOptions_t> options{
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS)};
    rd_kafka_AdminOptions_set_request_timeout(options.get(), (std::max)(1, limit_ms), why, sizeof why);
    answers_.reset(rd_kafka_queue_new(client));
    rd_kafka_NewTopic_t* wanted = topic.get();
    rd_kafka_CreateTopics(client, &wanted, 1, options.get(), answers_.get());
  }

  /// Whether it is there now; nothing: there is no answer yet. False if a cluster that `may_grow` has too few brokers.
  [[nodiscard]] std::optional<bool> poll(int ms, bool may_grow) {
    const KafkaHandle<rd_kafka_event_t> answer{rd_kafka_queue_poll(answers_.get(), ms)};
    if (!answer) return std::nullopt;
    rd_kafka_resp_err_t error = rd_kafka_event_error(answer.get());
    std::string said = error == RD_KAFKA_RESP_ERR_NO_ERROR ? "" : rd_kafka_event_error_string(answer.get());
    if (const rd_kafka_CreateTopics_result_t* result = rd_kafka_event_CreateTopics_result(answer.get())) {
      std::size_t count = 0;
      const rd_kafka_topic_result_t** topics = rd_kafka_CreateTopics_result_topics(result, &count);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR && count == 1) {
        error = rd_kafka_topic_result_error(topics[0]);
        if (const char* text = rd_kafka_topic_result_error_string(topics[0])) said = text;
      }
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) return true;
    if (error == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR && may_grow) return false;
    throw ConnectError{kafka_errc(error), "the Kafka topic '" + place_.topic + "' could not be made: " + said + " (" +
                                              rd_kafka_err2name(error) + ")"};
  }

 private:
  const KafkaEndpoint& place_;
  KafkaHandle<rd_kafka_queue_t> answers_;
};

/// What of a topic's settings concerns frames.
struct KafkaTopicSettings {
  std::size_t max_message_bytes = 0;  ///< 0: not known
  std::string cleanup_policy{};

  [[nodiscard]] bool is_compacted() const noexcept { return cleanup_policy.find("compact") != std::string::npos; }
};

/// A request to tell the settings, which the user may lack a permission for (DescribeConfigs). Its answer is polled
/// for.
class KafkaTopicDescription {
 public:
  KafkaTopicDescription(rd_kafka_t* client, const std::string& topic, int limit_ms)
      : answers_{rd_kafka_queue_new(client)} {
    char why[512] = "";
    const KafkaHandle<rd_kafka_ConfigResource_t> resource{
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str())};
    const KafkaHandle<rd_kafka_AdminOptions_t> options{
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS)};
    rd_kafka_AdminOptions_set_request_timeout(options.get(), (std::max)(1, limit_ms), why, sizeof why);
    rd_kafka_ConfigResource_t* wanted = resource.get();
    rd_kafka_DescribeConfigs(client, &wanted, 1, options.get(), answers_.get());
  }

  /// The settings, as far as the cluster tells them; nothing: there is no answer yet.
  [[nodiscard]] std::optional<KafkaTopicSettings> poll(int ms) {
    const KafkaHandle<rd_kafka_event_t> answer{rd_kafka_queue_poll(answers_.get(), ms)};
    if (!answer) return std::nullopt;
    KafkaTopicSettings settings;
    const rd_kafka_DescribeConfigs_result_t* const result = rd_kafka_event_DescribeConfigs_result(answer.get());
    if (result == nullptr) return settings;
    std::size_t count = 0;
    const rd_kafka_ConfigResource_t** const resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
    if (count != 1) return settings;
    const rd_kafka_ConfigEntry_t** const entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    for (const rd_kafka_ConfigEntry_t* const entry : std::span{entries, count}) {
      const char* const text = rd_kafka_ConfigEntry_value(entry);
      const std::string_view name = rd_kafka_ConfigEntry_name(entry), value = text == nullptr ? "" : text;
      if (name == "cleanup.policy") settings.cleanup_policy = value;
      if (name == "max.message.bytes") {
        std::from_chars(value.data(), value.data() + value.size(), settings.max_message_bytes);
      }
    }
    return settings;
  }

 private:
  KafkaHandle<rd_kafka_queue_t> answers_;
};

}  // namespace syncbus::inline v1::detail
