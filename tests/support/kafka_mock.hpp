// librdkafka's mock cluster: a Kafka inside the test's process that fails on demand.
#pragma once

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/kafka_admin.hpp"
#include "support/test_server.hpp"

namespace support {

/// Requests by their number in Kafka's protocol.
enum class KafkaRequest : std::int16_t { produce = 0, fetch = 1, list_offsets = 2, metadata = 3 };

class KafkaMock : public Broker {
 public:
  explicit KafkaMock(int brokers = 1) : brokers_{brokers} {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char why[512];
    rd_kafka_conf_set(conf, "socket.nagle.disable", "true", why, sizeof why);
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    host_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why));
    if (!host_) throw std::runtime_error{why};
    cluster_.reset(rd_kafka_mock_cluster_new(host_.get(), brokers));
    if (!cluster_) throw std::runtime_error{"no mock cluster"};
    admin_ = std::make_unique<KafkaAdmin>(this->brokers());
  }

  [[nodiscard]] std::string brokers() const { return rd_kafka_mock_cluster_bootstraps(cluster_.get()); }
  [[nodiscard]] const KafkaAdmin& admin() const noexcept { return *admin_; }

  void create_topic(const std::string& name, int partitions = 1) const {
    rd_kafka_mock_topic_create(cluster_.get(), name.c_str(), partitions, 1);
  }

  /// How long a fetch may wait: here it does wait so long when there is nothing yet.
  static constexpr std::chrono::milliseconds fetch_wait{2};

  /// All brokers refuse connections, until start().
  void kill() override {
    for (int id = 1; id <= brokers_; ++id) kill(id);
  }
  /// Only if a test left anything: the mock takes a second to hear of a second change that follows the first at once.
  void revive() override {
    if (std::exchange(harmed_, false)) {
      start();
      slow({});
    }
  }
  void start() override {
    for (int id = 1; id <= brokers_; ++id) rd_kafka_mock_broker_set_up(cluster_.get(), id);
  }
  void kill(int id) {
    harmed_ = true;
    rd_kafka_mock_broker_set_down(cluster_.get(), id);
  }
  void lead(const std::string& topic, int broker) const {
    rd_kafka_mock_partition_set_leader(cluster_.get(), topic.c_str(), 0, broker);
  }

  /// Every answer takes so long.
  void slow(std::chrono::milliseconds time) {
    for (int id = 1; id <= brokers_; ++id) slow(id, time);
  }
  void slow(int id, std::chrono::milliseconds time) {
    harmed_ = harmed_ || time.count() != 0;
    rd_kafka_mock_broker_set_rtt(cluster_.get(), id, static_cast<int>(time.count()));
  }

  /// The next requests of this kind are answered with these errors, one each.
  void refuse(KafkaRequest request, const std::vector<rd_kafka_resp_err_t>& errors) const {
    rd_kafka_mock_push_request_errors_array(cluster_.get(), static_cast<std::int16_t>(request), errors.size(),
                                            errors.data());
  }

 private:
  struct DestroyHost {
    void operator()(rd_kafka_t* host) const noexcept { rd_kafka_destroy(host); }
  };
  struct DestroyCluster {
    void operator()(rd_kafka_mock_cluster_t* cluster) const noexcept { rd_kafka_mock_cluster_destroy(cluster); }
  };

  int brokers_;
  bool harmed_ = false;
  std::unique_ptr<rd_kafka_t, DestroyHost> host_;
  std::unique_ptr<rd_kafka_mock_cluster_t, DestroyCluster> cluster_;
  std::unique_ptr<KafkaAdmin> admin_;
};

}  // namespace support
