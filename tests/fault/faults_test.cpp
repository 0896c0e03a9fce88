// Faults that every real broker can have, while caches are written and read: what history can repair is repaired, the
// rest has its cause, and afterwards nothing is stale, no queue was above its cap, and nothing is left behind.
#include <chrono>
#include <cstddef>
#include <future>
#include <semaphore>
#include <thread>

#include <syncbus/in_memory_bus.hpp>

#include "fault/auditor.hpp"
#include "fault/brokers.hpp"
#include "fault/cluster.hpp"
#include "fault/shared.hpp"
#include "fault/trial.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace fault;
using namespace std::chrono_literals;
using support::eventually;
using syncbus::Errc, syncbus::ResyncCause;

TEST_CASE("the auditor finds what a cache that hears nothing keeps", "[fault]") {
  const Shared<Database> database;
  syncbus::InMemoryBus bus, elsewhere;
  AuditedNode writing{*database, bus, 1}, deaf{*database, elsewhere, 2};
  writing.fill();
  deaf.fill();
  deaf.write_no_more();
  writing.begin();
  CHECK(eventually([&] { return writing.accepted() >= 100; }));
  writing.end();
  CHECK(writing.cache().stale() == 0);
  CHECK(deaf.cache().stale() >= 50);
  CHECK(deaf.cache().entries() == Database::rows);
}

TEMPLATE_LIST_TEST_CASE("a server that is killed and restarted costs no resync: what was not confirmed is sent again",
                        "[fault]", Brokers) {
  Trial<TestType> trial;
  Cluster<TestType>& cluster = *trial.cluster;
  cluster.begin();
  for (int round = 0; round != 3; ++round) {
    CHECK(cluster.goes_on());
    trial.server.kill();
    CHECK(cluster.becomes_unhealthy());
    CHECK(cluster.goes_on());
    trial.server.start();
    CHECK(cluster.becomes_healthy());
  }
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  check_nothing_leaked(trial);
}

TEMPLATE_LIST_TEST_CASE(
    "a server that is stopped for seven seconds is noticed by every node, and what was said meanwhile is heard",
    "[fault]", Brokers) {
  Trial<TestType> trial;
  Cluster<TestType>& cluster = *trial.cluster;
  cluster.begin();
  CHECK(cluster.goes_on());
  trial.server.stop();
  const auto begin = std::chrono::steady_clock::now();
  CHECK(cluster.becomes_unhealthy());
  std::this_thread::sleep_until(begin + 7s);  // the fault itself
  for (std::size_t i = 0; i != cluster.size(); ++i) {
    CHECK_FALSE(cluster.bus(i).is_healthy());
    CHECK(cluster.bus(i).staleness() >= 6s);
  }
  trial.server.resume();
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  check_nothing_leaked(trial);
}

TEMPLATE_LIST_TEST_CASE(
    "an await while the server is away fails at its deadline, or is satisfied when it comes back in time", "[fault]",
    Brokers) {
  Trial<TestType> trial;
  Cluster<TestType>& cluster = *trial.cluster;
  trial.server.kill();
  CHECK(cluster.becomes_unhealthy());
  const auto early = cluster.bus(0).publish_and_await("early", 2, {.timeout = 200ms});
  CHECK(early.error == Errc::quorum_not_satisfied);
  CHECK(early.replicas.size() <= 1);
  auto late = std::async(std::launch::async, [&] {
    return cluster.bus(0).publish_and_await("late", three, {.timeout = support::patience});
  });
  CHECK(late.wait_for(200ms) == std::future_status::timeout);
  cluster.node(0).rewrite_everything();
  CHECK(cluster.node(1).cache().stale() == Database::rows);
  trial.server.start();
  const auto outcome = late.get();
  CHECK_FALSE(outcome.error);
  CHECK(outcome.replicas.size() == three);
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  check_nothing_leaked(trial);
}

TEMPLATE_LIST_TEST_CASE("caps that are reached hold, and what they cost is a resync with its cause", "[fault]",
                        Brokers) {
  constexpr std::size_t kib = 1'024;
  const syncbus::BusOptions options{
      .send_wait = 30s, .history_bytes = 64 * kib, .queue_bytes = 64 * kib, .pending_bytes = 16 * kib};
  Trial<TestType> trial{options};
  Cluster<TestType>& cluster = *trial.cluster;
  std::binary_semaphore entered{0}, leave{0};
  auto hold = cluster.bus(2).subscribe("hold", [&](const syncbus::Event& event) {
    if (event.type == syncbus::EventType::resync) return;
    entered.release();
    leave.acquire();
  });
  cluster.begin();
  CHECK_FALSE(cluster.bus(0).publish("hold"));
  entered.acquire();
  cluster.node(0).rewrite_everything();  // more than the queue of a node holds whose handler does not return
  CHECK_FALSE(cluster.bus(0).flush(support::patience));
  CHECK(eventually([&] { return cluster.bus(2).metrics().joined > 0; }));
  trial.server.kill();
  CHECK(cluster.becomes_unhealthy());
  cluster.node(1).rewrite_everything();  // more than a node holds that can send nothing
  CHECK(cluster.bus(1).metrics().joined > 0);
  CHECK(cluster.goes_on(20));
  trial.server.start();
  leave.release();
  check_nothing_lost(cluster);
  INFO(cluster.account());
  hold.unsubscribe();
  CHECK(cluster.node(2).most_queue_bytes() > options.queue_bytes / 2);
  CHECK(cluster.bus(0).metrics().bytes_sent > 2 * options.history_bytes);  // so that its history overwrote itself
  CHECK(cluster.bus(2).metrics().resyncs_by(ResyncCause::overflow) > 0);
  CHECK(cluster.bus(0).metrics().resyncs_by(ResyncCause::overflow) > 0);
  check_nothing_leaked(trial);
}
