// The peer of the benchmarks over Kafka: bare librdkafka, a producer and a reader of one partition, each at its best.
#pragma once

#include <librdkafka/rdkafka.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

struct DestroyKafka {
  void operator()(rd_kafka_t* client) const { rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); }
};
using KafkaClient = std::unique_ptr<rd_kafka_t, DestroyKafka>;

using KafkaProperties = std::vector<std::pair<const char*, std::string>>;

inline KafkaClient make_client(rd_kafka_type_t type, const std::string& brokers, const KafkaProperties& properties,
                               void (*reported)(rd_kafka_t*, const rd_kafka_message_t*, void*) = nullptr,
                               void* self = nullptr) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char why[512];
  const auto set = [&](const char* name, const std::string& value) {
    if (rd_kafka_conf_set(conf, name, value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
      throw std::runtime_error{why};
  };
  set("bootstrap.servers", brokers);
  set("socket.nagle.disable", "true");
  for (const auto& [name, value] : properties) set(name, value);
  if (reported != nullptr) rd_kafka_conf_set_dr_msg_cb(conf, reported);
  rd_kafka_conf_set_opaque(conf, self);
  KafkaClient client{rd_kafka_new(type, conf, why, sizeof why)};
  if (!client) throw std::runtime_error{why};
  return client;
}

/// Reads partition 0 from its end on, on a thread of its own; calls back for each message.
class RawReader {
 public:
  RawReader(const std::string& brokers, const std::string& topic, std::function<void()> on_message)
      : client_{make_client(RD_KAFKA_CONSUMER, brokers, {{"group.id", "raw"}, {"enable.auto.commit", "false"}})} {
    std::int64_t oldest = 0, next = 0;
    if (rd_kafka_query_watermark_offsets(client_.get(), topic.c_str(), 0, &oldest, &next, 10'000) !=
        RD_KAFKA_RESP_ERR_NO_ERROR) {
      throw std::runtime_error{"no watermarks"};
    }
    rd_kafka_poll_set_consumer(client_.get());
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic.c_str(), 0)->offset = next;
    rd_kafka_assign(client_.get(), list);
    rd_kafka_topic_partition_list_destroy(list);
    thread_ = std::thread{[this, on_message = std::move(on_message)] { run(on_message); }};
  }
  RawReader(const RawReader&) = delete;
  RawReader& operator=(const RawReader&) = delete;
  ~RawReader() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run(const std::function<void()>& on_message) {
    const std::unique_ptr<rd_kafka_queue_t, decltype(&rd_kafka_queue_destroy)> queue{
        rd_kafka_queue_get_consumer(client_.get()), &rd_kafka_queue_destroy};
    std::array<rd_kafka_message_t*, 1'000> messages;
    while (!stop_) {
      messages[0] = rd_kafka_consumer_poll(client_.get(), 50);
      if (messages[0] == nullptr) continue;
      take(messages[0], on_message);
      const auto count = rd_kafka_consume_batch_queue(queue.get(), 0, messages.data(), messages.size());
      for (decltype(count + 0) i = 0; i < count; ++i) take(messages[static_cast<std::size_t>(i)], on_message);
    }
  }
  static void take(rd_kafka_message_t* message, const std::function<void()>& on_message) {
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) on_message();
    rd_kafka_message_destroy(message);
  }

  KafkaClient client_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// Counts what the cluster has stored.
class RawWriter {
 public:
  RawWriter(const std::string& brokers, const std::string& topic, const KafkaProperties& properties)
      : client_{make_client(
            RD_KAFKA_PRODUCER, brokers, properties,
            [](rd_kafka_t*, const rd_kafka_message_t* message, void* self) {
              if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) std::terminate();
              ++static_cast<RawWriter*>(self)->stored_;
            },
            this)},
        topic_{rd_kafka_topic_new(client_.get(), topic.c_str(), nullptr)} {}
  RawWriter(const RawWriter&) = delete;
  RawWriter& operator=(const RawWriter&) = delete;
  ~RawWriter() { rd_kafka_topic_destroy(topic_); }

  void write(const std::string& value) {
    while (rd_kafka_produce(topic_, 0, RD_KAFKA_MSG_F_COPY, const_cast<char*>(value.data()), value.size(), nullptr, 0,
                            nullptr) != 0) {
      rd_kafka_poll(client_.get(), 1);  // its queue is full
    }
    ++written_;
  }
  void poll(int milliseconds = 0) { rd_kafka_poll(client_.get(), milliseconds); }
  [[nodiscard]] std::size_t unanswered() const { return written_ - stored_; }

 private:
  KafkaClient client_;
  rd_kafka_topic_t* topic_;
  std::size_t written_ = 0;
  std::size_t stored_ = 0;
};

}  // namespace bench
