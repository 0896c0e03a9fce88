// What is particular to NatsTransport when its server drops messages, goes for good, or takes a permission away.
#include <nats/nats.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include <syncbus/transport/nats/nats_transport.hpp>

#include "contract/fixtures/fixture.hpp"
#include "contract/nats/nats_grants.hpp"
#include "contract/nats/nats_node.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/nats_server.hpp"
#include "support/tcp_proxy.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::NatsServer;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::NatsTransport;

namespace {

bool was_told(const Recorder& recorder, std::string_view words) {
  const auto problems = recorder.problems();
  return std::any_of(problems.begin(), problems.end(),
                     [&](const auto& problem) { return problem.sentence.find(words) != std::string::npos; });
}

}  // namespace

TEST_CASE("a restart between two looks at the caller's connection is an interruption too", "[nats]") {
  NatsServer server;
  const auto connection = lasting_connection(server.url());
  NatsNode a{connection.get(), 1};
  server.restart();
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.recorder.interruptions() == 1);
  CHECK(a.works());
}

TEST_CASE("an idle NATS connection lives as long as its server answers", "[nats]") {
  const NatsServer server;
  auto settings = settings_of(1);
  settings.peer_timeout = 2s;
  NatsNode a{server.url(), settings};
  let_pass(3s);  // the only way to see that nothing happens
  CHECK(a.recorder.interruptions() == 0);
  CHECK(a.works());
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
  NatsTransport transport{connection.get(), "subject", quick};
  transport.open(sink, settings_of(1));
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
  REQUIRE(a.will_be_interrupted());
  REQUIRE(eventually([&] {
    const auto problems = a.recorder.problems();
    return std::any_of(problems.begin(), problems.end(),
                       [](const auto& p) { return p.code == Errc::permission_denied; });
  }));
  grant_on(server, all);
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  CHECK_FALSE(a.recorder.heard("refused"));
  CHECK(a.works());
}

TEST_CASE("a NATS user can be refused again and again while messages arrive", "[nats][threads]") {
  const NatsServer server{with_grants("\"other\"")};
  const bool borrowed = GENERATE(false, true);
  const auto callers = lasting_connection(server.url("eve:p"));
  std::jthread flood{[&](const std::stop_token& stop) {
    const auto connection = lasting_connection(server.url("root:p"));
    while (!stop.stop_requested()) {
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
  flood.request_stop();
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
  CHECK(a.works());
}

TEST_CASE("a refused directed frame is a problem and no interruption on NATS", "[nats]") {
  const NatsServer server{with_grants(R"("subject", "subject.direct.0000000000000001")")};
  auto settings = settings_of(1);
  settings.peer_timeout = 2s;
  NatsNode a{server.url("eve:p"), settings};
  a.transport->send({2}, bytes_of("refused"));
  REQUIRE(eventually([&] { return !a.recorder.problems().empty(); }));
  CHECK(a.recorder.problems().front().code == Errc::permission_denied);
  CHECK(a.works());
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a caller's connection that is closed for good is told once, and closes well", "[nats]") {
  NatsServer server;
  const auto connection = lasting_connection(server.url());
  NatsNode a{connection.get(), 1};
  natsConnection_Close(connection.get());
  REQUIRE(a.will_be_interrupted());
  REQUIRE(eventually([&] { return was_told(a.recorder, "closed for good"); }));
  let_pass(300ms);
  CHECK(a.recorder.problems().size() <= 2);
  CHECK_FALSE(a.recorder.ready());
  a.transport->close();
}

TEST_CASE("of two NATS servers one says nothing, and the other is far away: it is found again", "[nats]") {
  NatsServer silent, far;
  support::TcpProxy proxy{far.port()};
  proxy.set({.delay = 10ms});
  NatsNode a{NatsServer::url_at(proxy.port()) + "," + silent.url(), 1};
  silent.stop();
  proxy.cut();
  REQUIRE(a.comes_back());
  CHECK(a.works());
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

TEST_CASE("a node that knows one URL goes to another server of its cluster when that one leaves", "[nats]") {
  const auto configuration = [](int port, int other) {
    return "authorization { user: cache, password: p }\nlame_duck_grace_period: \"100ms\"\n"
           "cluster { name: pair, listen: \"127.0.0.1:" + std::to_string(port) +
           "\", routes: [\"nats://127.0.0.1:" + std::to_string(other) + "\"] }";
  };
  const int ports[] = {support::ServerProcess::free_port(), support::ServerProcess::free_port()};
  NatsServer leaving{configuration(ports[0], ports[1])};
  NatsNode a{leaving.url("cache:p"), 1};
  CHECK(a.recorder.place() == 0);  // the first one of a cluster
  const NatsServer staying{configuration(ports[1], ports[0])};  // which a hears of later
  NatsNode b{staying.url("cache:p"), 2};
  REQUIRE(eventually([&] {
    b.broadcast("over the route", 1);
    return a.recorder.heard("over the route");
  }));
  leaving.leave();
  REQUIRE(a.recorder.will_be_ready(2));
  a.broadcast("from elsewhere", 2);
  CHECK(b.recorder.will_hear("from elsewhere"));
}
