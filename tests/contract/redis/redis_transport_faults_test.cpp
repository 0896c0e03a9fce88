// What is particular to RedisTransport when its server throws it out, takes a permission away, or is no primary.
#include <hiredis/hiredis.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <syncbus/transport/redis/redis_transport.hpp>

#include "contract/fixtures/thrown_by.hpp"
#include "contract/redis/redis_node.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/fake_names.hpp"
#include "support/redis_server.hpp"
#include "support/tcp_proxy.hpp"

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

// --- primaries and replicas

namespace {

void follow(const RedisServer& replica, const RedisServer& primary) {
  replica.command({"REPLICAOF", "127.0.0.1", std::to_string(primary.port())});
}
void promote(const RedisServer& replica) { replica.command({"REPLICAOF", "NO", "ONE"}); }

bool told(const Recorder& recorder, const std::string& what) {
  const auto problems = recorder.problems();
  return std::any_of(problems.begin(), problems.end(),
                     [&](const auto& problem) { return problem.sentence.find(what) != std::string::npos; });
}

/// May do what the README says is needed, and no more.
std::string least_user(const RedisServer& server) {
  server.command({"ACL", "SETUSER", "least", "reset", "on", ">p", "+publish", "+subscribe", "+ping", "&*"});
  return "redis://least:p@127.0.0.1:" + std::to_string(server.port());
}

/// Goes where the test says, when it is thrown out.
struct Follower {
  explicit Follower(const RedisServer& first)
      : port{first.port()}, node{[this] { return redisConnect("127.0.0.1", port); }, 1} {}

  void move(const RedisServer& from, const RedisServer& to) {
    const std::uint64_t session = node.recorder.session();
    port = to.port();
    from.command({"CLIENT", "KILL", "TYPE", "pubsub"});
    REQUIRE(node.comes_back(session + 1));
  }

  std::atomic<int> port;
  RedisNode node;
};

}  // namespace

TEST_CASE("a replica is no server for a node, whatever its user may ask", "[redis]") {
  const RedisServer primary, replica;
  follow(replica, primary);
  const std::string url = GENERATE(true, false) ? least_user(replica) : replica.url();
  std::string sentence;
  CHECK(thrown_by([&] { RedisNode{url, 1}; }, &sentence) == Errc::not_connected);
  CHECK(sentence.find("replica") != std::string::npos);
  promote(replica);
  RedisNode{url, 1};
}

TEST_CASE("a server that becomes a replica is left within the peer timeout, though it keeps its connections", "[redis]") {
  const RedisServer primary, server;
  const bool least = GENERATE(true, false);
  RedisNode a{least ? least_user(server) : server.url(), 1};
  const auto begin = std::chrono::steady_clock::now();
  follow(server, primary);
  REQUIRE(a.will_be_interrupted());
  CHECK(std::chrono::steady_clock::now() - begin < 5s);  // of which a busy machine may need most
  REQUIRE(eventually([&] { return told(a.recorder, "replica"); }));
  promote(server);
  REQUIRE(a.comes_back());
  CHECK(a.works());
  CHECK(a.recorder.moves() == (least ? 0 : 1));  // others may have been on the primary meanwhile
  CHECK(a.recorder.in_order());
}

TEST_CASE("a node that goes to a server which was there before has moved, and one whose server restarts has not",
          "[redis]") {
  RedisServer first;
  const RedisServer second;
  Follower a{first};
  SECTION("another server") {
    REQUIRE(eventually([&] { return std::stoi(second.info("server", "uptime_in_seconds")) >= 2; }));
    a.move(first, first);  // heard of since then
    a.move(first, second);
    CHECK(a.node.recorder.moves() == 1);
    a.move(second, second);
    CHECK(a.node.recorder.moves() == 1);
  }
  SECTION("thrown out") {
    a.move(first, first);
    CHECK(a.node.recorder.moves() == 0);
  }
  SECTION("started again") {
    for (std::uint64_t session = 2; session != 5; ++session) {
      first.restart();
      REQUIRE(a.node.comes_back(session));
    }
    CHECK(a.node.recorder.moves() == 0);
  }
  CHECK(a.node.works());
}

TEST_CASE("of a server that tells nothing of itself a person is told, and its address tells of a move", "[redis]") {
  const std::vector<std::string> silent{"--rename-command", "HELLO", "", "--rename-command", "ROLE", ""};
  const RedisServer first{silent}, second{silent};
  std::atomic<int> port = first.port();
  const auto log_in = [&] {
    redisContext* const context = redisConnect("127.0.0.1", port);
    freeReplyObject(redisCommand(context, "AUTH least p"));
    return context;
  };
  static_cast<void>(least_user(first));
  static_cast<void>(least_user(second));
  RedisNode a{log_in, 1};
  REQUIRE(eventually([&] { return told(a.recorder, "+info"); }));
  CHECK(a.works());
  first.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  REQUIRE(a.comes_back(2));
  CHECK(a.recorder.moves() == 0);
  port = second.port();
  first.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  REQUIRE(a.comes_back(3));
  CHECK(a.recorder.moves() == 1);
}

// --- what is no answer

TEST_CASE("a user who may begin a transaction and not end it publishes outside of one", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "eve", "reset", "on", ">p", "+publish", "+subscribe", "+ping", "+multi", "&*"});
  RedisNode a{"redis://eve:p@127.0.0.1:" + std::to_string(server.port()), 1}, b{server.url(), 2};
  a.broadcast("heard", 1);
  CHECK(a.recorder.will_confirm({1, 1}));
  CHECK(b.recorder.will_hear("heard"));
}

TEST_CASE("what is queued in a transaction is not confirmed, and ends the session with a sentence", "[redis]") {
  const RedisServer server;
  redisContext* publishing = nullptr;
  int calls = 0;
  RedisNode a{[&] {
                redisContext* const context = redisConnect("127.0.0.1", server.port());
                if (++calls == 1) publishing = context;
                return context;
              },
              1};
  const std::string multi = "*1\r\n$5\r\nMULTI\r\n";
  REQUIRE(::send(publishing->fd, multi.data(), multi.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(multi.size()));
  a.broadcast("queued", 1);
  REQUIRE(a.will_be_interrupted());
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  CHECK(eventually([&] { return !a.recorder.problems().empty(); }));
  REQUIRE(a.comes_back());
  CHECK(a.works());
}

// --- idle connections, names, connectors

TEST_CASE("a connection says something every second, so that no server takes it for an idle one", "[redis]") {
  const RedisServer server;
  auto settings = settings_of(1);
  settings.peer_timeout = 4 * support::patience;  // which asks for a sign of life a quarter of it
  settings.connect_timeout = 20s;
  RedisNode a{server.url(), settings};
  // A machine that stalls may show either idle for some seconds.
  CHECK(eventually([&] { return server.lively_connections(3) == 2; }, 9s));
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a server that is far away is greeted in few round trips, and is reached again", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "far", "reset", "on", ">p", "+@all", "&*"});
  support::TcpProxy proxy{server.port()};
  proxy.set({.delay = 45ms});
  RedisNode a{"redis://far:p@127.0.0.1:" + std::to_string(proxy.port()) + "/1", 1};
  CHECK(proxy.turns() <= 4);  // one of them may be of the session
  server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  REQUIRE(a.comes_back());
  CHECK(a.works());
}

TEST_CASE("a name server that does not answer keeps neither open nor close beyond its time", "[redis]") {
  RedisServer server;
  support::FakeName name{"redis.test", {"127.0.0.1"}};
  const std::string url = "redis://redis.test:" + std::to_string(server.port());
  auto settings = settings_of(1);
  settings.connect_timeout = 100ms;
  name.hold();
  std::string sentence;
  auto begin = std::chrono::steady_clock::now();
  CHECK(thrown_by([&] { RedisNode{url, settings}; }, &sentence) == Errc::not_connected);
  CHECK(sentence.find("redis.test") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  name.hold(false);

  RedisNode a{url, 1};
  name.hold();
  server.kill();
  REQUIRE(a.will_be_interrupted());
  REQUIRE(eventually([&] { return name.waiting() == 1; }));
  begin = std::chrono::steady_clock::now();
  a.transport->close();
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
}

TEST_CASE("of the addresses of a name the one is found where the server listens", "[redis]") {
  const bool ipv6 = GENERATE(true, false);
  const RedisServer server{ipv6 ? std::vector<std::string>{"--bind", "127.0.0.1", "::1"} : std::vector<std::string>{}};
  const support::FakeName name{"redis.test", ipv6 ? std::vector<std::string>{"127.0.0.2", "::1"}
                                                  : std::vector<std::string>{"::1", "127.0.0.2", "127.0.0.1"}};
  RedisNode a{"redis://redis.test:" + std::to_string(server.port()), 1};
  CHECK(a.works());
}

TEST_CASE("a connector that takes longer than the first attempts after an interruption is given more time", "[redis]") {
  RedisServer server;
  const auto connector = [port = server.port()] {
    std::this_thread::sleep_for(100ms);  // as long as its servers need
    return redisConnect("127.0.0.1", port);
  };
  auto settings = settings_of(1);
  settings.connect_timeout = 20s;
  TransportNode a{transport_of<RedisTransport>(connector, "channel", syncbus::RedisTuning{.min_backoff = 5ms,
                                                                                         .max_backoff = 5ms,
                                                                                         .attempt_timeout = 50ms}),
                  settings};
  server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  REQUIRE(a.comes_back());
  CHECK(a.works());
}

TEST_CASE("a connector that does not return in time is told of, called once at a time, and left behind", "[redis]") {
  RedisServer server;
  struct State {
    std::atomic<bool> slow = true;
    std::atomic<int> running = 0, most = 0;
  };
  const auto state = std::make_shared<State>();
  const auto connector = [state, port = server.port()] {
    const int running = ++state->running;
    state->most = (std::max)(state->most.load(), running);
    state->slow.wait(true);
    --state->running;
    return redisConnect("127.0.0.1", port);
  };
  auto settings = settings_of(1);
  settings.connect_timeout = 50ms;
  std::string sentence;
  const auto begin = std::chrono::steady_clock::now();
  CHECK(thrown_by([&] { TransportNode{transport_of<RedisTransport>(connector, "channel", quick), settings}; },
                  &sentence) == Errc::not_connected);
  CHECK(sentence.find("connect_timeout") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);

  state->slow = false;
  state->slow.notify_all();
  REQUIRE(eventually([&] { return state->running == 0; }));
  settings.connect_timeout = 20s;
  TransportNode a{transport_of<RedisTransport>(connector, "channel", syncbus::RedisTuning{.min_backoff = 5ms,
                                                                                         .max_backoff = 5ms,
                                                                                         .attempt_timeout = 50ms}),
                  settings};
  state->slow = true;
  server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  REQUIRE(eventually([&] { return told(a.recorder, "did not return"); }));
  state->slow = false;
  state->slow.notify_all();
  REQUIRE(a.comes_back());
  CHECK(a.works());
  CHECK(state->most == 1);
}

TEST_CASE("a connector that returns the same connection twice is refused", "[redis]") {
  const RedisServer server;
  std::string sentence;
  const auto refuses = [&](const syncbus::RedisConnector& connector) {
    sentence.clear();
    return thrown_by([&] { RedisNode{connector, 1}; }, &sentence) == Errc::not_connected &&
           sentence.find("twice") != std::string::npos;
  };
  redisContext* const one = redisConnect("127.0.0.1", server.port());
  CHECK(refuses([one] { return one; }));
  const int fd = ::dup(std::unique_ptr<redisContext, void (*)(redisContext*)>{
      redisConnect("127.0.0.1", server.port()), redisFree}->fd);
  CHECK(refuses([fd] { return redisConnectFd(fd); }));
}

TEST_CASE("two connections that reach two servers are refused with a sentence", "[redis]") {
  const RedisServer first, second;
  int calls = 0;
  std::string sentence;
  CHECK(thrown_by([&] { RedisNode{[&] { return redisConnect("127.0.0.1", ++calls % 2 == 1 ? first.port() : second.port()); },
                                  1}; },
                  &sentence) == Errc::not_connected);
  CHECK(sentence.find("two Redis servers") != std::string::npos);
}
