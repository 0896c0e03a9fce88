// What is particular to NatsTransport on a real server that behaves. See transport_test.cpp.
#include <nats/nats.h>

#include <chrono>
#include <cstdint>
#include <string>

#include <syncbus/transport/nats/nats_transport.hpp>

#include "contract/fixtures/thrown_by.hpp"
#include "contract/nats/nats_node.hpp"
#include "support/catch.hpp"
#include "support/nats_cluster.hpp"
#include "support/nats_server.hpp"
#include "support/process_limits.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::NatsServer;
using syncbus::Errc;

TEST_CASE("two nodes may share a caller's connection, which stays the caller's", "[nats]") {
  const NatsServer server;
  const auto connection = lasting_connection(server.url());
  {
    NatsNode a{connection.get(), 1}, sibling{connection.get(), 3};
    sibling.send(1, "for a");
    CHECK(a.recorder.will_confirm(a.broadcast("hello", 1)));
    CHECK(sibling.recorder.will_hear("hello"));
    CHECK(a.recorder.will_hear("for a"));
    CHECK(sibling.recorder.frame_count() == 1);
  }
  CHECK(natsConnection_Status(connection.get()) == NATS_CONN_STATUS_CONNECTED);
  CHECK(natsConnection_FlushTimeout(connection.get(), 10'000) == NATS_OK);
}

TEST_CASE("a node tells at which NATS server it is, if that is of no cluster, and it knows of no other", "[nats]") {
  NatsServer server, other;
  const support::NatsCluster servers{2, support::NatsCluster::Announces::nothing};
  const auto connection = lasting_connection(server.url());
  NatsNode a{server.url(), 1}, lent{connection.get(), 2}, elsewhere{other.url(), 3};
  NatsNode of_two{server.url() + "," + other.url(), 4};
  const std::uint64_t place = a.recorder.place();
  CHECK(place != 0);
  CHECK(lent.recorder.place() == place);
  CHECK(elsewhere.recorder.place() != place);
  CHECK(of_two.recorder.place() == 0);
  const auto of_cluster = lasting_connection(servers.url(0));
  CHECK(NatsNode{servers.url(0), 5}.recorder.place() == 0);
  CHECK(NatsNode{of_cluster.get(), 6}.recorder.place() == 0);
  server.restart();
  REQUIRE(a.comes_back());
  REQUIRE(lent.comes_back());
  CHECK(a.recorder.place() != place);  // nobody is where the server was
  CHECK(a.recorder.place() != 0);
  CHECK(lent.recorder.place() == a.recorder.place());
}

TEST_CASE("a frame of max_frame_bytes passes", "[nats]") {
  const NatsServer server{"max_payload: 2000"};
  NatsNode a{server.url(), 1};
  REQUIRE(a.recorder.max_frame_bytes() == 2'000);
  const std::string frame(2'000, 'x');
  CHECK(a.recorder.will_confirm(a.broadcast(frame, 1)));
  CHECK(a.recorder.will_hear(frame));
}

TEST_CASE("a NATS server that accepts and says nothing is not_connected at the deadline", "[nats]") {
  NatsServer server;
  auto settings = settings_of(1);
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

TEST_CASE("an attempt that fails leaves no descriptor and no thread behind, over NATS", "[nats]") {
  const NatsServer server;
  { NatsNode warm{server.url(), 1}; }
  const support::ProcessLimits limits;
  for (int i = 0; i != 20; ++i) CHECK(thrown_by([] { NatsNode{"nats://127.0.0.1:1", 1}; }) == Errc::not_connected);
  CHECK(limits.hold());
}
