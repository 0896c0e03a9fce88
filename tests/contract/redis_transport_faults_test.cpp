// RedisTransport alone while its server dies, stops, comes back, or throws it out.
#include <hiredis/hiredis.h>

#include <csignal>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <syncbus/transport/redis_transport.hpp>

#include "contract/recorder.hpp"
#include "contract/redis_node.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::RedisServer;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::RedisTransport;

namespace {

auto now() { return std::chrono::steady_clock::now(); }

bool will_be_interrupted(const RedisNode& node, int times = 1) {
  return eventually([&] { return node.recorder.interruptions() == times; });
}

/// The node hears what it and others say, in its current session.
bool works(RedisNode& node, const RedisServer& server) {
  const std::string text = "session " + std::to_string(node.recorder.session());
  const bool confirmed = node.recorder.will_confirm(node.broadcast(text, 1'000'000));
  server.command({"PUBLISH", "channel.direct.0000000000000001", "directed in " + text});
  return confirmed && node.recorder.will_hear(text) && node.recorder.will_hear("directed in " + text);
}

/// Its I/O thread can be held in a sink call, so that what happens meanwhile is found at once afterwards.
struct HeldNode {
  struct Sink : Recorder {
    void on_frame(syncbus::Bytes bytes) noexcept override {
      Recorder::on_frame(bytes);
      held.wait(true);
    }
    void release() noexcept {
      held = false;
      held.notify_all();
    }
    std::atomic<bool> held = false;
  };

  explicit HeldNode(const std::string& url) : transport{url, "channel", quick} { transport.open(sink, settings_of(1)); }
  ~HeldNode() { sink.release(); }

  void hold(const RedisServer& server) {
    sink.held = true;
    server.command({"PUBLISH", "channel", "hold"});
    REQUIRE(sink.will_hear("hold"));
  }

  Sink sink;
  RedisTransport transport;
};

}  // namespace

TEST_CASE("a killed and restarted server means an interruption and then a new session that works", "[redis]") {
  RedisServer server;
  RedisNode a{server.url(), 1};
  a.broadcast("before", 1);
  REQUIRE(a.recorder.will_hear("before"));
  for (int round = 1; round <= 3; ++round) {
    server.kill();
    REQUIRE(will_be_interrupted(a, round));
    a.broadcast("nobody is there", 2);
    server.start();
    REQUIRE(a.recorder.will_be_ready(static_cast<std::uint64_t>(round) + 1));
    a.transport.broadcast(bytes_of("of an old session"), {static_cast<std::uint64_t>(round), 3});
    REQUIRE(works(a, server));
  }
  CHECK_FALSE(a.recorder.heard("nobody is there"));
  CHECK_FALSE(a.recorder.heard("of an old session"));
  CHECK(a.recorder.in_order());
  CHECK_FALSE(a.recorder.problems().empty());
}

TEST_CASE("what was not confirmed when the server died is not sent again by the transport", "[redis]") {
  RedisServer server;
  RedisNode a{server.url(), 1};
  server.stop();
  for (std::uint64_t i = 1; i <= 20; ++i) a.broadcast(std::string(300'000, 'x'), i);
  server.restart();
  REQUIRE(a.recorder.will_be_ready(2));
  REQUIRE(works(a, server));
  CHECK(a.recorder.frame_count() == 2);
  CHECK(a.recorder.in_order());
}

TEST_CASE("a stopped server is noticed within the peer timeout", "[redis]") {
  RedisServer server;
  auto settings = settings_of(1);
  settings.peer_timeout = 400ms;
  const bool busy = GENERATE(false, true);
  settings.publish_only = GENERATE(false, true);
  RedisNode a{server.url(), settings};
  const auto begin = now();
  server.stop();
  if (busy) a.broadcast("unanswered", 1);
  REQUIRE(will_be_interrupted(a));
  CHECK(now() - begin >= 200ms);
  CHECK(now() - begin < 400ms + 5s);  // and what a busy machine adds
  server.resume();
  CHECK(a.recorder.will_be_ready(2));
}

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
  CHECK(works(a, server));
  CHECK(works(b, server));
}

TEST_CASE("either connection thrown out is one interruption of both", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  const std::string kind = GENERATE(as<std::string>{}, "pubsub", "normal");
  // The connection that sends the command is a normal one too: SKIPME spares it.
  CHECK(server.command({"CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"}) == 1);
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(works(a, server));
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
    a.transport.broadcast(bytes_of("x"), {1, i});  // the I/O thread knows nothing yet
  a.sink.release();
  CHECK(eventually([&] { return a.sink.interruptions() == 1; }));
}

TEST_CASE("what is accepted after a refused broadcast is not confirmed", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "eve", "reset", "on", ">p", "+@all", "&*"});
  HeldNode a{"redis://eve:p@127.0.0.1:" + std::to_string(server.port())};
  a.hold(server);
  server.command({"ACL", "SETUSER", "eve", "-publish"});
  a.transport.broadcast(bytes_of("refused"), {1, 1});
  server.command({"ACL", "SETUSER", "eve", "+publish"});
  a.transport.broadcast(bytes_of("accepted"), {1, 2});
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
  REQUIRE(will_be_interrupted(a));
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
  CHECK(works(a, server));
}

TEST_CASE("a refused directed frame is a problem and no interruption", "[redis]") {
  const RedisServer server;
  server.command(
      {"ACL", "SETUSER", "eve", "reset", "on", ">p", "+@all", "&channel", "&channel.direct.0000000000000001"});
  RedisNode a{"redis://eve:p@127.0.0.1:" + std::to_string(server.port()), 1};
  a.transport.send({2}, bytes_of("refused"));
  REQUIRE(eventually([&] { return !a.recorder.problems().empty(); }));
  CHECK(a.recorder.problems().front().code == Errc::permission_denied);
  CHECK(works(a, server));
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("problems that repeat are told once in a while only", "[redis]") {
  RedisServer server;
  std::atomic<int> attempts = 0;
  RedisNode a{[&] {
                ++attempts;
                return redisConnect("127.0.0.1", server.port());
              },
              1};
  const auto begin = now();
  server.kill();
  REQUIRE(will_be_interrupted(a));
  attempts = 0;
  REQUIRE(eventually([&] { return attempts >= 20; }));
  const std::size_t told = a.recorder.problems().size();
  CHECK(told >= 2);  // that it died, and that nobody is there
  CHECK(told <= 4 + static_cast<std::size_t>((now() - begin) / 1s));
}

TEST_CASE("close returns soon while the transport reconnects", "[redis]") {
  RedisServer server;
  RedisNode a{server.url(), 1};
  SECTION("to a port that refuses, in a long pause between attempts") {
    RedisTransport patient{server.url(), "channel", {.min_backoff = 1min, .max_backoff = 1min}};
    Recorder recorder;
    patient.open(recorder, settings_of(2));
    server.kill();
    REQUIRE(eventually([&] { return recorder.interruptions() == 1; }));
    const auto begin = now();
    patient.close();
    CHECK(now() - begin < 5s);
    CHECK_FALSE(recorder.ready());
  }
  SECTION("to a server that accepts and says nothing") {
    server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
    server.stop();
    REQUIRE(will_be_interrupted(a));
    const auto begin = now();
    a.transport.close();
    CHECK(now() - begin < 5s);
    server.resume();
  }
  CHECK(a.recorder.in_order());
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
  CHECK(works(a, server));
}

TEST_CASE("a server that dies under load raises no SIGPIPE in any thread", "[redis]") {
  struct sigaction action {};
  ::sigaction(SIGPIPE, nullptr, &action);
  REQUIRE(action.sa_handler == SIG_DFL);  // a SIGPIPE would end this program
  RedisServer server;
  RedisNode a{server.url(), 1};
  std::atomic<bool> stop = false;
  const std::string frame(32'000, 'x');
  std::thread publisher{[&] {
    for (std::uint64_t i = 1; !stop; ++i) {
      const BroadcastToken token = a.broadcast(frame, i);
      a.transport.send({1}, bytes_of("x"));
      while (!stop && a.recorder.ready() && a.recorder.session() == token.session && a.recorder.confirmed() < token) {
        std::this_thread::yield();
      }
    }
  }};
  bool came_back = true;
  for (std::uint64_t session = 1; session <= 5; ++session) {
    came_back = came_back && eventually([&] { return a.recorder.confirmed().session == session; });
    server.restart();
    came_back = came_back && a.recorder.will_be_ready(session + 1);
  }
  stop = true;
  publisher.join();
  CHECK(came_back);
  CHECK(a.recorder.in_order());
}
