// Faults that only nats-server has, while caches are written and read: it cuts who reads too slowly, it reloads
// permissions, and of a cluster one dies. What history can repair is repaired, and afterwards nothing is stale.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "fault/auditor.hpp"
#include "fault/cluster.hpp"
#include "fault/on_nats.hpp"
#include "fault/slow_reader.hpp"
#include "fault/trial.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/nats_cluster.hpp"
#include "support/nats_server.hpp"
#include "support/tcp_proxy.hpp"

using namespace fault;
using namespace std::chrono_literals;
using support::eventually, support::NatsCluster, support::NatsServer;

namespace {

/// Nodes with an even index begin at the first server, the others at the second.
struct OnNatsPair {
  using Server = NatsCluster;
  using Bus = syncbus::NatsBus;
  using Client = OnNats::Client;

  [[nodiscard]] static Server server() { return Server{2}; }
  [[nodiscard]] static Bus bus(const Server& pair, std::size_t index, syncbus::BusOptions options) {
    return Bus{pair.urls(index % 2), OnNats::subject, std::move(options), OnNats::tuning};
  }
};

/// The same, and each knows only the one where it begins.
struct OnNatsPairByOneUrl : OnNatsPair {
  [[nodiscard]] static Bus bus(const Server& pair, std::size_t index, syncbus::BusOptions options) {
    return Bus{pair.url(index % 2), OnNats::subject, std::move(options), OnNats::tuning};
  }
};

}  // namespace

TEST_CASE("a node that reads so slowly that the NATS server cuts it off ends with nothing stale", "[fault]") {
  const NatsServer server{OnNats::configuration() + R"(
write_deadline: "500ms"
max_pending: 4MB
accounts { $SYS { users = [{user: admin, password: password}] } })"};
  const std::string closed_ones = R"({"auth": true, "state": 1, "user": ")" + OnNats::user(slow) + "\"}";
  check_slow_reader<OnNats>(server, [&] {
    const auto answer = server.request("$SYS.REQ.SERVER.PING.CONNZ", closed_ones, "admin:password");
    return answer.find("Slow Consumer") != std::string::npos;
  });
}

TEST_CASE("of two NATS servers one is killed: everything goes on at the other, and nothing is lost", "[fault]") {
  Trial<OnNatsPair> trial;
  Cluster<OnNatsPair>& cluster = *trial.cluster;
  const auto have_reconnected = [&](const std::array<std::uint64_t, three>& times) {
    return eventually([&] {
      for (std::size_t i = 0; i != three; ++i) {
        if (cluster.bus(i).metrics().reconnects < times[i]) return false;  // a busy machine may cost one more
      }
      return true;
    });
  };
  cluster.begin();
  CHECK(cluster.goes_on());
  trial.server[0].kill();
  CHECK(have_reconnected({1, 0, 1}));  // all are at the second
  CHECK(cluster.becomes_healthy());
  CHECK(cluster.goes_on());
  const auto outcome = cluster.bus(0).publish_and_await("at the second", three, {.timeout = support::patience});
  CHECK_FALSE(outcome.error);
  trial.server[0].start();
  CHECK(cluster.goes_on());
  trial.server[1].kill();
  CHECK(have_reconnected({2, 1, 2}));  // all are at the first
  CHECK(cluster.goes_on());
  trial.server[1].start();
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  check_nothing_leaked(trial);
}

TEST_CASE("a NATS server leaves its cluster: nodes that know it alone go on at the other, and nothing is lost",
          "[fault]") {
  Trial<OnNatsPairByOneUrl> trial;
  Cluster<OnNatsPairByOneUrl>& cluster = *trial.cluster;
  cluster.begin();
  CHECK(cluster.goes_on());
  trial.server[0].leave();
  CHECK(cluster.becomes_healthy());
  CHECK(cluster.goes_on());
  trial.server[0].start();
  trial.server[1].kill();
  CHECK(cluster.goes_on());
  trial.server[1].start();
  check_nothing_lost(cluster);
  INFO(cluster.account());
  for (std::size_t i = 0; i != three; ++i) CHECK(cluster.bus(i).metrics().reconnects >= (i == 1 ? 1 : 2));
  CHECK(cluster.no_resyncs());
  check_nothing_leaked(trial);
}

TEST_CASE("of two NATS servers one stops: its nodes notice, go to the other, and nothing is lost", "[fault]") {
  Trial<OnNatsPair> trial{{.peer_timeout = 2s}};
  Cluster<OnNatsPair>& cluster = *trial.cluster;
  cluster.begin();
  CHECK(cluster.goes_on());
  trial.server[0].stop();
  for (const std::size_t node : {0U, 2U}) {
    CHECK(eventually([&] { return cluster.bus(node).metrics().reconnects != 0 && cluster.bus(node).is_healthy(); }));
  }
  CHECK(cluster.bus(1).metrics().reconnects == 0);
  CHECK(cluster.goes_on());
  trial.server[0].resume();
  check_nothing_lost(cluster);
  INFO(cluster.account());
  for (std::size_t i = 0; i != three; ++i) {  // nodes at the other server may have given these up by then
    const syncbus::Metrics metrics = cluster.bus(i).metrics();
    CHECK(all_resyncs(metrics) == metrics.resyncs_by(syncbus::ResyncCause::peer_lost) +
                                      metrics.resyncs_by(syncbus::ResyncCause::unrepairable));
  }
  check_nothing_leaked(trial);
}

TEST_CASE("of several NATS servers one may hide what a silent node published there: that is a resync", "[fault]") {
  const NatsCluster servers{2, NatsCluster::Announces::nothing};
  support::TcpProxy proxy{servers[0].port()};
  const auto bus = [](const std::string& url) {
    return syncbus::NatsBus{url, OnNats::subject, {.close_timeout = 100ms, .heartbeat = 500ms, .peer_timeout = 2s}};
  };
  syncbus::NatsBus lost = bus(NatsServer::url_at(proxy.port()));
  syncbus::NatsBus beside = bus(servers.url(0)), beyond = bus(servers.url(1));
  REQUIRE(eventually([&] { return beside.peers().size() == 2 && beyond.peers().size() == 2; }));
  REQUIRE(eventually([&] { return lost.peers().size() == 2; }));
  std::array<std::atomic<int>, 2> heard{};
  const auto ignore = [](const syncbus::Resync&) {};
  const auto a = beside.subscribe_all([&](const syncbus::Event&) { ++heard[0]; }, ignore);
  const auto b = beyond.subscribe_all([&](const syncbus::Event&) { ++heard[1]; }, ignore);
  CHECK_FALSE(lost.publish("k"));  // of whom only a welcome has told, nobody misses anything
  REQUIRE(eventually([&] { return heard[0] != 0 && heard[1] != 0; }));
  proxy.set({.refuses = true});
  proxy.cut();
  for (const syncbus::NatsBus* const other : {&beside, &beyond}) {
    CHECK(eventually([&] { return other->metrics().resyncs_by(syncbus::ResyncCause::peer_lost) != 0; }));
  }
}

TEST_CASE("a NATS permission that is revoked and granted again costs no resync, and is told of", "[fault]") {
  struct Change {
    std::string permissions, words;
  };
  const auto revoked = GENERATE(Change{R"(publish: ["other"])", "may not publish on"},
                                Change{R"(subscribe: ["other"])", "may not subscribe to"});
  Trial<OnNats> trial;
  Cluster<OnNats>& cluster = *trial.cluster;
  cluster.begin();
  CHECK(cluster.goes_on());
  trial.server.configure(OnNats::configuration(revoked.permissions));
  trial.server.reload();
  CHECK(eventually([&] { return !cluster.bus(1).is_healthy(); }));
  CHECK(eventually([&] { return cluster.logged(1, revoked.words); }));
  CHECK(cluster.goes_on());
  CHECK_FALSE(cluster.bus(1).is_healthy());
  CHECK(cluster.bus(0).is_healthy());
  trial.server.configure(OnNats::configuration());
  trial.server.reload();
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  CHECK(cluster.bus(0).metrics().reconnects == 0);
  check_nothing_leaked(trial);
}
