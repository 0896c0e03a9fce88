// Faults that only Kafka has, while caches are written and read: a topic that is deleted and made again, retention that
// drops what was not read yet, partitions that change their leader; and connections that are cut.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "fault/cluster.hpp"
#include "fault/on_kafka.hpp"
#include "fault/slow_reader.hpp"
#include "fault/trial.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/kafka_admin.hpp"
#include "support/kafka_mock.hpp"
#include "support/tcp_proxy.hpp"

using namespace fault;
using namespace std::chrono_literals;
using support::eventually, support::KafkaAdmin, support::KafkaMock;

namespace {

/// The clients of node 1 come through a proxy.
struct OnProxiedKafka {
  using Bus = syncbus::KafkaBus;
  using Client = OnKafka::Client;
  struct Server {
    OnKafka::Server broker{};
    support::TcpProxy proxy = broker.proxy();
  };

  [[nodiscard]] static Server server() { return {}; }
  [[nodiscard]] static Bus bus(const Server& server, std::size_t index, syncbus::BusOptions options) {
    const std::string brokers =
        index == 1 ? "127.0.0.1:" + std::to_string(server.proxy.port()) : server.broker.brokers();
    return Bus{brokers, OnKafka::topic, std::move(options), OnKafka::tuning()};
  }
};

/// Three brokers of librdkafka's mock cluster.
struct OnThreeMocks {
  using Bus = syncbus::KafkaBus;
  using Client = OnKafka::Client;
  struct Server : KafkaMock {
    Server() : KafkaMock{3} { create_topic(OnKafka::topic); }
  };

  [[nodiscard]] static Server server() { return {}; }
  [[nodiscard]] static Bus bus(const Server& server, std::size_t, syncbus::BusOptions options) {
    return Bus{server.brokers(), OnKafka::topic, std::move(options), OnKafka::tuning<KafkaMock>()};
  }
};

}  // namespace

TEST_CASE("a node whose connections to Kafka are cut again and again misses nothing", "[fault]") {
  Trial<OnProxiedKafka> trial;
  Cluster<OnProxiedKafka>& cluster = *trial.cluster;
  cluster.begin();
  for (int round = 0; round != 10; ++round) {
    CHECK(cluster.goes_on(20));
    trial.server.proxy.cut();
    CHECK(cluster.goes_on(20));
    REQUIRE(eventually([&] { return cluster.bus(1).is_healthy() && trial.server.proxy.connections() != 0; }));
  }
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  CHECK(cluster.bus(0).metrics().reconnects == 0);
  check_nothing_leaked(trial);
}

TEST_CASE("a topic that is deleted and made again costs what history cannot repair, and no more", "[fault]") {
  Trial<OnKafka> trial{{.peer_timeout = 2s}};
  Cluster<OnKafka>& cluster = *trial.cluster;
  const KafkaAdmin& admin = trial.server.admin();
  cluster.begin();
  for (int round = 0; round != 2; ++round) {
    CHECK(cluster.goes_on());
    admin.delete_topic(OnKafka::topic);
    CHECK(cluster.becomes_unhealthy());
    CHECK(eventually([&] { return cluster.logged(0, "does not exist"); }));
    CHECK(cluster.goes_on());
    admin.create_topic(OnKafka::topic);
    CHECK(cluster.becomes_healthy());
  }
  check_nothing_lost(cluster);
  INFO(cluster.account());
  for (std::size_t i = 0; i != cluster.size(); ++i) check_resyncs_of_a_cut(cluster.bus(i).metrics());
  trial.cluster.reset();
}

TEST_CASE("a node that reads so slowly that Kafka's retention drops what it has not read ends with nothing stale",
          "[fault]") {
  const OnKafka::Server server;
  check_slow_reader<OnKafka>(server, [&, first = std::int64_t{-1}]() mutable {
    const KafkaAdmin admin{server.brokers()};
    const std::int64_t end = admin.end_of(OnKafka::topic);
    if (first < 0) first = end;
    if (end < first + 200) return false;
    admin.trim(OnKafka::topic, end);
    return true;
  });
}

TEST_CASE("a partition whose leaders die one after the other costs no resync", "[fault]") {
  Trial<OnThreeMocks> trial;
  Cluster<OnThreeMocks>& cluster = *trial.cluster;
  trial.server.lead(OnKafka::topic, 1);
  cluster.begin();
  for (const auto& [dies, leads] : {std::pair{1, 2}, {2, 3}, {3, 1}}) {
    CHECK(cluster.goes_on());
    trial.server.kill(dies);
    CHECK(cluster.goes_on(20));
    trial.server.lead(OnKafka::topic, leads);
    CHECK(cluster.goes_on());
    trial.server.start();
    CHECK(cluster.becomes_healthy());
  }
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  trial.cluster.reset();
}
