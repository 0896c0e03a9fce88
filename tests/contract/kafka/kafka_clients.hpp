// A program's own Kafka clients, which a test lends to a bus.
#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/transport/kafka/kafka_handles.hpp>

namespace contract {

using KafkaProperties = std::vector<std::pair<std::string, std::string>>;

/// With librdkafka's defaults but for what is given.
class KafkaProgram {
 public:
  explicit KafkaProgram(const std::string& brokers, const KafkaProperties& of_producer = {},
                        const KafkaProperties& of_consumer = {},
                        void (*reported)(rd_kafka_t*, const rd_kafka_message_t*, void*) = nullptr,
                        void* opaque = nullptr)
      : producer_{make(RD_KAFKA_PRODUCER, brokers, of_producer, reported, opaque)},
        consumer_{make(RD_KAFKA_CONSUMER, brokers, of_consumer, nullptr, nullptr)} {}

  [[nodiscard]] rd_kafka_t* producer() const noexcept { return producer_.get(); }
  [[nodiscard]] rd_kafka_t* consumer() const noexcept { return consumer_.get(); }
  [[nodiscard]] syncbus::KafkaHandles handles() const noexcept {
    return {.producer = producer_.get(), .consumer = consumer_.get()};
  }

  /// What a careful program sets.
  [[nodiscard]] static KafkaProperties careful_producer() {
    return {{"enable.idempotence", "true"}, {"linger.ms", "0"}, {"reconnect.backoff.max.ms", "100"}};
  }
  [[nodiscard]] static KafkaProperties careful_consumer() {
    return {{"group.id", "own"},
            {"auto.offset.reset", "error"},
            {"enable.auto.commit", "false"},
            {"fetch.wait.max.ms", "5"},
            {"reconnect.backoff.max.ms", "100"}};
  }

 private:
  struct Destroy {
    void operator()(rd_kafka_t* client) const noexcept {
      rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
  };
  using Client = std::unique_ptr<rd_kafka_t, Destroy>;

  static Client make(rd_kafka_type_t type, const std::string& brokers, const KafkaProperties& properties,
                     void (*reported)(rd_kafka_t*, const rd_kafka_message_t*, void*), void* opaque) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char why[512];
    const auto set = [&](const std::string& name, const std::string& value) {
      if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
        throw std::runtime_error{why};
    };
    set("bootstrap.servers", brokers);
    for (const auto& [name, value] : properties) set(name, value);
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    if (reported != nullptr) rd_kafka_conf_set_dr_msg_cb(conf, reported);
    rd_kafka_conf_set_opaque(conf, opaque);
    Client client{rd_kafka_new(type, conf, why, sizeof why)};
    if (!client) throw std::runtime_error{why};
    return client;
  }

  Client producer_;
  Client consumer_;
};

}  // namespace contract
