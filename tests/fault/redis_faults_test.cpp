// Faults that only a redis-server has, while caches are written and read: connections thrown out, permissions revoked,
// memory at its limit, a failover to another one. What history can repair is repaired, the rest has its cause, and afterwards nothing is stale.
#include <hiredis/hiredis.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <syncbus/redis_bus.hpp>

#include "contract/fixtures/heard.hpp"
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
  CHECK(eventually([&] { return cluster.bus(1).metrics().reconnects >= 1; }));
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

// --- failover

namespace {

using Port = std::shared_ptr<std::atomic<int>>;

Port port_of(const support::RedisServer& server) { return std::make_shared<std::atomic<int>>(server.port()); }

/// A node that goes to the server at a port which the test changes.
struct Wanderer {
  explicit Wanderer(Port at, syncbus::BusOptions options = {})
      : port{std::move(at)},
        bus{[port = port] { return redisConnect("127.0.0.1", *port); }, OnRedis::channel, std::move(options),
            OnRedis::tuning},
        subscription{bus.subscribe_all(heard.on_event(), heard.on_resync())} {}

  [[nodiscard]] bool knows(const Wanderer& other) const {
    return eventually([&] {
      const auto peers = bus.peers();
      return std::ranges::any_of(peers, [&](const auto& peer) { return peer.id == other.bus.id(); });
    });
  }
  /// After it was published elsewhere, before it hears anything again.
  [[nodiscard]] bool will_hear(const std::string& line) const {
    return eventually([&] { return heard.contains(line); });
  }

  contract::Heard heard;
  Port port;
  syncbus::RedisBus bus;
  syncbus::Subscription subscription;
};

/// Watches one primary, and makes its replica the primary when it is away for half a second.
class Sentinel final : public support::TestServer {
 public:
  explicit Sentinel(const support::RedisServer& primary) : TestServer{"redis-server"}, primary_{primary.port()} {
    start_on_free_port();
  }
  ~Sentinel() override { std::filesystem::remove(file_); }

  /// Where it says that the primary is; 0 while it cannot be asked.
  [[nodiscard]] int primary() const {
    const std::unique_ptr<redisContext, void (*)(redisContext*)> context{redisConnect("127.0.0.1", port()), redisFree};
    if (!context || context->err != 0) return 0;
    auto* const reply =
        static_cast<redisReply*>(redisCommand(context.get(), "SENTINEL get-master-addr-by-name primary"));
    if (reply == nullptr) return 0;
    const int at = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 ? std::atoi(reply->element[1]->str) : 0;
    freeReplyObject(reply);
    return at;
  }
  [[nodiscard]] bool knows_replica() const {
    const std::unique_ptr<redisContext, void (*)(redisContext*)> context{redisConnect("127.0.0.1", port()), redisFree};
    auto* const reply = static_cast<redisReply*>(redisCommand(context.get(), "SENTINEL replicas primary"));
    const bool known = reply != nullptr && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1;
    if (reply != nullptr) freeReplyObject(reply);
    return known;
  }

 private:
  bool try_start() override {
    file_ = std::filesystem::temp_directory_path() / ("sentinel-" + std::to_string(port()) + ".conf");
    std::ofstream{file_} << "port " << port() << "\nbind 127.0.0.1\ndir /tmp\nsentinel monitor primary 127.0.0.1 " << primary_
                         << " 1\nsentinel down-after-milliseconds primary 500\nsentinel failover-timeout primary 5000\n";
    return process().start({"redis-server", file_.string(), "--sentinel"}, [this] { return primary() == primary_; });
  }

  int primary_;
  std::filesystem::path file_;
};

}  // namespace

TEST_CASE("what was published on another server before a failover is told of on both sides of it", "[fault]") {
  support::RedisServer old_primary, new_primary;
  REQUIRE(eventually([&] { return new_primary.info("server", "uptime_in_seconds") >= "2"; }));
  Wanderer left{port_of(old_primary)}, mover{port_of(old_primary)}, right{port_of(new_primary)};
  {
    Wanderer on_the_old{port_of(old_primary)}, on_the_new{port_of(new_primary)};
    REQUIRE(mover.knows(on_the_old));
    REQUIRE(right.knows(on_the_new));
    CHECK_FALSE(on_the_old.bus.publish("old"));
    CHECK_FALSE(on_the_new.bus.publish("new"));
    CHECK_FALSE(on_the_old.bus.flush(support::patience));
    CHECK_FALSE(on_the_new.bus.flush(support::patience));
  }
  CHECK(mover.will_hear("invalidate old"));
  CHECK(right.will_hear("invalidate new"));
  CHECK(mover.heard.count() == 1);
  CHECK(right.heard.count() == 1);
  *mover.port = *left.port = new_primary.port();
  old_primary.kill();
  REQUIRE(mover.knows(right));
  REQUIRE(right.knows(mover));
  CHECK(mover.will_hear("resync: interrupted"));  // for what was published on the new one
  CHECK(right.will_hear("resync: joined"));       // for what was on the old one
  REQUIRE(mover.knows(left));
  REQUIRE(eventually([&] { return left.bus.is_healthy(); }));
  CHECK(mover.bus.metrics().resyncs_by(syncbus::ResyncCause::interrupted) == 1);
  CHECK_FALSE(mover.bus.publish("together"));
  CHECK(right.will_hear("invalidate together"));
  CHECK(left.will_hear("invalidate together"));
}

TEST_CASE("a failover by Sentinel moves every node, and what it lost is told of", "[fault]") {
  support::RedisServer primary, replica;
  replica.command({"REPLICAOF", "127.0.0.1", std::to_string(primary.port())});
  const Sentinel sentinel{primary};
  REQUIRE(eventually([&] { return sentinel.knows_replica(); }));
  const auto connector = [&sentinel] { return redisConnect("127.0.0.1", sentinel.primary()); };
  const auto node = [&] { return syncbus::RedisBus{connector, OnRedis::channel, {.wait_for_broker = 30s, .peer_timeout = 30s}, OnRedis::tuning}; };

  contract::Heard at_old, at_new;
  syncbus::RedisBus old_node = node();
  const auto old_subscription = old_node.subscribe_all(at_old.on_event(), at_old.on_resync());
  primary.stop();
  REQUIRE(eventually([&] { return sentinel.primary() == replica.port(); }));
  REQUIRE(eventually([&] { return replica.info("replication", "role") == "master"; }));
  primary.resume();  // and a primary it is for some seconds more, with the old node on it
  syncbus::RedisBus new_node = node();
  const auto new_subscription = new_node.subscribe_all(at_new.on_event(), at_new.on_resync());
  {
    syncbus::RedisBus short_lived = node();
    CHECK_FALSE(short_lived.publish("k"));
    CHECK_FALSE(short_lived.flush(support::patience));
  }
  CHECK(eventually([&] { return at_new.contains("invalidate k"); }));
  CHECK(eventually([&] { return at_old.contains("resync: interrupted"); }));  // when it was demoted
  CHECK(eventually([&] { return at_new.contains("resync: joined"); }));
  CHECK(eventually([&] { return old_node.is_healthy(); }));
  CHECK_FALSE(at_old.contains("invalidate k"));
  CHECK_FALSE(old_node.publish("together"));
  CHECK(eventually([&] { return at_new.contains("invalidate together"); }));
}
