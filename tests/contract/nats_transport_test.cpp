// NatsTransport alone on a real server that behaves: what it carries, confirms, refuses, and leaves behind.
#include <nats/nats.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/transport/nats_transport.hpp>

#include "contract/nats_node.hpp"
#include "contract/recorder.hpp"
#include "contract/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/nats_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::NatsServer;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::NatsTransport, syncbus::NodeId;

namespace {

std::size_t entries_of(const char* folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder}, {}));
}

std::error_code refusal(const std::string& url, std::string& sentence, const std::string& subject = "subject") {
  return thrown_by([&] { NatsNode{url, nats_settings_of(1), subject}; }, &sentence);
}

}  // namespace

TEST_CASE("a NATS broadcast reaches every node, the sender too, and is confirmed", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1}, b{server.url(), 2};
  CHECK(a.recorder.session() == 1);
  CHECK(a.recorder.max_frame_bytes() == 1'048'576);
  const std::string frame("any\0bytes\r\n$", 12);
  const BroadcastToken token = a.broadcast(frame, 1);
  CHECK(a.recorder.will_hear(frame));
  CHECK(b.recorder.will_hear(frame));
  CHECK(a.recorder.will_confirm(token));
  CHECK(b.recorder.confirmed() == BroadcastToken{});
  CHECK(a.recorder.in_order());
  CHECK(a.recorder.problems().empty());
}

TEST_CASE("over the caller's connection it is the same", "[nats]") {
  const NatsServer server;
  const auto connection = lasting_connection(server.url());
  NatsNode b{server.url(), 2};
  {
    NatsNode a{connection.get(), 1}, sibling{connection.get(), 3};
    CHECK(a.recorder.will_confirm(a.broadcast("hello", 1)));
    CHECK(a.recorder.will_hear("hello"));
    CHECK(sibling.recorder.will_hear("hello"));
    CHECK(b.recorder.will_hear("hello"));
    b.transport.send(NodeId{1}, bytes_of("for a"));
    CHECK(a.recorder.will_hear("for a"));
    CHECK_FALSE(sibling.recorder.heard("for a"));
  }
  CHECK(natsConnection_Status(connection.get()) == NATS_CONN_STATUS_CONNECTED);
  CHECK(natsConnection_FlushTimeout(connection.get(), 10'000) == NATS_OK);
}

TEST_CASE("a directed frame on NATS reaches its node only", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1}, b{server.url(), 0xfedcba9876543210}, c{server.url(), 3};
  a.transport.send(NodeId{0xfedcba9876543210}, bytes_of("for b"));
  a.transport.send(NodeId{1}, bytes_of("for a"));
  a.broadcast("for all", 1);
  for (const NatsNode* node : {&a, &b, &c}) CHECK(node->recorder.will_hear("for all"));
  CHECK(b.recorder.will_hear("for b"));
  CHECK(a.recorder.will_hear("for a"));
  CHECK(b.recorder.frame_count() == 2);
  CHECK(c.recorder.frame_count() == 1);
  CHECK(a.recorder.frame_count() == 2);
}

TEST_CASE("frames arrive over NATS in the order of their broadcasts, whoever wrote them", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1}, b{server.url(), 2};
  std::vector<std::string> sent;
  for (std::uint64_t i = 1; i <= 5'000; ++i) {
    sent.push_back(std::to_string(i) + std::string(i % 700, '.'));
    const auto token = a.broadcast(sent.back(), i);
    if (i % 50 == 0) REQUIRE(a.recorder.will_confirm(token));  // the next one finds the sender idle
  }
  CHECK(a.recorder.will_confirm({1, 5'000}));
  CHECK(eventually([&] { return b.recorder.frame_count() == sent.size(); }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.in_order());
}

TEST_CASE("a burst beyond the socket's buffers blocks nobody, needs no bytes afterwards, and arrives whole", "[nats]") {
  NatsServer server;
  NatsNode a{server.url(), 1}, b{server.url(), 2};
  server.stop();  // nobody reads
  std::vector<std::string> sent;
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t i = 1; i <= 40; ++i) {
    sent.emplace_back(std::size_t{300'000}, static_cast<char>('a' + i % 26));
    std::string frame = sent.back();
    a.broadcast(frame, i);
    frame.assign(frame.size(), '-');
  }
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  server.resume();
  CHECK(a.recorder.will_confirm({1, 40}));
  CHECK(eventually([&] { return b.recorder.frame_count() == sent.size(); }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a frame of max_frame_bytes passes", "[nats]") {
  const NatsServer server{"max_payload: 2000"};
  NatsNode a{server.url(), 1};
  REQUIRE(a.recorder.max_frame_bytes() == 2'000);
  const std::string frame(2'000, 'x');
  CHECK(a.recorder.will_confirm(a.broadcast(frame, 1)));
  CHECK(a.recorder.will_hear(frame));
}

TEST_CASE("a token of another NATS session is dropped", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1};
  a.transport.broadcast(bytes_of("of the past"), {0, 1});
  a.transport.broadcast(bytes_of("of the future"), {2, 1});
  a.broadcast("of now", 1);
  CHECK(a.recorder.will_hear("of now"));
  CHECK(a.recorder.frame_count() == 1);
}

TEST_CASE("an empty message of a stranger's is a frame", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1};
  server.publish("subject", "");
  a.broadcast("after", 1);
  CHECK(a.recorder.will_hear("after"));
  CHECK(a.recorder.frames() == std::vector<std::string>{"", "after"});
}

TEST_CASE("a publish-only node on NATS is confirmed and hears nothing", "[nats]") {
  const NatsServer server;
  auto settings = nats_settings_of(1);
  settings.publish_only = true;
  NatsNode a{server.url(), settings}, b{server.url(), 2};
  CHECK(a.recorder.will_confirm(a.broadcast("x", 1)));
  CHECK(b.recorder.will_hear("x"));
  b.transport.send(NodeId{1}, bytes_of("for nobody"));
  CHECK(b.recorder.will_confirm(b.broadcast("mark", 1)));
  CHECK(a.recorder.frame_count() == 0);
}

TEST_CASE("a sink may broadcast and send over NATS inside its calls", "[nats]") {
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
    NatsTransport* transport = nullptr;
  };
  const NatsServer server;
  Answering sink;
  NatsTransport transport{server.url(), "subject"};
  sink.transport = &transport;
  transport.open(sink, nats_settings_of(1));
  CHECK(sink.will_confirm({1, 100}));
  CHECK(sink.will_hear("echoed"));
  transport.close();
}

TEST_CASE("a NATS session that is reopened is interrupted with its reason, and the next one works", "[nats]") {
  const NatsServer server;
  auto settings = nats_settings_of(1);
  settings.publish_only = GENERATE(false, true);
  const bool borrowed = GENERATE(false, true);
  const auto connection = lasting_connection(server.url());
  NatsNode b{server.url(), 2};
  const auto run = [&](NatsNode& a) {
    a.transport.reopen(1);
    REQUIRE(a.recorder.will_be_ready(2));
    CHECK(a.recorder.interruptions() == 1);
    REQUIRE(eventually([&] { return a.recorder.problems().size() == 1; }));
    CHECK(a.recorder.problems().front().sentence.find("did not come back within the peer timeout") !=
          std::string::npos);
    CHECK(a.recorder.will_confirm(a.broadcast("again", 1)));
    CHECK(b.recorder.will_hear("again"));
    if (!settings.publish_only) CHECK(a.recorder.will_hear("again"));
    CHECK(b.recorder.interruptions() == 0);
    CHECK(a.recorder.in_order());
  };
  if (borrowed) {
    NatsNode a{connection.get(), settings};
    run(a);
  } else {
    NatsNode a{server.url(), settings};
    run(a);
  }
}

TEST_CASE("a NATS session that is not the current one is not reopened", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1};
  for (const std::uint64_t other : {0U, 2U, 3U}) a.transport.reopen(other);
  CHECK(a.recorder.will_confirm(a.broadcast("in session 1", 1)));
  a.transport.reopen(1);
  for (const std::uint64_t other : {3U, 1U}) a.transport.reopen(other);  // neither takes it back, nor is left for later
  REQUIRE(a.recorder.will_be_ready(2));
  a.transport.reopen(1);
  CHECK(a.recorder.will_confirm(a.broadcast("in session 2", 2)));
  CHECK(a.recorder.interruptions() == 1);
}

TEST_CASE("nothing listening is not_connected, in a sentence with the address", "[nats]") {
  std::string sentence;
  CHECK(refusal("nats://127.0.0.1:1", sentence) == Errc::not_connected);
  CHECK(sentence.find("127.0.0.1:1") != std::string::npos);
}

TEST_CASE("a NATS server that accepts and says nothing is not_connected at the deadline", "[nats]") {
  NatsServer server;
  auto settings = nats_settings_of(1);
  settings.connect_timeout = 200ms;
  const auto connection = lasting_connection(server.url());
  server.stop();
  const auto begin = std::chrono::steady_clock::now();
  CHECK(thrown_by([&] { NatsNode{server.url(), settings}; }) == Errc::not_connected);
  CHECK(thrown_by([&] { NatsNode{connection.get(), settings}; }) == Errc::not_connected);
  CHECK(std::chrono::steady_clock::now() - begin >= 300ms);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
  server.resume();
}

TEST_CASE("a caller's connection that brings nothing back is refused with the reason", "[nats]") {
  const NatsServer server;
  const auto options = support::nats_options(server.url());
  support::require_ok(natsOptions_SetNoEcho(options.get(), true));
  const auto connection = support::nats_connect(options);
  std::string sentence;
  CHECK(thrown_by([&] { NatsNode{connection.get(), 1}; }, &sentence) == Errc::not_connected);
  CHECK(sentence.find("natsOptions_SetNoEcho") != std::string::npos);
}

TEST_CASE("asking a NATS server for permissions disturbs nobody", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1};
  { NatsNode b{server.url(), 2}; }
  a.broadcast("mark", 1);
  CHECK(a.recorder.will_hear("mark"));
  CHECK(a.recorder.frame_count() == 1);
}

TEST_CASE("close stops everything on NATS while another thread broadcasts", "[nats]") {
  const NatsServer server;
  NatsNode a{server.url(), 1};
  std::atomic<bool> stop = false;
  std::thread publisher{[&] {
    for (std::uint64_t i = 1; !stop; ++i) {
      a.transport.broadcast(bytes_of("x"), {1, i});
      while (!stop && i > a.recorder.confirmed().frame + 64) std::this_thread::yield();  // as the engine would
    }
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

TEST_CASE("what was broadcast before close is with the NATS server", "[nats]") {
  const NatsServer server;
  const auto connection = lasting_connection(server.url());
  NatsNode b{server.url(), 2};
  for (std::uint64_t round = 1; round <= 50; ++round) {
    const std::string words = "last words " + std::to_string(round);
    const auto say = [&](NatsNode&& a) {
      a.broadcast(words, 1);
      a.broadcast(words + "!", 2);
      a.transport.close();
    };
    round % 2 == 0 ? say(NatsNode{server.url(), 100 + round}) : say(NatsNode{connection.get(), 100 + round});
    REQUIRE(b.recorder.will_hear(words + "!"));
  }
  CHECK(b.recorder.frame_count() == 100);
}

TEST_CASE("no descriptor, no thread and no reference to the caller's connection is left behind", "[nats]") {
  const NatsServer server;
  { NatsNode warm{server.url(), 1}; }
  const std::size_t descriptors = entries_of("/proc/self/fd");
  const std::size_t threads = entries_of("/proc/self/task");
  for (int i = 0; i != 20; ++i) {
    NatsNode a{server.url(), 1};
    CHECK(thrown_by([] { NatsNode{"nats://127.0.0.1:1", 1}; }) == Errc::not_connected);
    const auto connection = lasting_connection(server.url());
    NatsNode b{connection.get(), 2};
  }
  CHECK(eventually([&] { return entries_of("/proc/self/fd") == descriptors; }));
  CHECK(eventually([&] { return entries_of("/proc/self/task") == threads; }));
}
