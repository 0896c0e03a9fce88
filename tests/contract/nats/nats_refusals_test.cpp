// Broadcasts that a NATS server does not take are confirmed to nobody, whatever else the client reports, or hides.
#include <nats/nats.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/nats_bus.hpp>

#include "contract/fixtures/thrown_by.hpp"
#include "contract/nats/nats_grants.hpp"
#include "contract/nats/nats_node.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/nats_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::NatsServer;
using syncbus::BroadcastToken, syncbus::Errc;

namespace {

/// Broadcasts until the session has ended. How many frames were confirmed that `witness` did not hear.
int false_confirmations(NatsNode& node, const NatsNode& witness) {
  int confirmed = 0;
  for (std::uint64_t frame = 1; frame <= 100 && node.recorder.interruptions() == 0; ++frame) {
    const std::string text = "frame " + std::to_string(frame);
    const BroadcastToken token = node.broadcast(text, frame);
    CHECK(eventually([&] { return node.recorder.confirmed() == token || node.recorder.interruptions() != 0; }));
    if (node.recorder.confirmed() == token && !witness.recorder.will_hear(text)) ++confirmed;
  }
  CHECK(eventually([&] { return node.recorder.interruptions() != 0; }));
  return confirmed;
}

}  // namespace

TEST_CASE("a publish_only node over a caller's connection that may not publish is refused, as often as it tries",
          "[nats]") {
  NatsServer server{with_grants(std::string{no_broadcasts})};
  const auto connection = lasting_connection(server.url("eve:p"));
  auto settings = settings_of(1);
  settings.publish_only = true;
  for (int attempt = 0; attempt != 3; ++attempt) {
    std::error_code code;
    try {
      NatsNode{connection.get(), settings};
    } catch (const std::system_error& error) {
      code = error.code();
    }
    CHECK(code == Errc::permission_denied);
  }
}

TEST_CASE("what is refused behind a stranger's refusal on the same connection is not confirmed", "[nats]") {
  auto settings = settings_of(1);
  settings.publish_only = GENERATE(false, true);
  NatsServer server{with_grants(std::string{all_grants})};
  const auto connection = lasting_connection(server.url("eve:p"));
  NatsNode witness{server.url("root:p"), 2};
  NatsNode node{connection.get(), settings};
  std::jthread stranger{[&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      natsConnection_PublishString(connection.get(), "forbidden", "x");
      std::this_thread::yield();
    }
  }};
  grant_on(server, std::string{no_broadcasts});
  CHECK(false_confirmations(node, witness) == 0);
  stranger.request_stop();
  stranger.join();
}

TEST_CASE("a permission that is revoked, granted and revoked again is noticed each time", "[nats]") {
  NatsServer server{with_grants(std::string{all_grants})};
  const bool borrowed = GENERATE(false, true);
  const auto connection = lasting_connection(server.url("eve:p"));
  NatsNode witness{server.url("root:p"), 2};
  const auto node =
      borrowed ? std::make_unique<NatsNode>(connection.get(), 1) : std::make_unique<NatsNode>(server.url("eve:p"), 1);
  for (int round = 1; round <= 2; ++round) {
    INFO(round);
    grant_on(server, std::string{no_broadcasts});
    const auto refused = node->broadcast("refused " + std::to_string(round), 1);
    REQUIRE(eventually([&] { return node->recorder.interruptions() == round; }));
    CHECK_FALSE(node->recorder.confirmed() == refused);
    grant_on(server, std::string{all_grants});
    REQUIRE(eventually([&] { return node->recorder.ready(); }));
    const auto accepted = node->broadcast("accepted " + std::to_string(round), 2);
    CHECK(node->recorder.will_confirm(accepted));
    CHECK(witness.recorder.will_hear("accepted " + std::to_string(round)));
  }
}

TEST_CASE("a broadcast that is refused between two refused directed frames is not confirmed", "[nats]") {
  NatsServer server{with_grants(R"("subject", "subject.direct.0000000000000001")")};
  NatsNode witness{server.url("root:p"), 2};
  NatsNode node{server.url("eve:p"), 1};
  node.transport->send({2}, bytes_of("refused"));
  REQUIRE(eventually([&] { return !node.recorder.problems().empty(); }));
  grant_on(server, R"("subject.direct.0000000000000001")");
  node.transport->send({2}, bytes_of("refused"));
  node.broadcast("refused", 1);
  node.transport->send({2}, bytes_of("refused"));
  CHECK(eventually([&] { return node.recorder.interruptions() == 1; }));
  CHECK(node.recorder.confirmed() == BroadcastToken{});
  CHECK_FALSE(witness.recorder.heard("refused"));
}

TEST_CASE("a stranger's message that bears a node's mark confirms nothing", "[nats]") {
  NatsServer server;
  NatsNode node{server.url(), 7};
  const auto stranger = lasting_connection(server.url());
  for (const char* serial : {"1", "2", "999999"}) {
    for (const char* session : {"0", "1", "2"}) {
      const std::string mark = "_syncbus.0000000000000007." + std::string{session} + "." + serial;
      support::require_ok(natsConnection_PublishRequestString(stranger.get(), "subject", mark.c_str(), "x"));
    }
  }
  support::require_ok(natsConnection_FlushTimeout(stranger.get(), 10'000));
  REQUIRE(eventually([&] { return node.recorder.frames().size() == 9; }));
  CHECK(node.recorder.confirmed() == BroadcastToken{});
  for (std::uint64_t frame = 1; frame <= 3; ++frame) CHECK(node.recorder.will_confirm(node.broadcast("own", frame)));
  CHECK(node.recorder.interruptions() == 0);
}

TEST_CASE("a message limit that has become smaller costs a resync, and the bus goes on", "[contract]") {
  NatsServer server{"max_payload: 100000"};
  const syncbus::BusOptions options{.max_key_bytes = 60'000, .peer_timeout = 20s};
  syncbus::NatsBus bus{server.url(), "subject", options, quick};
  server.stop();
  CHECK_FALSE(bus.publish(std::string(30'000, 'k')));
  server.kill();
  server.configure("max_payload: 10000");
  server.start();
  CHECK(eventually([&] { return bus.metrics().reconnects != 0 && bus.is_healthy(); }));
  CHECK_FALSE(bus.flush(support::patience));
  CHECK(bus.publish(std::string(30'000, 'k')) == Errc::frame_too_large);
  CHECK_FALSE(bus.publish("small"));
  CHECK_FALSE(bus.flush(support::patience));
  CHECK(bus.metrics().reconnects == 1);
}

TEST_CASE("a NATS server whose messages are too small for a node is refused with the reason", "[nats]") {
  const NatsServer server{"max_payload: 1000"};
  const auto connection = lasting_connection(server.url());
  CHECK(thrown_by([&] { NatsNode{server.url(), settings_of(1)}; }) == Errc::frame_too_large);
  CHECK(thrown_by([&] { NatsNode{connection.get(), settings_of(1)}; }) == Errc::frame_too_large);
}

TEST_CASE("a node works on a NATS server that takes the smallest messages", "[nats]") {
  const NatsServer server{"max_payload: 1024"};
  const syncbus::BusOptions options{.name = std::string(255, 'n'), .zone = std::string(255, 'z'), .peer_timeout = 20s};
  syncbus::NatsBus a{server.url(), "subject", options, quick};
  syncbus::NatsBus b{server.url(), "subject", options, quick};
  const auto subscription = b.subscribe_all([](const syncbus::Event&) {}, [](const syncbus::Resync&) {});
  std::vector<std::string> keys;
  for (int i = 0; i != 1'000; ++i) keys.push_back("key " + std::to_string(i));
  CHECK_FALSE(a.publish_and_await(keys, 1, {.timeout = 20s}).error);
  CHECK(a.metrics().reconnects == 0);
  CHECK(b.metrics().reconnects == 0);
}

TEST_CASE("a caller's connection that another thread has blocked is not waited for beyond connect_timeout", "[nats]") {
  NatsServer server;
  const auto connection = lasting_connection(server.url());
  server.stop();
  std::atomic<bool> returned = false;
  std::thread other{[&] {
    const std::string large(1'000'000, 'x');
    for (int i = 0; i != 64; ++i) natsConnection_Publish(connection.get(), "other", large.data(), 1'000'000);
    returned = true;
  }};
  auto settings = settings_of(1);
  settings.connect_timeout = 200ms;
  const auto start = std::chrono::steady_clock::now();
  std::error_code code;
  {
    NatsNode* node = nullptr;
    try {
      node = new NatsNode{connection.get(), settings};
    } catch (const std::system_error& error) {
      code = error.code();
    }
    delete node;
  }
  CHECK(code == Errc::not_connected);
  CHECK(std::chrono::steady_clock::now() - start < 10s);
  CHECK_FALSE(returned);
  server.resume();
  other.join();
}
