// Faults on a real redis-server, while caches are written and read: what history can repair is repaired, the rest has
// its cause, and afterwards nothing is stale, no queue was above its cap, and nothing is left behind.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/redis_bus.hpp>

#include "fault/auditor.hpp"
#include "fault/child_process.hpp"
#include "fault/cluster.hpp"
#include "fault/shared.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/process_limits.hpp"
#include "support/redis_server.hpp"

using namespace fault;
using namespace std::chrono_literals;
using support::eventually, support::ProcessLimits, support::RedisServer;
using syncbus::Errc, syncbus::Metrics, syncbus::ResyncCause;

namespace {

constexpr std::size_t three = 3;

/// A server, and the nodes that a fault is to hit.
struct Trial {
  explicit Trial(const syncbus::BusOptions& options = {}) {
    cluster.emplace(server, *database, three, options);
    REQUIRE(cluster->becomes_fresh(two));
  }

  static constexpr std::size_t two = three - 1;  // peers of each

  RedisServer server{Cluster::server_arguments()};
  Shared<Database> database;
  ProcessLimits limits;
  std::optional<Cluster> cluster;
};

void check_nothing_lost(Cluster& cluster, std::size_t peers = Trial::two) {
  CHECK(cluster.becomes_healthy());
  const bool settled = cluster.settles();
  INFO(cluster.account());
  CHECK(settled);
  CHECK(cluster.stale() == 0);
  CHECK(cluster.nothing_refused());
  CHECK(cluster.caps_held());
  CHECK(cluster.becomes_fresh(peers));
  const auto outcome = cluster.bus(0).publish_and_await("everybody", cluster.size(), {.timeout = support::patience});
  CHECK_FALSE(outcome.error);
  CHECK(outcome.replicas.size() == cluster.size());
}

void check_nothing_leaked(Trial& trial) {
  trial.cluster.reset();
  CHECK(trial.limits.hold());
}

/// All of them are due to having been cut off for longer than history reaches.
void check_resyncs_of_a_cut(const Metrics& metrics) {
  const auto of_a_cut = metrics.resyncs_by(ResyncCause::interrupted) + metrics.resyncs_by(ResyncCause::unrepairable);
  CHECK(all_resyncs(metrics) == of_a_cut);
}

}  // namespace

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

TEST_CASE("a server that is killed and restarted costs no resync: what was not confirmed is sent again", "[fault]") {
  Trial trial;
  Cluster& cluster = *trial.cluster;
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

TEST_CASE("a server that is stopped for seven seconds is noticed by every node, and what was said meanwhile is heard",
          "[fault]") {
  Trial trial;
  Cluster& cluster = *trial.cluster;
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

TEST_CASE("a node whose connections are thrown out again and again has what it missed repaired", "[fault]") {
  const std::string which = GENERATE(as<std::string>{}, "pubsub", "normal", "");  // the last: both
  Trial trial;
  Cluster& cluster = *trial.cluster;
  cluster.begin();
  for (std::uint64_t round = 0; round != 10; ++round) {
    CHECK(cluster.goes_on(20));
    REQUIRE(trial.server.throw_out(Cluster::user(1), which) >= 1);
    REQUIRE(eventually([&] { return cluster.bus(1).metrics().reconnects > round && cluster.bus(1).is_healthy(); }));
  }
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  CHECK(cluster.bus(1).metrics().gaps > 0);
  CHECK(cluster.bus(1).metrics().frames_repaired > 0);
  CHECK(cluster.bus(0).metrics().reconnects == 0);
  check_nothing_leaked(trial);
}

TEST_CASE("a node that is cut off for longer than history reaches hears a resync, and the others do not", "[fault]") {
  Trial trial{{.send_wait = 30s, .history_bytes = std::size_t{64} << 10U}};
  Cluster& cluster = *trial.cluster;
  const std::string victim = Cluster::user(2);
  trial.server.command({"ACL", "SETUSER", victim, "off"});  // it cannot come back
  REQUIRE(trial.server.throw_out(victim) == 2);
  REQUIRE(eventually([&] { return !cluster.bus(2).is_healthy(); }));
  for (int round = 0; round != 3; ++round) cluster.node(0).rewrite_everything();
  CHECK_FALSE(cluster.bus(0).flush(support::patience));
  CHECK(cluster.node(2).cache().stale() == Database::rows);
  trial.server.command({"ACL", "SETUSER", victim, "on"});
  CHECK(cluster.becomes_healthy());
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(all_resyncs(cluster.bus(2).metrics()) >= 1);
  check_resyncs_of_a_cut(cluster.bus(2).metrics());
  CHECK(all_resyncs(cluster.bus(0).metrics()) == 0);
  CHECK(all_resyncs(cluster.bus(1).metrics()) == 0);
  check_nothing_leaked(trial);
}

TEST_CASE("an await while the server is away fails at its deadline, or is satisfied when it comes back in time",
          "[fault]") {
  Trial trial;
  Cluster& cluster = *trial.cluster;
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
  CHECK(cluster.no_resyncs());
  check_nothing_leaked(trial);
}

namespace {

/// What a node in another process and its test tell each other.
struct Conversation {
  std::atomic<bool> ready = false;
  std::atomic<bool> writing_is_over = false;
  std::atomic<std::uint64_t> reconnects = 0;
  std::atomic<std::uint64_t> repaired = 0;
  std::atomic<std::uint64_t> resyncs = 0;
  std::atomic<std::uint64_t> resyncs_of_a_cut = 0;
  std::atomic<std::uint64_t> stale = Database::rows;
  std::atomic<bool> caps_held = false;
  std::atomic<bool> leaked = true;
};

/// A node that only reads, until the writers have ended and it holds nothing that is not true.
int read_until_all_is_true(const std::string& url, Database& database, Conversation& conversation) {
  const ProcessLimits limits;
  {
    const syncbus::BusOptions options{.name = "slow"};
    syncbus::RedisBus bus{url, Cluster::channel, options, Cluster::tuning};
    AuditedNode node{database, bus, 4};
    node.fill();
    node.write_no_more();
    node.begin();
    conversation.ready = true;
    const bool told = eventually([&] { return conversation.writing_is_over.load(); }, 2 * support::patience);
    const bool converged = told && eventually([&] { return node.cache().stale() == 0; });
    node.end();
    const Metrics metrics = bus.metrics();
    conversation.reconnects = metrics.reconnects;
    conversation.repaired = metrics.frames_repaired;
    conversation.resyncs = all_resyncs(metrics);
    conversation.resyncs_of_a_cut =
        metrics.resyncs_by(ResyncCause::interrupted) + metrics.resyncs_by(ResyncCause::unrepairable);
    conversation.stale = node.cache().stale();
    conversation.caps_held =
        node.most_queue_bytes() <= options.queue_bytes + options.pending_bytes &&
        node.most_history_bytes() <= options.history_bytes;
    if (!converged) return 1;
  }
  conversation.leaked = !limits.hold();
  return 0;
}

}  // namespace

TEST_CASE("a node that reads so slowly that the server cuts it off ends with nothing stale", "[fault]") {
  const RedisServer server{Cluster::server_arguments()};
  server.set("client-output-buffer-limit", "pubsub 1mb 512kb 1");
  const ProcessLimits limits;
  const Shared<Conversation> conversation;
  const Shared<Database> database;
  const std::string slow = Cluster::url(server, three);
  ChildProcess child{[&] { return read_until_all_is_true(slow, *database, *conversation); }};
  REQUIRE(eventually([&] { return conversation->ready.load(); }));
  {
    Cluster cluster{server, *database, 2};
    REQUIRE(cluster.becomes_fresh(2));
    child.stop();
    std::vector<std::string> of_no_row;
    for (int i = 0; i != 100; ++i) of_no_row.push_back(std::to_string(i) + std::string(1'000, 'x'));
    for (int round = 0; server.connections(Cluster::user(three), "pubsub") != 0; ++round) {
      REQUIRE(round < 1'000);
      CHECK_FALSE(cluster.bus(1).publish(of_no_row));
    }
    cluster.node(0).rewrite_everything();
    CHECK_FALSE(cluster.bus(0).flush(support::patience));
    conversation->writing_is_over = true;  // its patience may have run out while it was stopped
    child.resume();
    CHECK(child.ends() == 0);
    check_nothing_lost(cluster, 1);
  }
  CHECK(conversation->stale == 0);
  CHECK(conversation->reconnects >= 1);
  CHECK(conversation->resyncs == conversation->resyncs_of_a_cut);
  CHECK(conversation->resyncs + conversation->repaired > 0);
  CHECK(conversation->caps_held);
  CHECK_FALSE(conversation->leaked);
  CHECK(limits.hold());
}

TEST_CASE("caps that are reached hold, and what they cost is a resync with its cause", "[fault]") {
  constexpr std::size_t kib = 1'024;
  const syncbus::BusOptions options{
      .send_wait = 30s, .history_bytes = 64 * kib, .queue_bytes = 64 * kib, .pending_bytes = 16 * kib};
  Trial trial{options};
  Cluster& cluster = *trial.cluster;
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

TEST_CASE("a server at maxmemory refuses to be written and goes on carrying frames", "[fault]") {
  Trial trial;
  Cluster& cluster = *trial.cluster;
  cluster.begin();
  trial.server.set("maxmemory", "1mb");
  CHECK_THROWS_AS(trial.server.command({"SET", "key", "value"}), std::runtime_error);
  CHECK(cluster.goes_on(500));
  CHECK(trial.server.throw_out(Cluster::user(1)) == 2);  // a new session begins there too
  CHECK(eventually([&] { return cluster.bus(1).metrics().reconnects == 1; }));
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  CHECK(cluster.bus(0).metrics().reconnects == 0);
  check_nothing_leaked(trial);
}

TEST_CASE("a server that evicts clients for their memory is survived like one that throws them out", "[fault]") {
  Trial trial;
  Cluster& cluster = *trial.cluster;
  cluster.begin();
  CHECK(cluster.goes_on());
  // The server may evict the connection that says so, before or after it obeys.
  const auto limited_to = [&](const std::string& bytes) {
    try {
      trial.server.set("maxmemory-clients", bytes);
      return true;
    } catch (const std::runtime_error&) {
      return false;
    }
  };
  static_cast<void>(limited_to("64kb"));
  CHECK(eventually([&] { return cluster.reconnects() > 4; }));
  CHECK(cluster.goes_on());
  CHECK(eventually([&] { return limited_to("0"); }));
  check_nothing_lost(cluster);
  INFO(cluster.account());
  // The server throws out whom it likes, how often it likes: a gap may see no repair for repair_timeout.
  for (std::size_t i = 0; i != cluster.size(); ++i) check_resyncs_of_a_cut(cluster.bus(i).metrics());
  check_nothing_leaked(trial);
}

TEST_CASE("a permission that is revoked and granted again costs no resync, and is told of", "[fault]") {
  struct Change {
    std::string revoke, grant;
  };
  const auto change = GENERATE(Change{"resetchannels", "&*"}, Change{"-publish", "+publish"});
  Trial trial;
  Cluster& cluster = *trial.cluster;
  cluster.begin();
  CHECK(cluster.goes_on());
  trial.server.command({"ACL", "SETUSER", Cluster::user(1), change.revoke});
  CHECK(eventually([&] { return !cluster.bus(1).is_healthy(); }));
  CHECK(eventually([&] { return cluster.logged(1, "NOPERM"); }));
  CHECK(cluster.goes_on());
  CHECK_FALSE(cluster.bus(1).is_healthy());
  CHECK(cluster.bus(0).is_healthy());
  trial.server.command({"ACL", "SETUSER", Cluster::user(1), change.grant});
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  CHECK(cluster.bus(0).metrics().reconnects == 0);
  check_nothing_leaked(trial);
}
