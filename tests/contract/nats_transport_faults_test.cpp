// NatsTransport alone while its server dies, stops, comes back, or takes a permission away.
#include <nats/nats.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include <syncbus/transport/nats_transport.hpp>

#include "contract/fixture.hpp"
#include "contract/nats_grants.hpp"
#include "contract/nats_node.hpp"
#include "contract/recorder.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/nats_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::NatsServer;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::NatsTransport, syncbus::NodeId;

namespace {

auto now() { return std::chrono::steady_clock::now(); }

bool will_be_interrupted(const NatsNode& node, int times = 1) {
  return eventually([&] { return node.recorder.interruptions() == times; });
}

bool was_told(const Recorder& recorder, std::string_view words) {
  const auto problems = recorder.problems();
  return std::any_of(problems.begin(), problems.end(),
                     [&](const auto& problem) { return problem.sentence.find(words) != std::string::npos; });
}

/// The node hears what it and others say, in its current session.
bool works(NatsNode& node, const NatsServer& server, const std::string& user = {}) {
  const std::string text = "session " + std::to_string(node.recorder.session());
  const bool confirmed = node.recorder.will_confirm(node.broadcast(text, 1'000'000));
  server.publish("subject.direct.0000000000000001", "directed in " + text, user);
  return confirmed && node.recorder.will_hear(text) && node.recorder.will_hear("directed in " + text);
}

/// A node over its own connection, or over one of the caller's.
struct EitherNode {
  EitherNode(const NatsServer& server, bool borrowed,
             const syncbus::TransportSettings& settings = nats_settings_of(1)) {
    if (borrowed) {
      connection = lasting_connection(server.url());
      node = std::make_unique<NatsNode>(connection.get(), settings);
    } else {
      node = std::make_unique<NatsNode>(server.url(), settings);
    }
  }
  NatsNode* operator->() const noexcept { return node.get(); }
  NatsNode& operator*() const noexcept { return *node; }

  support::Nats<natsConnection> connection;
  std::unique_ptr<NatsNode> node;
};

}  // namespace

TEST_CASE("a killed and restarted NATS server means an interruption and then a new session that works", "[nats]") {
  NatsServer server;
  const EitherNode a{server, GENERATE(false, true)};
  a->broadcast("before", 1);
  REQUIRE(a->recorder.will_hear("before"));
  for (int round = 1; round <= 3; ++round) {
    server.kill();
    REQUIRE(will_be_interrupted(*a, round));
    a->broadcast("nobody is there", 2);
    server.start();
    REQUIRE(a->recorder.will_be_ready(static_cast<std::uint64_t>(round) + 1));
    a->transport.broadcast(bytes_of("of an old session"), {static_cast<std::uint64_t>(round), 3});
    REQUIRE(works(*a, server));
  }
  CHECK_FALSE(a->recorder.heard("nobody is there"));
  CHECK_FALSE(a->recorder.heard("of an old session"));
  CHECK(a->recorder.in_order());
  CHECK_FALSE(a->recorder.problems().empty());
}

TEST_CASE("a restart between two looks at the caller's connection is an interruption too", "[nats]") {
  NatsServer server;
  const EitherNode a{server, true};
  server.restart();
  REQUIRE(a->recorder.will_be_ready(2));
  CHECK(a->recorder.interruptions() == 1);
  CHECK(works(*a, server));
}

TEST_CASE("what was not confirmed when the NATS server died is not sent again by the transport", "[nats]") {
  NatsServer server;
  NatsNode a{server.url(), 1};
  server.stop();
  for (std::uint64_t i = 1; i <= 20; ++i) a.broadcast(std::string(300'000, 'x'), i);
  server.restart();
  REQUIRE(a.recorder.will_be_ready(2));
  REQUIRE(works(a, server));
  CHECK(a.recorder.frame_count() == 2);
  CHECK(a.recorder.in_order());
}

TEST_CASE("a stopped NATS server is noticed within the peer timeout", "[nats]") {
  NatsServer server;
  auto settings = nats_settings_of(1);
  settings.peer_timeout = 400ms;
  const bool busy = GENERATE(false, true);
  settings.publish_only = GENERATE(false, true);
  const EitherNode a{server, GENERATE(false, true), settings};
  const auto begin = now();
  server.stop();
  if (busy) a->broadcast("unanswered", 1);
  REQUIRE(will_be_interrupted(*a));
  CHECK(now() - begin >= 200ms);
  CHECK(now() - begin < 400ms + 5s);  // and what a busy machine adds
  CHECK(a->recorder.confirmed() == BroadcastToken{});
  server.resume();
  CHECK(a->recorder.will_be_ready(2));
}

TEST_CASE("a server that takes nothing blocks no publisher, and neither the end of the bus", "[nats]") {
  NatsServer server;
  auto settings = nats_settings_of(1);
  settings.peer_timeout = 1s;
  settings.publish_only = GENERATE(false, true);
  const bool borrowed = GENERATE(false, true);
  EitherNode a{server, borrowed, settings};
  server.stop();
  const auto begin = now();
  const std::string frame(1'000'000, 'x');
  for (std::uint64_t i = 1; i <= 64; ++i) a->broadcast(frame, i);  // far more than the kernel takes
  for (std::uint64_t i = 0; i != 100; ++i) a->transport.send(NodeId{2}, bytes_of(frame));
  CHECK(now() - begin < 5s);
  CHECK(will_be_interrupted(*a));
  const auto closing = now();
  a->transport.close();
  CHECK(now() - closing < 5s);
  a.node.reset();
  server.resume();
  if (borrowed) {
    CHECK(eventually([&] { return natsConnection_FlushTimeout(a.connection.get(), 100) == NATS_OK; }));
  }
}

TEST_CASE("an idle NATS connection lives as long as its server answers", "[nats]") {
  const NatsServer server;
  auto settings = nats_settings_of(1);
  settings.peer_timeout = 2s;
  NatsNode a{server.url(), settings};
  let_pass(3s);  // the only way to see that nothing happens
  CHECK(a.recorder.interruptions() == 0);
  CHECK(works(a, server));
}

TEST_CASE("messages that the NATS client had to drop are an interruption", "[nats]") {
  struct Held : Recorder {
    void on_frame(syncbus::Bytes) noexcept override { held.wait(true); }
    void release() noexcept {
      held = false;
      held.notify_all();
    }
    std::atomic<bool> held = true;
  };
  const NatsServer server;
  const auto connection = lasting_connection(server.url()), flooding = lasting_connection(server.url());
  Held sink;
  NatsTransport transport{connection.get(), "subject", quick_nats};
  transport.open(sink, nats_settings_of(1));
  const std::string large(1'000'000, 'x');
  bool flooded = true;
  for (int i = 0; i != 80; ++i) {
    flooded = flooded && natsConnection_Publish(flooding.get(), "subject", large.data(), 1'000'000) == NATS_OK;
  }
  if (GENERATE(false, true)) {  // a small one, which finds room where large ones did not
    flooded = flooded && natsConnection_PublishString(flooding.get(), "subject", "small") == NATS_OK;
  }
  flooded = flooded && natsConnection_FlushTimeout(flooding.get(), 20'000) == NATS_OK;
  // When this is answered, the client has all that came before on the connection.
  flooded = flooded && natsConnection_FlushTimeout(connection.get(), 20'000) == NATS_OK;
  const bool was_ready = sink.ready();
  sink.release();
  CHECK(flooded);
  CHECK(was_ready);
  CHECK(sink.will_be_ready(2));
  CHECK(was_told(sink, "too slow"));
  transport.close();
}

TEST_CASE("a NATS user who may not publish or subscribe is told which grant is missing", "[nats]") {
  NatsServer server{with_grants("\"other\"")};
  const bool borrowed = GENERATE(false, true);
  Recorder recorder;
  const auto connection = lasting_connection(server.url("eve:p"));
  std::string sentence;
  std::error_code code;
  try {
    if (borrowed) {
      NatsNode{connection.get(), 1};
    } else {
      NatsNode{server.url("eve:p"), 1};
    }
  } catch (const std::system_error& error) {
    code = error.code();
    sentence = error.what();
  }
  CHECK(code == Errc::permission_denied);
  CHECK(sentence.find("may not publish on 'subject") != std::string::npos);
  CHECK(sentence.find("grant publish and subscribe on 'subject' and 'subject.direct.*'") != std::string::npos);
}

TEST_CASE("a NATS permission revoked is a problem with its code, and the session goes on once it is back", "[nats]") {
  const std::string all{all_grants};
  NatsServer server{with_grants(all)};
  NatsNode a{server.url("eve:p"), 1};
  grant_on(server, "\"other\"");
  a.broadcast("refused", 1);
  SECTION("what is accepted behind the refused is not confirmed") {
    REQUIRE(eventually([&] { return server.logged("Publish Violation") == 1; }));
    grant_on(server, all);
    a.broadcast("accepted", 2);
  }
  REQUIRE(will_be_interrupted(a));
  REQUIRE(eventually([&] {
    const auto problems = a.recorder.problems();
    return std::any_of(problems.begin(), problems.end(),
                       [](const auto& p) { return p.code == Errc::permission_denied; });
  }));
  grant_on(server, all);
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  CHECK_FALSE(a.recorder.heard("refused"));
  CHECK(works(a, server, "root:p"));
}

TEST_CASE("a NATS user can be refused again and again while messages arrive", "[nats][threads]") {
  const NatsServer server{with_grants("\"other\"")};
  const bool borrowed = GENERATE(false, true);
  const auto callers = lasting_connection(server.url("eve:p"));
  std::atomic<bool> stop = false;
  std::thread flood{[&] {
    const auto connection = lasting_connection(server.url("root:p"));
    while (!stop) {
      for (int i = 0; i != 100; ++i) natsConnection_PublishString(connection.get(), "subject", "message");
      natsConnection_FlushTimeout(connection.get(), 10'000);
    }
  }};
  int refused = 0;
  for (int i = 0; i != 500; ++i) {
    try {
      borrowed ? static_cast<void>(NatsNode{callers.get(), 1}) : static_cast<void>(NatsNode{server.url("eve:p"), 1});
    } catch (const std::system_error&) {
      ++refused;
    }
  }
  stop = true;
  flood.join();
  CHECK(refused == 500);
}

TEST_CASE("a refused NATS user is told by the bus, not by the client on the standard error", "[nats]") {
  const NatsServer server{with_grants("\"other\"")};
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> said{std::tmpfile(), std::fclose};
  const int standard_error = ::dup(STDERR_FILENO);
  ::dup2(::fileno(said.get()), STDERR_FILENO);
  int refused = 0;
  for (int i = 0; i != 10; ++i) {  // what the client says of the first comes before the last
    try {
      const NatsNode node{server.url("eve:p"), 1};
    } catch (const std::system_error&) {
      ++refused;
    }
  }
  ::dup2(standard_error, STDERR_FILENO);
  ::close(standard_error);
  CHECK(refused == 10);
  CHECK(::lseek(::fileno(said.get()), 0, SEEK_END) == 0);
}

TEST_CASE("a NATS subscription revoked ends the session, also if it is only that to directed frames", "[nats]") {
  const std::string granted = with_grants(R"("subject", "subject.direct.*")");
  std::string revoked = granted;
  const std::string subscriptions = R"(subscribe: ["subject", "subject.direct.*"])";
  revoked.replace(revoked.find(subscriptions), subscriptions.size(), R"(subscribe: ["subject"])");
  NatsServer server{granted};
  NatsNode a{server.url("eve:p"), 1};
  server.configure(revoked);
  server.reload();
  std::uint64_t frame = 0;
  REQUIRE(eventually([&] {
    a.broadcast("that comes back", ++frame);
    return a.recorder.interruptions() == 1;
  }));
  CHECK(eventually([&] { return was_told(a.recorder, "may not subscribe to 'subject.direct.*'"); }));
  server.configure(granted);
  server.reload();
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(works(a, server, "root:p"));
}

TEST_CASE("a refused directed frame is a problem and no interruption on NATS", "[nats]") {
  const NatsServer server{with_grants(R"("subject", "subject.direct.0000000000000001")")};
  auto settings = nats_settings_of(1);
  settings.peer_timeout = 2s;
  NatsNode a{server.url("eve:p"), settings};
  a.transport.send({2}, bytes_of("refused"));
  REQUIRE(eventually([&] { return !a.recorder.problems().empty(); }));
  CHECK(a.recorder.problems().front().code == Errc::permission_denied);
  CHECK(works(a, server, "root:p"));
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a caller's connection that is closed for good is told once, and closes well", "[nats]") {
  NatsServer server;
  const EitherNode a{server, true};
  natsConnection_Close(a.connection.get());
  REQUIRE(will_be_interrupted(*a));
  REQUIRE(eventually([&] { return was_told(a->recorder, "closed for good"); }));
  let_pass(300ms);
  CHECK(a->recorder.problems().size() <= 2);
  CHECK_FALSE(a->recorder.ready());
  a->transport.close();
}

TEST_CASE("of several NATS servers another is found when one is gone", "[nats]") {
  NatsServer first, second;
  NatsNode a{first.url() + "," + second.url(), 1};
  NatsNode b{"nats://127.0.0.1:1," + second.url(), 2};
  first.kill();
  REQUIRE(a.recorder.will_be_ready(2));
  a.broadcast("hello", 1);
  CHECK(b.recorder.will_hear("hello"));
}

TEST_CASE("problems on NATS that repeat are told once in a while only", "[nats]") {
  NatsServer server;
  NatsNode a{server.url(), 1};
  const auto begin = now();
  server.kill();
  REQUIRE(will_be_interrupted(a));
  let_pass(500ms);  // some twenty attempts
  const std::size_t told = a.recorder.problems().size();
  CHECK(told >= 2);
  CHECK(told <= 4 + static_cast<std::size_t>((now() - begin) / 1s));
}

TEST_CASE("close returns soon while the NATS transport reconnects", "[nats]") {
  NatsServer server;
  Recorder recorder;
  NatsTransport patient{server.url(), "subject", {.min_backoff = 1min, .max_backoff = 1min}};
  auto settings = nats_settings_of(2);
  settings.peer_timeout = 300ms;
  patient.open(recorder, settings);
  SECTION("to a port that refuses, in a long pause between attempts") { server.kill(); }
  SECTION("to a server that accepts and says nothing") { server.stop(); }
  REQUIRE(eventually([&] { return recorder.interruptions() == 1; }));
  const auto begin = now();
  patient.close();
  CHECK(now() - begin < 5s);
  CHECK_FALSE(recorder.ready());
  server.resume();
}

TEST_CASE("a NATS server that dies under load confirms nothing that is lost", "[nats]") {
  NatsServer server;
  const EitherNode a{server, GENERATE(false, true)};
  std::atomic<bool> stop = false;
  const std::string frame(32'000, 'x');
  std::thread publisher{[&] {
    for (std::uint64_t i = 1; !stop; ++i) {
      const BroadcastToken token = a->broadcast(frame, i);
      a->transport.send({1}, bytes_of("x"));
      while (!stop && a->recorder.ready() && a->recorder.session() == token.session &&
             a->recorder.confirmed() < token) {
        std::this_thread::yield();
      }
    }
  }};
  bool came_back = true;
  for (std::uint64_t session = 1; session <= 5; ++session) {
    came_back = came_back && eventually([&] { return a->recorder.confirmed().session == session; });
    server.restart();
    came_back = came_back && a->recorder.will_be_ready(session + 1);
  }
  stop = true;
  publisher.join();
  CHECK(came_back);
  CHECK(a->recorder.in_order());
}
