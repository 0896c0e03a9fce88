// Faults of a Kafka cluster of three real brokers, while caches are written and read: leaders that die, stop, are cut
// off and move. Nothing is stale afterwards, no quorum was none, nodes are back soon after there is a leader, and
// whoever is closed, or made, meanwhile comes to an end in time.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include <syncbus/kafka_bus.hpp>

#include "fault/cluster.hpp"
#include "fault/on_kafka_cluster.hpp"
#include "fault/quorum_auditor.hpp"
#include "fault/trial.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/kafka_cluster.hpp"
#include "support/tcp_proxy.hpp"

using namespace fault;
using namespace std::chrono_literals;
using support::eventually, support::KafkaCluster;
using syncbus::Errc, syncbus::KafkaBus;

namespace {

using Clock = std::chrono::steady_clock;

/// So soon after it has elected a leader the nodes are to be back; twice as much on a machine that has two cores for
/// three brokers, three nodes, and other tests.
constexpr auto back_within = 2 * 5s;

/// What a busy machine may add to a bound.
constexpr auto slack = 4s;

int rounds() { return takes_long() ? 3 : 1; }

/// A peer timeout that is shorter than it takes to replace a leader.
syncbus::BusOptions options() {
  syncbus::BusOptions options;
  if (!takes_long()) options.peer_timeout = 2s;
  return options;
}

/// Two brokers in the order of their numbers behind this one.
std::vector<std::int32_t> behind(std::int32_t id) { return {id % 3 + 1, (id + 1) % 3 + 1}; }

/// Nodes that are written, read, and awaited; and a bus on another topic with the same leader, to be closed at the
/// worst moment: these nodes would miss a peer that could not say goodbye.
template <class Broker>
class Audit {
 public:
  explicit Audit(const syncbus::BusOptions& of_nodes = options()) : trial_{of_nodes} {
    const std::string beside = trial_.server.topic() + "-beside";
    KafkaCluster& brokers = trial_.server.brokers();
    brokers.create_topic(beside);
    const std::int32_t leader = trial_.server.leader();
    std::vector<std::int32_t> replicas = behind(leader);
    replicas.insert(replicas.begin(), leader);
    brokers.requests(leader).reassign(beside, replicas);
    brokers.requests(leader).elect_preferred_leader(beside);
    REQUIRE(eventually([&] { return brokers.leader(beside) == leader; }));
    const std::string addresses =
        std::is_same_v<Broker, OnKafkaCluster> ? brokers.brokers() : brokers.proxied_brokers();
    make_one_ = [addresses, beside](syncbus::Duration limit) {
      return std::make_unique<KafkaBus>(addresses, beside, syncbus::BusOptions{.connect_timeout = limit});
    };
    for (int i = 0; i != rounds(); ++i) leaving_.push_back(make_one_(20s));
    cluster().begin();
    quorums_.emplace(cluster());
    REQUIRE(satisfies(3));
  }

  [[nodiscard]] typename Broker::Server& server() noexcept { return trial_.server; }
  [[nodiscard]] KafkaCluster& brokers() { return trial_.server.brokers(); }
  [[nodiscard]] Cluster<Broker>& cluster() noexcept { return *trial_.cluster; }

  /// So many quorums more come about.
  [[nodiscard]] bool satisfies(std::uint64_t more, syncbus::Duration limit = support::patience) {
    const std::uint64_t goal = quorums_->satisfied() + more;
    return eventually([&] { return quorums_->satisfied() >= goal; }, limit);
  }

  /// While there is no leader, or none that can be reached.
  void check_bounds() {
    auto begin = Clock::now();
    static_cast<void>(leaving_.back()->publish("k"));
    static_cast<void>(leaving_.back()->close(1s));
    leaving_.pop_back();
    CHECK(Clock::now() - begin < 1s + slack);
    begin = Clock::now();
    try {
      static_cast<void>(make_one_(1s));
    } catch (const std::system_error& error) {
      CHECK(error.code() == Errc::not_connected);
    }
    CHECK(Clock::now() - begin < 1s + syncbus::BusOptions{}.close_timeout + slack);
  }

  /// A leader was just elected.
  void check_back() {
    const auto begin = Clock::now();
    const bool back = satisfies(3, back_within);
    INFO("back after " << std::chrono::duration<double>(Clock::now() - begin).count() << " s\n" << cluster().account());
    CHECK(back);
  }

  void check_in_the_end() {
    CHECK(brokers().is_in_sync(server().topic()));
    CHECK(cluster().becomes_healthy());
    CHECK(satisfies(3));
    quorums_->end();
    CHECK(quorums_->wrong() == 0);
    quorums_.reset();
    check_nothing_lost(cluster());
    leaving_.clear();
    check_nothing_leaked(trial_);
  }

 private:
  Trial<Broker> trial_;
  std::function<std::unique_ptr<KafkaBus>(syncbus::Duration)> make_one_;
  std::vector<std::unique_ptr<KafkaBus>> leaving_;
  std::optional<QuorumAuditor<Broker>> quorums_;
};

}  // namespace

TEST_CASE("a leader that is killed is left for the next one", "[fault]") {
  Audit<OnKafkaCluster> audit;
  for (int round = 0; round != rounds(); ++round) {
    const std::int32_t leader = audit.server().leader();
    audit.brokers().kill(leader);
    audit.check_bounds();
    REQUIRE(audit.brokers().elects_another(audit.server().topic(), leader));
    audit.check_back();
    audit.brokers().start(leader);
    CHECK(audit.brokers().is_in_sync(audit.server().topic()));
  }
  audit.check_in_the_end();
}

TEST_CASE("a leader that is stopped is left for the next one, also when it goes on", "[fault]") {
  Audit<OnKafkaCluster> audit;
  for (int round = 0; round != rounds(); ++round) {
    const std::int32_t leader = audit.server().leader();
    audit.brokers().stop(leader);
    audit.check_bounds();
    REQUIRE(audit.brokers().elects_another(audit.server().topic(), leader));
    audit.check_back();
    audit.brokers().resume(leader);
    CHECK(audit.brokers().is_in_sync(audit.server().topic()));
    CHECK(audit.satisfies(3));
  }
  audit.check_in_the_end();
}

TEST_CASE("a leader that clients cannot reach, while the cluster can, is waited for, or left for the next one",
          "[fault]") {
  const bool silent = GENERATE(true, false);
  Audit<OnProxiedKafkaCluster> audit;
  for (int round = 0; round != rounds(); ++round) {
    const std::int32_t leader = audit.server().leader();
    support::TcpProxy& proxy = audit.server().proxy(leader);
    proxy.set({.stalled = silent, .refuses = !silent});
    if (!silent) proxy.cut();
    CHECK(audit.cluster().becomes_unhealthy());
    audit.check_bounds();
    if (round % 2 == 0) {
      const auto others = behind(leader);
      audit.brokers().requests(leader).reassign(audit.server().topic(), {others[0], others[1], leader});
      audit.brokers().requests(leader).elect_preferred_leader(audit.server().topic());
      REQUIRE(audit.brokers().elects_another(audit.server().topic(), leader));
      audit.check_back();
    }
    proxy.set({});
    audit.check_back();
  }
  audit.check_in_the_end();
}

TEST_CASE("a rolling restart of the brokers costs no resync", "[fault]") {
  Audit<OnKafkaCluster> audit{{}};  // the usual times: nodes that come back one after the other are not lost
  for (std::int32_t id = 1; id <= KafkaCluster::size; ++id) {
    audit.brokers().terminate(id);
    REQUIRE(audit.brokers().elects_another(audit.server().topic(), id));
    audit.check_back();
    audit.brokers().start(id);
    REQUIRE(audit.brokers().is_in_sync(audit.server().topic()));
    CHECK(audit.satisfies(3));
  }
  INFO(audit.cluster().account());
  CHECK(audit.cluster().no_resyncs());
  audit.check_in_the_end();
}

TEST_CASE("two brokers of three that die take the quorum with them until they are back", "[fault]") {
  Audit<OnKafkaCluster> audit;
  for (int round = 0; round != rounds(); ++round) {
    const std::vector<std::int32_t> dead = behind(audit.server().leader());
    for (const std::int32_t id : dead) audit.brokers().kill(id);
    CHECK(audit.cluster().becomes_unhealthy());
    CHECK(audit.cluster().bus(1).publish_and_await("k", 2, {.timeout = 300ms}).error == Errc::quorum_not_satisfied);
    audit.check_bounds();
    for (const std::int32_t id : dead) audit.brokers().start(id);
    REQUIRE(audit.brokers().is_in_sync(audit.server().topic()));
    audit.check_back();
  }
  audit.check_in_the_end();
}

TEST_CASE("a partition that is led by its preferred replica again, or has other replicas, is followed", "[fault]") {
  Audit<OnKafkaCluster> audit{{}};  // the usual times: nodes that come back one after the other are not lost
  const std::string& topic = audit.server().topic();
  for (int round = 0; round != rounds(); ++round) {
    std::int32_t leader = audit.server().leader();
    std::vector<std::int32_t> others = behind(leader);
    audit.brokers().requests(leader).reassign(topic, {others[0], others[1], leader});
    audit.brokers().requests(leader).elect_preferred_leader(topic);
    REQUIRE(audit.brokers().elects_another(topic, leader));
    audit.check_back();
    leader = audit.server().leader();
    others = behind(leader);
    audit.brokers().requests(leader).reassign(topic, others);
    REQUIRE(audit.brokers().elects_another(topic, leader));
    audit.check_back();
    REQUIRE(audit.brokers().is_in_sync(topic, 2));
    audit.brokers().requests(leader).reassign(topic, {others[0], others[1], leader});
    REQUIRE(audit.brokers().is_in_sync(topic));
    CHECK(audit.satisfies(3));
  }
  INFO(audit.cluster().account());
  CHECK(audit.cluster().no_resyncs());
  audit.check_in_the_end();
}

TEST_CASE("a leader with an address in advertised.listeners that nobody serves is told of, and used when it is there",
          "[fault]") {
  const OnKafkaCluster::Server server;
  const std::int32_t leader = server.leader();
  std::vector<std::unique_ptr<support::TcpProxy>> proxies;
  for (const std::int32_t id : behind(leader)) proxies.push_back(server.brokers().proxy(id));
  const auto begin = Clock::now();
  std::string sentence;
  try {
    KafkaBus{server.brokers().proxied_brokers(), server.topic(), {.connect_timeout = 2s}};
  } catch (const std::system_error& error) {
    sentence = error.what();
  }
  CHECK(Clock::now() - begin < 2s + slack);
  INFO(sentence);
  CHECK(sentence.find("advertised.listeners") != std::string::npos);
  CHECK(sentence.find(server.brokers().address_of_proxy(leader)) != std::string::npos);
  proxies.push_back(server.brokers().proxy(leader));
  KafkaBus bus{server.brokers().proxied_brokers(), server.topic(), {.connect_timeout = 20s}};
  CHECK_FALSE(bus.publish("k"));
  CHECK_FALSE(bus.flush(20s));
}
