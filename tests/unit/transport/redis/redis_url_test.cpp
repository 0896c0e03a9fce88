// The URL of a Redis server: what it says, and how a wrong one is refused.
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/transport/redis/redis_url.hpp>

#include "support/catch.hpp"

using syncbus::Errc;
using syncbus::detail::parse_redis_url;
using syncbus::detail::RedisUrl;

namespace {

/// The sentence with which the URL is refused; empty if it is accepted.
std::string refusal(std::string_view url) {
  try {
    static_cast<void>(parse_redis_url(url));
  } catch (const std::system_error& error) {
    CHECK(error.code() == Errc::invalid_argument);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a host alone means port 6379, database 0 and nobody in particular") {
  const RedisUrl url = parse_redis_url("redis://cache.example");
  CHECK(url.host == "cache.example");
  CHECK(url.port == 6'379);
  CHECK(url.user.empty());
  CHECK_FALSE(url.password.has_value());
  CHECK(url.database == 0);
}

TEST_CASE("every part of a URL is read") {
  const RedisUrl url = parse_redis_url("redis://alice:secret@10.0.0.7:7001/15");
  CHECK(url.host == "10.0.0.7");
  CHECK(url.port == 7'001);
  CHECK(url.user == "alice");
  CHECK(url.password == "secret");
  CHECK(url.database == 15);
}

TEST_CASE("a password may stand without a user, and a user with an empty password") {
  const RedisUrl alone = parse_redis_url("redis://:pw@host");
  CHECK(alone.user.empty());
  CHECK(alone.password == "pw");
  const RedisUrl empty = parse_redis_url("redis://bob:@host");
  CHECK(empty.user == "bob");
  CHECK(empty.password == "");
}

TEST_CASE("an IPv6 address stands in brackets") {
  CHECK(parse_redis_url("redis://[::1]").host == "::1");
  const RedisUrl url = parse_redis_url("redis://u:p@[2001:db8::7]:6380/2");
  CHECK(url.host == "2001:db8::7");
  CHECK(url.port == 6'380);
  CHECK(url.database == 2);
}

TEST_CASE("users and passwords are percent-decoded, NUL and the delimiters included") {
  const RedisUrl url = parse_redis_url("redis://a%3Ab:%40%2f%3A%25%00%fF@host");
  CHECK(url.user == "a:b");
  CHECK(url.password == std::string("@/:%\0\xff", 6));
}

TEST_CASE("the last @ ends the credentials, so that a raw one in a password does no harm") {
  const RedisUrl url = parse_redis_url("redis://:p@ss@host");
  CHECK(url.password == "p@ss");
  CHECK(url.host == "host");
}

TEST_CASE("a slash without a database means database 0") { CHECK(parse_redis_url("redis://host:1/").database == 0); }

TEST_CASE("a malformed URL is refused with the form that is expected") {
  const std::string_view url = GENERATE(
      as<std::string_view>{}, "", "redis", "redis:", "redis:/host", "http://host", "redis://", "redis:///1",
      "redis://:6379", "redis://u:p@", "redis://user@host", "redis://host:", "redis://host:0", "redis://host:65536",
      "redis://host:-1", "redis://host:+1", "redis://host:63 79", "redis://host:x", "redis://::1:6379", "redis://[::1",
      "redis://[::1]6379", "redis://[]", "redis://[::1]:", "redis://host/x", "redis://host/-1", "redis://host/1/2",
      "redis://host/1?a=b", "redis://host?a", "redis://host#a", "redis://ho st", "redis://host\n", "redis://u:%4@host",
      "redis://u:%zz@host", "redis://u:%@host", "redis://u:%-1@host", "redis://%g0:p@host");
  INFO(url);
  const std::string sentence = refusal(url);
  CHECK(sentence.find("redis://[user:password@]host[:port][/db]") != std::string::npos);
}

TEST_CASE("a delimiter in a password is refused with the way to write it, and a path or a query is not taken for one") {
  const auto refusal = [](std::string_view url) {
    try {
      static_cast<void>(parse_redis_url(url));
      return std::string{};
    } catch (const std::system_error& error) {
      return std::string{error.what()};
    }
  };
  for (const std::string_view url : {"redis://u:s3c/ret@host", "redis://u:s3c#ret@host:1", "redis://:s3c?ret@host"}) {
    INFO(url);
    CHECK(refusal(url).find("percent-encoded (%2F, %3F, %23)") != std::string::npos);
    CHECK(refusal(url).find("s3c") == std::string::npos);
  }
  CHECK(refusal("redis://u:p@host/db").find("percent-encoded (") == std::string::npos);
  CHECK(refusal("redis://u:p%2F@host/1").empty());
}

TEST_CASE("TLS by URL is refused with the way to have it") {
  CHECK(refusal("rediss://host").find("RedisConnector") != std::string::npos);
}

TEST_CASE("no refusal shows the password") {
  const std::string_view url =
      GENERATE(as<std::string_view>{}, "redis://alice:hunter2@", "redis://alice:hunter2@host:x",
               "redis://alice:hunter2@host/x", "redis://alice:hunter2%@host", "rediss://alice:hunter2@host",
               "http://alice:hunter2@host", "redis://alice:hunter2@ho st", "redis://hunter2@host");
  const std::string sentence = refusal(url);
  CHECK_FALSE(sentence.empty());
  CHECK(sentence.find("hunter2") == std::string::npos);
}
