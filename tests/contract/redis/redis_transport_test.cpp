// What is particular to RedisTransport on a real server that behaves: limits, users, connectors. See
// transport_test.cpp.
#include <hiredis/hiredis.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <syncbus/transport/redis/redis_transport.hpp>

#include "contract/fixtures/thrown_by.hpp"
#include "contract/redis/redis_node.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/process_limits.hpp"
#include "support/redis_server.hpp"
#include "support/tcp_proxy.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::RedisServer;
using syncbus::Errc;

namespace {

std::error_code refusal(const std::string& url, std::string& sentence, const std::string& channel = "channel") {
  return thrown_by([&] { RedisNode{url, settings_of(1), channel}; }, &sentence);
}

std::string url_of(const RedisServer& server, const std::string& user) {
  return "redis://" + user + "@127.0.0.1:" + std::to_string(server.port());
}

}  // namespace

TEST_CASE("the rest of one frame beyond the socket's buffers follows by itself", "[redis]") {
  const RedisServer server;
  auto settings = settings_of(1);
  settings.peer_timeout = 10min;  // no ping wakes the I/O thread meanwhile
  RedisNode a{server.url(), settings};
  const std::string frame(a.recorder.max_frame_bytes(), 'x');
  a.broadcast(frame, 1);
  CHECK(a.recorder.will_confirm({1, 1}));
  CHECK(a.recorder.will_hear(frame));
}

TEST_CASE("an answer that the server writes after the message itself is heard soon", "[redis]") {
  const RedisServer server;
  auto settings = settings_of(1);
  settings.peer_timeout = 10min;  // no ping wakes the I/O thread meanwhile
  RedisNode a{server.url(), settings}, b{server.url(), 2};
  for (std::uint64_t frame = 1; frame <= 200; ++frame) {
    // Of two commands that it reads at once the server writes the answers together, behind the message of the second.
    a.send(2, "directed");
    REQUIRE(a.recorder.will_confirm(a.broadcast("x", frame)));
  }
}

TEST_CASE("an answer is heard soon where the message itself does not come back", "[redis]") {
  const RedisServer server;
  support::TcpProxy proxy{server.port()};
  int connections = 0;
  auto settings = settings_of(1);
  settings.peer_timeout = 10min;                   // no ping wakes the I/O thread meanwhile
  const syncbus::RedisConnector connector = [&] {  // the second one subscribes
    return redisConnect("127.0.0.1", ++connections % 2 == 1 ? server.port() : proxy.port());
  };
  TransportNode a{transport_of<syncbus::RedisTransport>(connector, "channel", quick), settings};
  proxy.set({.stalled = true});
  for (std::uint64_t frame = 1; frame <= 20; ++frame) REQUIRE(a.recorder.will_confirm(a.broadcast("x", frame)));
  CHECK(a.recorder.frame_count() == 0);
  proxy.set({});
  CHECK(eventually([&] { return a.recorder.frame_count() == 20; }));
}

TEST_CASE("a message above the frame limit is counted as an empty frame, and the next one is heard", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  server.command({"PUBLISH", "channel", std::string(9'000'000, 'x')});
  a.broadcast("after", 1);
  CHECK(a.recorder.will_hear("after"));
  CHECK(a.recorder.frames() == std::vector<std::string>{"", "after"});
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a publish-only node subscribes to nothing", "[redis]") {
  const RedisServer server;
  auto settings = settings_of(1);
  settings.publish_only = true;
  const RedisNode a{server.url(), settings}, b{server.url(), 2};
  CHECK(server.command({"PUBLISH", "channel", "one receiver"}) == 1);
}

TEST_CASE("nothing listening and an unknown host are not_connected, in a sentence with the address", "[redis]") {
  std::string sentence;
  CHECK(refusal("redis://127.0.0.1:1", sentence) == Errc::not_connected);
  CHECK(sentence.find("127.0.0.1:1") != std::string::npos);
  CHECK(refusal("redis://no-such-host.invalid", sentence) == Errc::not_connected);
  CHECK(sentence.find("no-such-host.invalid") != std::string::npos);
}

TEST_CASE("a server that accepts and says nothing is not_connected at the deadline", "[redis]") {
  RedisServer server;
  server.stop();
  auto settings = settings_of(1);
  settings.connect_timeout = 200ms;
  const auto begin = std::chrono::steady_clock::now();
  CHECK(thrown_by([&] { RedisNode{server.url(), settings}; }) == Errc::not_connected);
  CHECK(std::chrono::steady_clock::now() - begin >= 200ms);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  server.resume();
}

TEST_CASE("a missing or wrong password is permission_denied, and never shown", "[redis]") {
  const RedisServer server{{"--requirepass", "s3cret"}};
  std::string sentence;
  CHECK(refusal(server.url(), sentence) == Errc::permission_denied);
  CHECK(sentence.find("password") != std::string::npos);
  CHECK(refusal(url_of(server, ":wr0ng"), sentence) == Errc::permission_denied);
  CHECK(sentence.find("wr0ng") == std::string::npos);
  CHECK_FALSE(refusal(url_of(server, ":s3cret"), sentence));
}

TEST_CASE("a user who may not subscribe or publish is told which grant is missing", "[redis]") {
  const RedisServer server;
  const auto user = [&](std::vector<std::string> grants) {
    std::vector<std::string> words{"ACL", "SETUSER", "eve", "reset", "on", ">p"};
    words.insert(words.end(), grants.begin(), grants.end());
    server.command(words);
    return url_of(server, "eve:p");
  };
  std::string sentence;
  const auto told = [&](std::string_view what) { return sentence.find(what) != std::string::npos; };

  CHECK(refusal(user({"+@all"}), sentence) == Errc::permission_denied);
  CHECK(told("ACL SETUSER eve &channel &channel.direct.* +subscribe +publish"));
  CHECK(refusal(user({"+@all", "&channel"}), sentence) == Errc::permission_denied);
  CHECK(told("may not publish to the nodes' own channels 'channel.direct.*'"));
  CHECK(refusal(user({"+publish", "+subscribe", "&channel"}), sentence) == Errc::permission_denied);
  CHECK(told("may not publish to the nodes' own channels 'channel.direct.*'"));
  CHECK(refusal(user({"+publish", "+subscribe", "&channel.direct.*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not subscribe to channel 'channel'"));
  CHECK(refusal(user({"+@all", "&channel.direct.*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not publish to channel 'channel'"));
  CHECK(refusal(user({"+@all", "-publish", "&*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not publish"));
  CHECK(refusal(user({"+subscribe", "&*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not publish"));
  CHECK(refusal(user({"+publish", "&*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not subscribe"));
  CHECK_FALSE(refusal(user({"+publish", "+subscribe", "&channel", "&channel.direct.*"}), sentence));
}

TEST_CASE("a connector's failure is not_connected with its reason", "[redis]") {
  std::string sentence;
  CHECK(thrown_by([] { RedisNode{[]() -> redisContext* { return nullptr; }, 1}; }, &sentence) == Errc::not_connected);
  CHECK(thrown_by([] { RedisNode{[] { return redisConnect("127.0.0.1", 1); }, 1}; }, &sentence) == Errc::not_connected);
  CHECK(sentence.find("refused") != std::string::npos);
  CHECK(thrown_by(
            [] {
              RedisNode{[]() -> redisContext* { throw std::runtime_error{"no token"}; }, 1};
            },
            &sentence) == Errc::not_connected);
  CHECK(sentence.find("no token") != std::string::npos);
  CHECK(thrown_by([] { RedisNode{syncbus::RedisConnector{}, 1}; }) == Errc::invalid_argument);
}

TEST_CASE("an attempt that fails leaves no descriptor and no thread behind", "[redis]") {
  const RedisServer server;
  { RedisNode warm{server.url(), 1}; }
  const support::ProcessLimits limits;
  for (int i = 0; i != 20; ++i) {
    CHECK(thrown_by([] { RedisNode{"redis://127.0.0.1:1", 1}; }) == Errc::not_connected);
    CHECK(thrown_by([&] { RedisNode{url_of(server, "nobody:p"), 1}; }) == Errc::permission_denied);
  }
  CHECK(limits.hold());
}
