// What is particular to RedisTransport when its server throws it out or takes a permission away.
#include <hiredis/hiredis.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include <syncbus/transport/redis_transport.hpp>

#include "contract/redis_node.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::RedisServer;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::RedisTransport;

namespace {

/// Its I/O thread can be held in a sink call, so that what happens meanwhile is found at once afterwards.
struct HeldNode {
  explicit HeldNode(const std::string& url) : transport{transport_of<RedisTransport>(url, "channel", quick)} {
    transport->open(sink, settings_of(1));
  }
  ~HeldNode() { sink.release(); }

  void hold(const RedisServer& server) {
    sink.held = true;
    server.command({"PUBLISH", "channel", "hold"});
    REQUIRE(sink.will_hear("hold"));
  }

  HeldRecorder sink;
  std::unique_ptr<AnyTransport> transport;
};

}  // namespace

TEST_CASE("an idle connection lives as long as its server answers, and be it that it may not ping", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "least", "reset", "on", ">p", "+publish", "+subscribe", "&*"});
  auto settings = settings_of(1);
  settings.peer_timeout = 4s;
  RedisNode a{server.url(), settings}, b{"redis://least:p@127.0.0.1:" + std::to_string(server.port()), settings};
  std::this_thread::sleep_for(5s);  // the only way to see that nothing happens
  CHECK(a.recorder.interruptions() == 0);
  CHECK(b.recorder.interruptions() == 0);
  CHECK(b.recorder.problems().empty());
  CHECK(a.works());
  CHECK(b.works());
}

TEST_CASE("either connection thrown out is one interruption of both", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  const std::string kind = GENERATE(as<std::string>{}, "pubsub", "normal");
  // The connection that sends the command is a normal one too: SKIPME spares it.
  CHECK(server.command({"CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"}) == 1);
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.works());
  CHECK(a.recorder.interruptions() == 1);
  CHECK(a.recorder.in_order());
}

TEST_CASE("frames that had arrived before the publish connection broke are still delivered", "[redis]") {
  const RedisServer server;
  HeldNode a{server.url()};
  a.hold(server);
  server.command({"EVAL", "for i = 1, 20 do redis.call('PUBLISH', 'channel', string.rep('x', 1000)) end", "0"});
  server.command({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
  a.sink.release();
  REQUIRE(a.sink.will_be_ready(2));
  CHECK(a.sink.frame_count() == 21);
}

TEST_CASE("a write to a server that has died raises no SIGPIPE", "[redis]") {
  RedisServer server;
  HeldNode a{server.url()};
  a.hold(server);
  server.kill();
  for (std::uint64_t i = 1; i <= 5; ++i)
    a.transport->broadcast(bytes_of("x"), {1, i});  // the I/O thread knows nothing yet
  a.sink.release();
  CHECK(eventually([&] { return a.sink.interruptions() == 1; }));
}

TEST_CASE("what is accepted after a refused broadcast is not confirmed", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "eve", "reset", "on", ">p", "+@all", "&*"});
  HeldNode a{"redis://eve:p@127.0.0.1:" + std::to_string(server.port())};
  a.hold(server);
  server.command({"ACL", "SETUSER", "eve", "-publish"});
  a.transport->broadcast(bytes_of("refused"), {1, 1});
  server.command({"ACL", "SETUSER", "eve", "+publish"});
  a.transport->broadcast(bytes_of("accepted"), {1, 2});
  REQUIRE(server.command({"PUBLISH", "channel", "mark"}) == 1);
  a.sink.release();
  REQUIRE(a.sink.will_be_ready(2));
  CHECK(a.sink.heard("accepted"));
  CHECK_FALSE(a.sink.heard("refused"));
  CHECK(a.sink.confirmed() == BroadcastToken{});
}

TEST_CASE("a permission revoked is a problem with its code, and the session goes on once it is back", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "eve", "reset", "on", ">p", "+@all", "&*"});
  RedisNode a{"redis://eve:p@127.0.0.1:" + std::to_string(server.port()), 1};
  server.command({"ACL", "SETUSER", "eve", "-publish"});
  a.broadcast("refused", 1);
  a.broadcast("refused too", 2);
  REQUIRE(a.will_be_interrupted());
  REQUIRE(eventually([&] {
    const auto problems = a.recorder.problems();
    return std::any_of(problems.begin(), problems.end(), [](const auto& problem) {
      return problem.code == Errc::permission_denied && problem.sentence.find("NOPERM") != std::string::npos &&
             problem.sentence.find('\n') == std::string::npos;
    });
  }));
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  server.command({"ACL", "SETUSER", "eve", "+publish"});
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.works());
}

TEST_CASE("a refused directed frame is a problem and no interruption", "[redis]") {
  const RedisServer server;
  server.command(
      {"ACL", "SETUSER", "eve", "reset", "on", ">p", "+@all", "&channel", "&channel.direct.0000000000000001"});
  RedisNode a{"redis://eve:p@127.0.0.1:" + std::to_string(server.port()), 1};
  a.transport->send({2}, bytes_of("refused"));
  REQUIRE(eventually([&] { return !a.recorder.problems().empty(); }));
  CHECK(a.recorder.problems().front().code == Errc::permission_denied);
  CHECK(a.works());
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a server that dies under load raises no SIGPIPE in any thread", "[redis]") {
  const auto before = std::signal(SIGPIPE, SIG_DFL);  // one would end this program; cnats has it ignored, or who ran us
  RedisServer server;
  RedisNode a{server.url(), 1};
  const std::string frame(32'000, 'x');
  std::jthread publisher{[&](const std::stop_token& stop) {
    for (std::uint64_t i = 1; !stop.stop_requested(); ++i) {
      const BroadcastToken token = a.broadcast(frame, i);
      const auto is_open = [&] { return a.recorder.ready() && a.recorder.session() == token.session; };
      while (!stop.stop_requested() && is_open() && a.recorder.confirmed() < token) std::this_thread::yield();
    }
  }};
  bool came_back = true;
  for (std::uint64_t session = 1; session <= 5; ++session) {
    came_back = came_back && eventually([&] { return a.recorder.confirmed().session == session; });
    server.restart();
    came_back = came_back && a.recorder.will_be_ready(session + 1);
  }
  publisher.request_stop();
  publisher.join();
  std::signal(SIGPIPE, before);
  CHECK(came_back);
}

TEST_CASE("the connector is called again for each session", "[redis]") {
  RedisServer server;
  std::atomic<int> calls = 0;
  RedisNode a{[&] {
                ++calls;
                return redisConnect("127.0.0.1", server.port());
              },
              1};
  CHECK(calls == 2);
  server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(calls >= 4);  // an attempt may fail
  CHECK(a.works());
}
