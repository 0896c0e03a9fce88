// What the rules of Transport say, of every transport, while its broker dies, stops and comes back.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <thread>

#include <syncbus/transport/session/problem_reporter.hpp>

#include "contract/fixtures/fixtures.hpp"
#include "contract/transport/transport_node.hpp"
#include "support/catch.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::BroadcastToken;

namespace {

auto now() { return std::chrono::steady_clock::now(); }

/// Of nodes whose broker is to die: lent clients of Kafka tell nobody but their owner, so only time shows it.
syncbus::TransportSettings impatient(std::uint64_t id) {
  auto settings = settings_of(id);
  settings.peer_timeout = 3s;
  return settings;
}

/// While it has no session.
void check_closes_soon(TransportNode& node) {
  const auto begin = now();
  node.transport->close();
  CHECK(now() - begin < 5s);
  CHECK_FALSE(node.recorder.ready());
  CHECK(node.recorder.in_order());
}

}  // namespace

CONTRACT_TEST_CASE("a killed and restarted broker means an interruption and then a new session that works",
                   "[transport]", Transports) {
  TransportNode a{fixture.transport(), impatient(1)}, b{fixture.transport(), impatient(2)};
  REQUIRE(a.works());
  for (int round = 1; round <= 2; ++round) {
    const std::uint64_t session = a.recorder.session();
    const int interruptions = a.recorder.interruptions();
    fixture.kill_broker();
    a.broadcast("unanswered", 2'000'000);
    b.broadcast("unanswered", 2'000'000);
    REQUIRE(a.will_be_interrupted(interruptions + 1));
    a.broadcast("nobody is there", 3'000'000);
    fixture.restart_broker();
    REQUIRE(a.comes_back(session + 1));
    a.transport->broadcast(bytes_of("of an old session"), {session, 4'000'000});
    REQUIRE(a.works());
    a.send(1, "directed " + std::to_string(round));
    CHECK(a.recorder.will_hear("directed " + std::to_string(round)));
    REQUIRE(b.comes_back());
    REQUIRE(
        eventually([&] { return a.works() && b.recorder.heard("session " + std::to_string(a.recorder.session())); }));
  }
  CHECK_FALSE(a.recorder.heard("nobody is there"));
  CHECK_FALSE(a.recorder.heard("of an old session"));
  CHECK(a.recorder.in_order());
  CHECK_FALSE(a.recorder.problems().empty());
}

CONTRACT_TEST_CASE("what was not confirmed when the broker died is not sent again behind what the next session brings",
                   "[transport]", ServerTransports) {
  TransportNode a{fixture.transport(), 1};
  fixture.stop_broker();
  const std::string frame(300'000, 'x');
  for (std::uint64_t i = 1; i <= 20; ++i) a.broadcast(frame, i);
  fixture.kill_broker();
  fixture.restart_broker();
  REQUIRE(a.comes_back());
  REQUIRE(a.works());
  const auto frames = a.recorder.frames();
  const auto last = std::find(frames.rbegin(), frames.rend(), frame);
  if (!fixture.brings_late_frames()) CHECK(last == frames.rend());
  CHECK(std::count(frames.begin(), frames.end(), frame) <= 20);
  CHECK(std::none_of(last, frames.rend(), [](const auto& text) { return text.starts_with("session"); }));
  CHECK(a.recorder.in_order());
}

CONTRACT_TEST_CASE("a stopped broker is noticed within the peer timeout", "[transport]", ServerTransports) {
  auto settings = settings_of(1);
  settings.peer_timeout = 1s;
  settings.publish_only = GENERATE(false, true);
  const bool busy = GENERATE(true, false);
  if (!busy && !fixture.notices_silence()) return;  // the bus's own heartbeats make it busy
  TransportNode a{fixture.transport(), settings};
  const auto begin = now();
  fixture.stop_broker();
  if (busy) a.broadcast("unanswered", 1);
  REQUIRE(a.will_be_interrupted());
  CHECK(now() - begin >= 400ms);
  CHECK(now() - begin < 1s + 5s);  // and what a busy machine adds
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  fixture.resume_broker();
  CHECK(a.comes_back());
}

CONTRACT_TEST_CASE("a broker that takes nothing blocks no publisher, and neither the end of the transport",
                   "[transport]", ServerTransports) {
  auto settings = settings_of(1);
  settings.peer_timeout = 1s;
  settings.publish_only = GENERATE(false, true);
  TransportNode a{fixture.transport(), settings};
  fixture.stop_broker();
  const auto begin = now();
  const std::string frame(900'000, 'x');
  for (std::uint64_t i = 1; i <= 64; ++i) a.broadcast(frame, i);  // far more than the kernel takes
  for (int i = 0; i != 100; ++i) a.send(2, frame);
  CHECK(now() - begin < 5s);
  CHECK(a.will_be_interrupted());
  check_closes_soon(a);
  fixture.resume_broker();
}

CONTRACT_TEST_CASE("problems that repeat are told once in a while only", "[transport]", Transports) {
  TransportNode a{fixture.transport(), impatient(1)};
  const auto begin = now();
  fixture.kill_broker();
  a.broadcast("unanswered", 1);
  REQUIRE(a.will_be_interrupted());
  const std::size_t least = fixture.reconnects_itself() ? 2 : 1;  // that it died, and that nobody is there
  REQUIRE(eventually([&] { return a.recorder.problems().size() >= least; }));
  let_pass(500ms);  // ten attempts and more
  const auto told = static_cast<std::int64_t>(a.recorder.problems().size());
  using Reporter = syncbus::detail::ProblemReporter;
  CHECK(told <= static_cast<std::int64_t>(Reporter::most) * ((now() - begin) / Reporter::interval + 1));
  fixture.restart_broker();
}

CONTRACT_TEST_CASE("close returns soon while the transport reconnects", "[transport]", Transports) {
  const bool pausing = GENERATE(false, true);
  TransportNode a{
      fixture.transport(pausing ? syncbus::ReconnectTuning{.min_backoff = 1min, .max_backoff = 1min} : quick),
      impatient(1)};
  fixture.kill_broker();
  a.broadcast("unanswered", 1);
  REQUIRE(a.will_be_interrupted());
  check_closes_soon(a);
  fixture.restart_broker();
}

CONTRACT_TEST_CASE("close returns soon while the transport reconnects to a broker that says nothing", "[transport]",
                   ServerTransports) {
  auto settings = settings_of(1);
  settings.peer_timeout = 500ms;
  TransportNode a{fixture.transport(), settings};
  fixture.stop_broker();
  a.broadcast("unanswered", 1);
  REQUIRE(a.will_be_interrupted());
  check_closes_soon(a);
  fixture.resume_broker();
}

CONTRACT_TEST_CASE("a broker may die again and again under load", "[transport]", ServerTransports) {
  TransportNode a{fixture.transport(), 1};
  const std::string frame(32'000, 'x');
  std::jthread publisher{[&](const std::stop_token& stop) {
    for (std::uint64_t i = 1; !stop.stop_requested(); ++i) {
      const BroadcastToken token = a.broadcast(frame, i);
      a.send(1, "x");
      const auto is_open = [&] { return a.recorder.ready() && a.recorder.session() == token.session; };
      while (!stop.stop_requested() && is_open() && a.recorder.confirmed() < token) std::this_thread::yield();
    }
  }};
  bool came_back = true;
  for (int round = 0; round != 2; ++round) {
    const std::uint64_t session = a.recorder.session();
    came_back = came_back && eventually([&] { return a.recorder.confirmed().session >= session; });
    fixture.kill_broker();
    fixture.restart_broker();
    came_back = came_back && a.comes_back(session + 1);
  }
  publisher.request_stop();
  publisher.join();
  CHECK(came_back);
  CHECK(a.recorder.in_order());
}
