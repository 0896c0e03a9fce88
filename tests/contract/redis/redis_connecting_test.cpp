// How a RedisBus is made, and how it refuses: addresses, users, permissions, connectors, each with its error and a
// sentence.
#include <atomic>
#include <chrono>
#include <concepts>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <hiredis/hiredis.h>

#include <syncbus/redis_bus.hpp>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/quick.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/process_limits.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::Errc, syncbus::RedisBus, syncbus::RedisConnector;

static_assert(syncbus::Bus<RedisBus> && !std::copyable<RedisBus>);
static_assert(noexcept(std::declval<RedisBus&>().publish("k")) && noexcept(std::declval<RedisBus&>().publish({"a",
                                                                                                              "b"})));
static_assert(!std::constructible_from<RedisBus, redisContext*, const char*>);  // it could not be rebuilt

namespace {

std::error_code refusal(std::string_view url, std::string_view channel = "channel", std::string* sentence = nullptr) {
  return thrown_by([&] { RedisBus{url, channel, {.connect_timeout = 5s}}; }, sentence);
}

std::string at(const OnRedis& redis, const std::string& user) {
  return "redis://" + user + "127.0.0.1:" + std::to_string(redis.port());
}

}  // namespace

TEST_CASE("a malformed URL is an invalid argument", "[contract]") {
  for (const std::string_view url :
       {"", "redis", "redis:", "redis://", "http://127.0.0.1:6379", "rediss://127.0.0.1", "redis://127.0.0.1:port",
        "redis://127.0.0.1:0", "redis://127.0.0.1:65536", "redis://127.0.0.1:6379/db", "redis://:6379", "redis://[::1",
        "redis://a%zz@h:1"}) {
    INFO(url);
    std::string sentence;
    CHECK(refusal(url, "channel", &sentence) == Errc::invalid_argument);
    CHECK(sentence.size() > 20);
  }
}

TEST_CASE("an empty channel and an empty connector are invalid arguments", "[contract]") {
  OnRedis redis;
  CHECK(refusal(redis.url(), "") == Errc::invalid_argument);
  CHECK(thrown_by([] { RedisBus{RedisConnector{}, "channel"}; }) == Errc::invalid_argument);
}

TEST_CASE("nothing listening is not_connected, within connect_timeout, in a sentence with the address", "[contract]") {
  const auto begin = std::chrono::steady_clock::now();
  std::string sentence;
  CHECK(refusal("redis://127.0.0.1:1", "channel", &sentence) == Errc::not_connected);
  CHECK(sentence.find("127.0.0.1:1") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
}

TEST_CASE("a wrong password and an unknown user are permission_denied", "[contract]") {
  OnRedis redis;
  redis.command({"ACL", "SETUSER", "known", "reset", "on", ">secret", "+@all", "&*"});
  CHECK(refusal(at(redis, "known:wrong@")) == Errc::permission_denied);
  CHECK(refusal(at(redis, "unknown:secret@")) == Errc::permission_denied);
  CHECK_FALSE(refusal(at(redis, "known:secret@")));
}

TEST_CASE("a user without the channel, or without the commands, is permission_denied and told which", "[contract]") {
  OnRedis redis;
  redis.command({"ACL", "SETUSER", "narrow", "reset", "on", ">p", "+@all", "&allowed*"});
  std::string sentence;
  CHECK(refusal(at(redis, "narrow:p@"), "forbidden", &sentence) == Errc::permission_denied);
  CHECK(sentence.find("forbidden") != std::string::npos);
  CHECK_FALSE(refusal(at(redis, "narrow:p@"), "allowed"));

  redis.command({"ACL", "SETUSER", "deaf", "reset", "on", ">p", "+publish", "+ping", "&*"});
  CHECK(refusal(at(redis, "deaf:p@")) == Errc::permission_denied);
}

TEST_CASE("a user with just the documented permissions can publish and hear", "[contract]") {
  OnRedis redis;
  redis.command({"ACL", "SETUSER", "least", "reset", "on", ">p", "+publish", "+subscribe", "+ping", "&events",
                 "&events.direct.*"});
  RedisBus bus{at(redis, "least:p@"), "events"}, other{redis.url(), "events"};
  Heard heard;
  const auto subscription = bus.subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(other.publish("theirs"));
  CHECK(eventually([&] { return heard.count() == 1; }));
  CHECK_FALSE(bus.publish("ours"));
  CHECK_FALSE(bus.flush(10s));
}

TEST_CASE("a password with reserved characters is percent-encoded in the URL", "[contract]") {
  OnRedis redis;
  redis.command({"ACL", "SETUSER", "odd@user", "reset", "on", ">p@ss:w/rd %", "+@all", "&*"});
  CHECK_FALSE(refusal(at(redis, "odd%40user:p%40ss%3Aw%2Frd%20%25@")));
}

TEST_CASE("a database that does not exist is refused", "[contract]") {
  OnRedis redis;
  CHECK(refusal(redis.url() + "/99999"));
  CHECK_FALSE(refusal(redis.url() + "/1"));
}

TEST_CASE("a connector makes the connections, and is asked again after an interruption", "[contract]") {
  OnRedis redis;
  std::atomic<int> calls = 0;
  const RedisConnector connector = [&] {
    ++calls;
    return redisConnect("127.0.0.1", redis.port());
  };
  RedisBus bus{connector, redis.place(), {}, quick};
  const auto other = redis.node();
  CHECK(calls >= 1);
  const int first = calls;
  redis.kill_broker();
  CHECK(eventually([&] { return !bus.is_healthy(); }));
  redis.restart_broker();
  CHECK(eventually([&] { return bus.is_healthy() && other->is_healthy(); }));
  CHECK(calls > first);
  REQUIRE(caught_up(*other, bus));
}

TEST_CASE("a process that has too few descriptors for a RedisBus is told what to raise, once", "[contract]") {
  OnRedis redis;
  const RedisConnector connector = [&] { return redisConnect("127.0.0.1", redis.port()); };
  const auto by_url = support::refusals_without_descriptors([&] { RedisBus{redis.url(), "channel"}; });
  const auto by_connector = support::refusals_without_descriptors([&] { RedisBus{connector, "channel"}; });
  for (const auto& sentences : {by_url, by_connector}) {
    CHECK(sentences.size() > 3);
    for (const std::string& sentence : sentences) {
      INFO(sentence);
      const std::size_t advice = sentence.find("raise its limit of open files (ulimit");
      CHECK(advice != std::string::npos);
      CHECK(sentence.find("ulimit", sentence.find("ulimit") + 1) == std::string::npos);
    }
  }
}

TEST_CASE("channels do not mix, whatever bytes their names hold", "[contract]") {
  OnRedis redis;
  const std::string names[]{"a", "a b", "a*", std::string("a\0b", 3), "a.direct.b"};
  for (const auto& name : names) {
    RedisBus publisher{redis.url(), name}, listener{redis.url(), name};
    RedisBus stranger{redis.url(), name + "x"}, friend_of_stranger{redis.url(), name + "x"};
    Heard heard, other;
    const auto a = listener.subscribe_all(heard.on_event(), heard.on_resync());
    const auto b = stranger.subscribe_all(other.on_event(), other.on_resync());
    CHECK_FALSE(publisher.publish("k"));
    CHECK(eventually([&] { return heard.count() == 1; }));
    REQUIRE(caught_up(friend_of_stranger, stranger));  // the server delivers in one order
    CHECK_FALSE(other.contains("invalidate k"));
  }
}
