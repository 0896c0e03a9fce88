// What tests do to a Kafka cluster besides using it: topics made, deleted and trimmed, messages from nowhere.
#pragma once

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/eventually.hpp"

namespace support {

/// One client, which outlives the brokers. Throws a sentence for what the cluster refuses.
class KafkaAdmin {
 public:
  explicit KafkaAdmin(const std::string& brokers) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "linger.ms", "0");
    set(conf, "reconnect.backoff.max.ms", "100");
    set(conf, "socket.nagle.disable", "true");
    set(conf, "message.max.bytes", "20000000");
    set(conf, "allow.auto.create.topics", "false");
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    rd_kafka_conf_set_dr_msg_cb(conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void*) {
      *static_cast<rd_kafka_resp_err_t*>(message->_private) = message->err;
    });
    char why[512];
    client_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why));
    if (!client_) throw std::runtime_error{why};
  }

  /// Whether the cluster answers.
  [[nodiscard]] bool answers() const {
    const rd_kafka_metadata_t* metadata = nullptr;
    const auto error = rd_kafka_metadata(client_.get(), 1, nullptr, &metadata, 200);
    const bool some = error == RD_KAFKA_RESP_ERR_NO_ERROR && metadata->broker_cnt > 0;
    if (metadata != nullptr) rd_kafka_metadata_destroy(metadata);
    return some;
  }

  using Properties = std::vector<std::pair<std::string, std::string>>;

  /// Returns when its partitions have leaders.
  void create_topic(const std::string& name, int partitions = 1, const Properties& properties = {},
                    int replication = 1) const {
    char why[512];
    const std::unique_ptr<rd_kafka_NewTopic_t, decltype(&rd_kafka_NewTopic_destroy)> topic{
        rd_kafka_NewTopic_new(name.c_str(), partitions, replication, why, sizeof why), &rd_kafka_NewTopic_destroy};
    for (const auto& [property, value] : properties)
      rd_kafka_NewTopic_set_config(topic.get(), property.c_str(), value.c_str());
    rd_kafka_NewTopic_t* one = topic.get();
    // A broker that was stopped for a while is let in again a while later: until then no topic can be made.
    const bool made = eventually([&] {
      run([&](rd_kafka_queue_t* answers) { rd_kafka_CreateTopics(client_.get(), &one, 1, nullptr, answers); });
      return eventually([&] { return leaders(name) == partitions; }, std::chrono::seconds{1});
    });
    if (!made) throw std::runtime_error{"topic " + name + " has no leader"};
  }

  /// Returns when it is gone.
  void delete_topic(const std::string& name) const {
    const std::unique_ptr<rd_kafka_DeleteTopic_t, decltype(&rd_kafka_DeleteTopic_destroy)> topic{
        rd_kafka_DeleteTopic_new(name.c_str()), &rd_kafka_DeleteTopic_destroy};
    rd_kafka_DeleteTopic_t* one = topic.get();
    run([&](rd_kafka_queue_t* answers) { rd_kafka_DeleteTopics(client_.get(), &one, 1, nullptr, answers); });
    if (!eventually([&] { return leaders(name) == 0; })) throw std::runtime_error{"topic " + name + " stays"};
  }

  /// Drops the messages before this offset.
  void trim(const std::string& topic, std::int64_t before) const {
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic.c_str(), 0)->offset = before;
    rd_kafka_DeleteRecords_t* one = rd_kafka_DeleteRecords_new(list);
    rd_kafka_topic_partition_list_destroy(list);
    run([&](rd_kafka_queue_t* answers) { rd_kafka_DeleteRecords(client_.get(), &one, 1, nullptr, answers); });
    rd_kafka_DeleteRecords_destroy(one);
  }

  /// One message, stored when it returns.
  void produce(const std::string& topic, std::span<const std::byte> value, std::int32_t partition = 0) const {
    rd_kafka_resp_err_t result = RD_KAFKA_RESP_ERR__IN_PROGRESS;
    rd_kafka_topic_t* handle = rd_kafka_topic_new(client_.get(), topic.c_str(), nullptr);
    const int refused = rd_kafka_produce(handle, partition, RD_KAFKA_MSG_F_COPY, const_cast<std::byte*>(value.data()),
                                         value.size(), nullptr, 0, &result);
    rd_kafka_topic_destroy(handle);
    if (refused != 0) throw std::runtime_error{rd_kafka_err2str(rd_kafka_last_error())};
    while (result == RD_KAFKA_RESP_ERR__IN_PROGRESS) rd_kafka_poll(client_.get(), 10);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR) throw std::runtime_error{rd_kafka_err2str(result)};
  }

  /// The offset of the next message.
  [[nodiscard]] std::int64_t end_of(const std::string& topic, std::int32_t partition = 0) const {
    std::int64_t oldest = 0, next = -1;
    rd_kafka_query_watermark_offsets(client_.get(), topic.c_str(), partition, &oldest, &next, 5'000);
    return next;
  }

  /// How many partitions of it have a leader; 0 when there is none of that name.
  [[nodiscard]] int leaders(const std::string& topic) const {
    int count = 0;
    const bool answered = look_at(topic, [&](const rd_kafka_metadata_topic_t& found) {
      for (int i = 0; i != found.partition_cnt; ++i) count += found.partitions[i].leader >= 0;
    });
    return answered ? count : -1;
  }

  /// Of its partition 0: the leader, or -1 for none, and how many replicas are in sync.
  struct Leadership {
    std::int32_t leader = -1;
    int in_sync = 0;
  };
  [[nodiscard]] Leadership leadership(const std::string& topic) const {
    Leadership now;
    static_cast<void>(look_at(topic, [&](const rd_kafka_metadata_topic_t& found) {
      if (found.partition_cnt > 0) now = {found.partitions[0].leader, found.partitions[0].isr_cnt};
    }));
    return now;
  }

 private:
  /// Whether there was an answer.
  template <class Look>
  [[nodiscard]] bool look_at(const std::string& topic, const Look& look) const {
    rd_kafka_topic_t* handle = rd_kafka_topic_new(client_.get(), topic.c_str(), nullptr);
    const rd_kafka_metadata_t* metadata = nullptr;
    const auto error = rd_kafka_metadata(client_.get(), 0, handle, &metadata, 1'000);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      look(metadata->topics[0]);
      rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR;
  }

  static void set(rd_kafka_conf_t* conf, const char* name, const std::string& value) {
    char why[512];
    if (rd_kafka_conf_set(conf, name, value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
      throw std::runtime_error{why};
  }

  template <class Ask>
  void run(const Ask& ask) const {
    rd_kafka_queue_t* answers = rd_kafka_queue_new(client_.get());
    ask(answers);
    rd_kafka_event_t* answer = rd_kafka_queue_poll(answers, 30'000);
    std::string refused = answer == nullptr ? "no answer" : "";
    if (answer != nullptr && rd_kafka_event_error(answer) != RD_KAFKA_RESP_ERR_NO_ERROR)
      refused = rd_kafka_event_error_string(answer);
    if (answer != nullptr) rd_kafka_event_destroy(answer);
    rd_kafka_queue_destroy(answers);
    if (!refused.empty()) throw std::runtime_error{refused};
  }

  struct Destroy {
    void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
  };
  std::unique_ptr<rd_kafka_t, Destroy> client_;
};

}  // namespace support
