// Faults that only a redis-server has, while caches are written and read: connections thrown out, permissions revoked,
// memory at its limit. What history can repair is repaired, the rest has its cause, and afterwards nothing is stale.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "fault/auditor.hpp"
#include "fault/cluster.hpp"
#include "fault/on_redis.hpp"
#include "fault/slow_reader.hpp"
#include "fault/trial.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace fault;
using namespace std::chrono_literals;
using support::eventually;

TEST_CASE("a node whose connections are thrown out again and again has what it missed repaired", "[fault]") {
  const std::string which = GENERATE(as<std::string>{}, "pubsub", "normal", "");  // the last: both
  Trial<OnRedis> trial;
  Cluster<OnRedis>& cluster = *trial.cluster;
  cluster.begin();
  for (std::uint64_t round = 0; round != 10; ++round) {
    CHECK(cluster.goes_on(20));
    REQUIRE(trial.server.throw_out(OnRedis::user(1), which) >= 1);
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
  Trial<OnRedis> trial{{.send_wait = 30s, .history_bytes = std::size_t{64} << 10U}};
  Cluster<OnRedis>& cluster = *trial.cluster;
  const std::string victim = OnRedis::user(2);
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

TEST_CASE("a node that reads so slowly that the server cuts it off ends with nothing stale", "[fault]") {
  const OnRedis::Server server = OnRedis::server();
  server.set("client-output-buffer-limit", "pubsub 1mb 512kb 1");
  check_slow_reader<OnRedis>(server, [&] { return server.connections(OnRedis::user(slow), "pubsub") == 0; });
}

TEST_CASE("a server at maxmemory refuses to be written and goes on carrying frames", "[fault]") {
  Trial<OnRedis> trial;
  Cluster<OnRedis>& cluster = *trial.cluster;
  cluster.begin();
  trial.server.set("maxmemory", "1mb");
  CHECK_THROWS_AS(trial.server.command({"SET", "key", "value"}), std::runtime_error);
  CHECK(cluster.goes_on(500));
  CHECK(trial.server.throw_out(OnRedis::user(1)) == 2);  // a new session begins there too
  CHECK(eventually([&] { return cluster.bus(1).metrics().reconnects == 1; }));
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  CHECK(cluster.bus(0).metrics().reconnects == 0);
  check_nothing_leaked(trial);
}

TEST_CASE("a server that evicts clients for their memory is survived like one that throws them out", "[fault]") {
  Trial<OnRedis> trial;
  Cluster<OnRedis>& cluster = *trial.cluster;
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
  Trial<OnRedis> trial;
  Cluster<OnRedis>& cluster = *trial.cluster;
  cluster.begin();
  CHECK(cluster.goes_on());
  trial.server.command({"ACL", "SETUSER", OnRedis::user(1), change.revoke});
  CHECK(eventually([&] { return !cluster.bus(1).is_healthy(); }));
  CHECK(eventually([&] { return cluster.logged(1, "NOPERM"); }));
  CHECK(cluster.goes_on());
  CHECK_FALSE(cluster.bus(1).is_healthy());
  CHECK(cluster.bus(0).is_healthy());
  trial.server.command({"ACL", "SETUSER", OnRedis::user(1), change.grant});
  check_nothing_lost(cluster);
  INFO(cluster.account());
  CHECK(cluster.no_resyncs());
  CHECK(cluster.bus(0).metrics().reconnects == 0);
  check_nothing_leaked(trial);
}
