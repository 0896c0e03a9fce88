// What a Redis server says about itself: its role, and whether it is another one than before.
#include <chrono>
#include <string>
#include <string_view>

#include <syncbus/transport/redis/redis_server.hpp>
#include <syncbus/transport/redis/resp.hpp>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using namespace syncbus::detail;
using syncbus::TimePoint;

namespace {

constexpr TimePoint start{std::chrono::hours{1}};

/// That was started that long ago, at `start`.
RedisServer server(std::string_view run_id, std::chrono::seconds uptime, std::string_view replication_id = "r",
                   std::string_view earlier = "0000") {
  std::string process = "# Server\r\nrun_id:";  // appended to: of sums g++ 14 warns wrongly, GCC bug 105651
  process.append(run_id).append("\r\nuptime_in_seconds:").append(std::to_string(uptime.count())).append("\r\n");
  std::string replication = "# Replication\r\nrole:master\r\nmaster_replid:";
  replication.append(replication_id).append("\r\nmaster_replid2:").append(earlier).append("\r\n");
  RedisServer known{.address = "a"};
  learn_redis_server(process, replication, start, known);
  return known;
}

RedisRole role(std::string_view input) {
  RespReply reply;
  REQUIRE(parse_reply(input, reply).state == RespState::complete);
  return redis_role(reply);
}

}  // namespace

TEST_CASE("the role is read from HELLO, ROLE and INFO, and from nothing else") {
  CHECK(role("*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n"
             "$2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n") ==
        RedisRole::primary);
  CHECK(role("%2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$7\r\nreplica\r\n") == RedisRole::replica);
  CHECK(role("*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n") == RedisRole::sentinel);
  CHECK(role("*3\r\n$6\r\nmaster\r\n:0\r\n*1\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\n0\r\n") == RedisRole::primary);
  CHECK(role("*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$9\r\nconnected\r\n:0\r\n") == RedisRole::replica);
  CHECK(role("*2\r\n$8\r\nsentinel\r\n*0\r\n") == RedisRole::sentinel);
  CHECK(role("$28\r\n# Replication\r\nrole:slave\r\nx\r\n") == RedisRole::replica);
  CHECK(role("-NOPERM no\r\n") == RedisRole::unknown);
  CHECK(role("+PONG\r\n") == RedisRole::unknown);
  CHECK(role("*0\r\n") == RedisRole::unknown);
}

TEST_CASE("a server that was there before we last heard of the other is another one") {
  CHECK(redis_server_changed(server("one", 100s), start - 1s, server("two", 50s)));
  CHECK(redis_server_changed(server("one", 100s), start - 40s, server("two", 50s)));
}

TEST_CASE("a server that was only started again is the same, also within the second that its clock has") {
  CHECK_FALSE(redis_server_changed(server("one", 100s), start - 10s, server("two", 9s)));
  CHECK_FALSE(redis_server_changed(server("one", 100s), start - 500ms, server("two", 1s)));
  CHECK_FALSE(redis_server_changed(server("one", 100s), start - 10ms, server("two", 0s)));
}

TEST_CASE("a server that was a replica meanwhile is another one; one that forgot its replicas is not") {
  CHECK_FALSE(redis_server_changed(server("one", 100s), start, server("one", 101s)));
  CHECK(redis_server_changed(server("one", 100s), start, server("one", 101s, "new", "r")));
  CHECK_FALSE(redis_server_changed(server("one", 100s), start, server("one", 101s, "new", "0000")));
}

TEST_CASE("of servers that tell nothing about themselves the address decides") {
  CHECK_FALSE(redis_server_changed({.address = "a"}, start, {.address = "a"}));
  CHECK(redis_server_changed({.address = "a"}, start, {.address = "b"}));
  CHECK_FALSE(redis_server_changed(server("one", 100s), start, {.address = "a"}));
}
