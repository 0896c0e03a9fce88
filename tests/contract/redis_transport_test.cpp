// RedisTransport alone on a real server that behaves: what it carries, confirms, refuses, and leaves behind.
#include <hiredis/hiredis.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/transport/redis_transport.hpp>

#include "contract/recorder.hpp"
#include "contract/redis_node.hpp"
#include "contract/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/process_limits.hpp"
#include "support/redis_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::RedisServer;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::NodeId, syncbus::RedisTransport;

namespace {

std::error_code refusal(const std::string& url, std::string& sentence, const std::string& channel = "channel") {
  return thrown_by([&] { RedisNode{url, settings_of(1), channel}; }, &sentence);
}

std::string url_of(const RedisServer& server, const std::string& user) {
  return "redis://" + user + "@127.0.0.1:" + std::to_string(server.port());
}

}  // namespace

TEST_CASE("a broadcast reaches every node, the sender too, and is confirmed", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1}, b{server.url(), 2};
  CHECK(a.recorder.session() == 1);
  CHECK(a.recorder.max_frame_bytes() >= 1'000'000);
  const std::string frame("any\0bytes\r\n$", 12);
  const BroadcastToken token = a.broadcast(frame, 1);
  CHECK(a.recorder.will_hear(frame));
  CHECK(b.recorder.will_hear(frame));
  CHECK(a.recorder.will_confirm(token));
  CHECK(b.recorder.confirmed() == BroadcastToken{});
  CHECK(a.recorder.in_order());
  CHECK(a.recorder.problems().empty());
}

TEST_CASE("a directed frame reaches its node only", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1}, b{server.url(), 0xfedcba9876543210}, c{server.url(), 3};
  a.transport.send(NodeId{0xfedcba9876543210}, bytes_of("for b"));
  a.transport.send(NodeId{1}, bytes_of("for a"));
  a.broadcast("for all", 1);
  CHECK(b.recorder.will_hear("for all"));
  CHECK(c.recorder.will_hear("for all"));
  CHECK(a.recorder.will_hear("for all"));
  CHECK(b.recorder.frames() == std::vector<std::string>{"for b", "for all"});
  CHECK(c.recorder.frames() == std::vector<std::string>{"for all"});
  CHECK(a.recorder.frames() == std::vector<std::string>{"for a", "for all"});
}

TEST_CASE("frames arrive in the order of their broadcasts", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1}, b{server.url(), 2};
  std::vector<std::string> sent;
  for (std::uint64_t i = 1; i <= 5'000; ++i) {
    sent.push_back(std::to_string(i) + std::string(i % 700, '.'));
    a.broadcast(sent.back(), i);
  }
  CHECK(a.recorder.will_confirm({1, 5'000}));
  CHECK(eventually([&] { return b.recorder.frame_count() == sent.size(); }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.in_order());
}

TEST_CASE("a burst beyond the socket's buffers is kept and sent whole", "[redis]") {
  RedisServer server;
  RedisNode a{server.url(), 1}, b{server.url(), 2};
  server.stop();  // nobody reads: what does not fit into the kernel's buffers is the transport's
  std::vector<std::string> sent;
  for (std::uint64_t i = 1; i <= 40; ++i) {
    sent.emplace_back(std::size_t{300'000}, static_cast<char>('a' + i % 26));
    a.broadcast(sent.back(), i);
  }
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  server.resume();
  CHECK(a.recorder.will_confirm({1, 40}));
  CHECK(eventually([&] { return b.recorder.frame_count() == sent.size(); }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.interruptions() == 0);
}

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

TEST_CASE("the bytes of a frame are not needed after broadcast has returned", "[redis]") {
  RedisServer server;
  RedisNode a{server.url(), 1}, b{server.url(), 2};
  server.stop();
  std::string frame;
  for (std::uint64_t i = 1; i <= 40; ++i) {
    frame.assign(300'000, 'x');
    a.broadcast(frame, i);
    frame.assign(300'000, '-');
  }
  server.resume();
  CHECK(a.recorder.will_confirm({1, 40}));
  CHECK(eventually([&] { return b.recorder.frame_count() == 40; }));
  CHECK(b.recorder.frames() == std::vector<std::string>(40, std::string(300'000, 'x')));
}

TEST_CASE("a token of another session is dropped", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  a.transport.broadcast(bytes_of("of the past"), {0, 1});
  a.transport.broadcast(bytes_of("of the future"), {2, 1});
  a.broadcast("of now", 1);
  CHECK(a.recorder.will_hear("of now"));
  CHECK(a.recorder.frame_count() == 1);
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

TEST_CASE("a publish-only node is confirmed and hears nothing", "[redis]") {
  const RedisServer server;
  auto settings = settings_of(1);
  settings.publish_only = true;
  RedisNode a{server.url(), settings}, b{server.url(), 2};
  CHECK(server.command({"PUBLISH", "channel", "one receiver"}) == 1);
  CHECK(a.recorder.will_confirm(a.broadcast("x", 1)));
  CHECK(b.recorder.will_hear("x"));
  CHECK(a.recorder.frame_count() == 0);
}

TEST_CASE("a sink may broadcast and send inside its calls", "[redis]") {
  struct Answering : Recorder {
    void on_ready(std::uint64_t session, std::size_t most) noexcept override {
      Recorder::on_ready(session, most);
      transport->broadcast(bytes_of("hello"), {session, 1});
    }
    void on_frame(syncbus::Bytes bytes) noexcept override {
      Recorder::on_frame(bytes);
      if (frame_count() == 1) transport->send(NodeId{1}, bytes_of("echoed"));
    }
    void on_confirmed(BroadcastToken token) noexcept override {
      Recorder::on_confirmed(token);
      if (token.frame < 100) transport->broadcast(bytes_of("again"), {token.session, token.frame + 1});
    }
    RedisTransport* transport = nullptr;
  };
  const RedisServer server;
  Answering sink;
  RedisTransport transport{server.url(), "channel"};
  sink.transport = &transport;
  transport.open(sink, settings_of(1));
  CHECK(sink.will_confirm({1, 100}));
  CHECK(sink.will_hear("echoed"));
  transport.close();
}

TEST_CASE("a session that is reopened is interrupted with its reason, and the next one works", "[redis]") {
  const RedisServer server;
  auto settings = settings_of(1);
  settings.publish_only = GENERATE(false, true);
  RedisNode a{server.url(), settings}, b{server.url(), 2};
  a.transport.reopen(1);
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.recorder.interruptions() == 1);
  REQUIRE(eventually([&] { return a.recorder.problems().size() == 1; }));
  CHECK(a.recorder.problems().front().sentence.find("reopened because this node's own heartbeat did not come back "
                                                    "within the peer timeout") != std::string::npos);
  CHECK(a.recorder.will_confirm(a.broadcast("again", 1)));
  CHECK(b.recorder.will_hear("again"));
  if (!settings.publish_only) CHECK(a.recorder.will_hear("again"));
  CHECK(b.recorder.interruptions() == 0);
  CHECK(a.recorder.in_order());
}

TEST_CASE("a session that is not the current one is not reopened", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  for (const std::uint64_t other : {0U, 2U, 3U}) a.transport.reopen(other);
  CHECK(a.recorder.will_confirm(a.broadcast("in session 1", 1)));
  a.transport.reopen(1);
  for (const std::uint64_t other : {3U, 1U}) a.transport.reopen(other);  // neither takes it back, nor is left for later
  REQUIRE(a.recorder.will_be_ready(2));
  a.transport.reopen(1);
  CHECK(a.recorder.will_confirm(a.broadcast("in session 2", 2)));
  CHECK(a.recorder.interruptions() == 1);
}

TEST_CASE("sessions that are reopened again and again follow each other without growing pauses", "[redis]") {
  const RedisServer server;
  Recorder recorder;
  RedisTransport transport{server.url(), "channel", {.min_backoff = 5ms, .max_backoff = 1h}};
  transport.open(recorder, settings_of(1));
  for (std::uint64_t session = 1; session <= 16; ++session) {  // doubled as often, 5 ms are minutes
    transport.reopen(session);
    REQUIRE(recorder.will_be_ready(session + 1));
  }
  CHECK(recorder.in_order());
}

TEST_CASE("broadcasts that share a number, or have none, are all confirmed by it", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  std::vector<std::string> sent;
  for (const std::uint64_t number : {0U, 0U, 1U, 1U, 1U, 2U, 2U}) {
    sent.push_back("frame " + std::to_string(sent.size()));
    const BroadcastToken token = a.broadcast(sent.back(), number);
    REQUIRE(a.recorder.will_confirm(token));
    REQUIRE(a.recorder.will_hear(sent.back()));
  }
  CHECK(a.recorder.frames() == sent);
  CHECK(a.recorder.interruptions() == 0);
  CHECK(a.recorder.problems().empty());
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
  CHECK(refusal(user({"+@all", "-publish", "&*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not publish"));
  CHECK(refusal(user({"+subscribe", "&*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not publish"));
  CHECK(refusal(user({"+publish", "&*"}), sentence) == Errc::permission_denied);
  CHECK(told("may not subscribe"));
  CHECK_FALSE(refusal(user({"+publish", "+subscribe", "&channel", "&channel.direct.*"}), sentence));
}

TEST_CASE("asking for permissions disturbs nobody", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  { RedisNode b{server.url(), 2}; }
  a.broadcast("mark", 1);
  CHECK(a.recorder.will_hear("mark"));
  CHECK(a.recorder.frame_count() == 1);
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

TEST_CASE("close stops everything while another thread broadcasts", "[redis]") {
  const RedisServer server;
  RedisNode a{server.url(), 1};
  std::atomic<bool> stop = false;
  std::thread publisher{[&] {
    for (std::uint64_t i = 1; !stop; ++i) a.transport.broadcast(bytes_of("x"), {1, i});
  }};
  CHECK(eventually([&] { return a.recorder.frame_count() > 100; }));
  a.transport.close();
  const std::size_t heard = a.recorder.frame_count();
  const BroadcastToken confirmed = a.recorder.confirmed();
  std::this_thread::yield();
  CHECK(a.recorder.frame_count() == heard);
  CHECK(a.recorder.confirmed() == confirmed);
  CHECK(a.recorder.interruptions() == 0);
  stop = true;
  publisher.join();
}

TEST_CASE("what was broadcast before close is with the server", "[redis]") {
  const RedisServer server;
  RedisNode b{server.url(), 2};
  for (std::uint64_t round = 1; round <= 50; ++round) {
    RedisNode a{server.url(), 100 + round};
    a.broadcast("last words " + std::to_string(round), 1);
    a.transport.close();
    REQUIRE(b.recorder.will_hear("last words " + std::to_string(round)));
  }
}

TEST_CASE("no descriptor and no thread is left behind", "[redis]") {
  const RedisServer server;
  { RedisNode warm{server.url(), 1}; }
  const support::ProcessLimits limits;
  for (int i = 0; i != 20; ++i) {
    RedisNode a{server.url(), 1};
    CHECK(thrown_by([] { RedisNode{"redis://127.0.0.1:1", 1}; }) == Errc::not_connected);
    CHECK(thrown_by([&] { RedisNode{url_of(server, "nobody:p"), 1}; }) == Errc::permission_denied);
  }
  CHECK(limits.hold());
}
