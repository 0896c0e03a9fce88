// How a NatsBus is made, and how it refuses: addresses, subjects, users, connections, each with its error and a
// sentence.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/nats_bus.hpp>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/quick.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "contract/nats/nats_node.hpp"
#include "support/catch.hpp"
#include "support/certificate.hpp"
#include "support/eventually.hpp"
#include "support/fake_names.hpp"
#include "support/nats_server.hpp"
#include "support/process_limits.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::NatsServer;
using syncbus::Errc, syncbus::NatsBus;

static_assert(syncbus::Bus<NatsBus> && !std::copyable<NatsBus>);
static_assert(noexcept(std::declval<NatsBus&>().publish("k")));

namespace {

std::error_code refusal(std::string_view url, std::string_view subject = "subject", std::string* sentence = nullptr) {
  return thrown_by([&] { NatsBus{url, subject, {.connect_timeout = 5s}}; }, sentence);
}

bool holds(std::string_view text, std::string_view words) { return text.find(words) != std::string_view::npos; }

/// The lines of a bus's log.
class Log {
 public:
  auto hook() {
    return [this](std::string_view line) {
      const std::lock_guard lock{mutex_};
      lines_.emplace_back(line);
    };
  }
  [[nodiscard]] bool will_hold(std::string_view words) const {
    return eventually([&] {
      const std::lock_guard lock{mutex_};
      return std::any_of(lines_.begin(), lines_.end(), [&](const auto& line) { return holds(line, words); });
    });
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace

TEST_CASE("a malformed URL of NATS is an invalid argument, and no password is shown", "[contract]") {
  for (const std::string_view url :
       {"", "nats", "nats:", "nats://", "http://127.0.0.1:4222", "tls://127.0.0.1", "nats://127.0.0.1:port",
        "nats://127.0.0.1:0", "nats://127.0.0.1:65536", "nats://127.0.0.1/path", "nats://:4222", "nats://[::1",
        "nats://s3cret%zz:s3cret@h:1", "nats://u:s3c/ret@h", "nats://u:s3c#ret@h", "nats://a,", "nats://a,redis://b", "nats://a b"}) {
    INFO(url);
    std::string sentence;
    CHECK(refusal(url, "subject", &sentence) == Errc::invalid_argument);
    CHECK(sentence.size() > 20);
    CHECK(sentence.find("s3c") == std::string::npos);
  }
}

TEST_CASE("what is no subject of NATS is an invalid argument", "[contract]") {
  OnNats nats;
  for (const std::string_view subject :
       {"", " ", "a b", "a.*", "a.>", ">", "*", ".a", "a.", "a..b", "a\tb", "$SYS.a"}) {
    INFO(subject);
    std::string sentence;
    CHECK(refusal(nats.url(), subject, &sentence) == Errc::invalid_argument);
    CHECK(sentence.find("not a subject of NATS") != std::string::npos);
  }
  CHECK(refusal(nats.url(), std::string(1'001, 'a')) == Errc::invalid_argument);
  CHECK_FALSE(refusal(nats.url(), std::string(1'000, 'a')));
}

TEST_CASE("no connection at all is an invalid argument", "[contract]") {
  CHECK(thrown_by([] { NatsBus{static_cast<natsConnection*>(nullptr), "subject"}; }) == Errc::invalid_argument);
}

TEST_CASE("no NATS server listening is not_connected, within connect_timeout", "[contract]") {
  const auto begin = std::chrono::steady_clock::now();
  std::string sentence;
  CHECK(refusal("nats://127.0.0.1:1,nats://127.0.0.1:2", "subject", &sentence) == Errc::not_connected);
  CHECK(sentence.find("127.0.0.1:2") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
}

TEST_CASE("who waits for a NATS server that does not come is told why, and who is refused is told at once", "[contract]") {
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::steady_clock::now() - begin; };
  std::string sentence;
  // Between two attempts it would wait for longer than it is given at all.
  CHECK(thrown_by(
            [] {
              NatsBus{"nats://127.0.0.1:1", "subject", {.connect_timeout = 300ms, .wait_for_broker = 300ms},
                      syncbus::NatsTuning{.min_backoff = 1min, .max_backoff = 1min}};
            },
            &sentence) == Errc::not_connected);
  CHECK(holds(sentence, "127.0.0.1:1 cannot be reached: check the address"));
  CHECK(passed() >= 300ms);
  const NatsServer server{"authorization { token: \"s3cret\" }"};
  CHECK(thrown_by([&] { NatsBus{server.url("other"), "subject", {.wait_for_broker = 1min}}; }) ==
        Errc::permission_denied);
  CHECK(thrown_by([&] { NatsBus{"nats://", "subject", {.wait_for_broker = 1min}}; }) == Errc::invalid_argument);
  CHECK(passed() < 30s);
}

TEST_CASE("a wrong password, an unknown user and a wrong token are permission_denied", "[contract]") {
  const NatsServer server{"authorization { users = [{user: \"odd@user\", password: \"p@ss:w/rd %\"}] }"};
  std::string sentence;
  CHECK(refusal(server.url("odd%40user:wr0ng"), "subject", &sentence) == Errc::permission_denied);
  CHECK(sentence.find("wr0ng") == std::string::npos);
  CHECK(refusal(server.url("unknown:secret")) == Errc::permission_denied);
  CHECK(refusal(server.url()) == Errc::permission_denied);
  CHECK_FALSE(refusal(server.url("odd%40user:p%40ss%3Aw%2Frd%20%25")));
  const NatsServer guarded{"authorization { token: \"s3cret\" }"};
  CHECK(refusal(guarded.url("other")) == Errc::permission_denied);
  CHECK_FALSE(refusal(guarded.url("s3cret")));
}

TEST_CASE("a NATS user with just the documented permissions can publish and hear", "[contract]") {
  const NatsServer server{R"(authorization { users = [{user: least, password: p, permissions: {
      publish: ["events", "events.direct.*"], subscribe: ["events", "events.direct.*"]}}] })"};
  NatsBus bus{server.url("least:p"), "events"}, other{server.url("least:p"), "events"};
  Heard heard;
  const auto subscription = bus.subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(other.publish("theirs"));
  CHECK(eventually([&] { return heard.count() == 1; }));
  CHECK_FALSE(bus.publish("ours"));
  CHECK_FALSE(bus.flush(10s));
}

TEST_CASE("a NATS user who may only publish can have a publish_only bus, and no other", "[contract]") {
  const NatsServer server{
      R"(authorization { users = [{user: root, password: p}, {user: mute, password: p, permissions: {
      publish: ["events", "events.direct.*"], subscribe: ["_INBOX.>"]}}] })"};
  std::string sentence;
  CHECK(refusal(server.url("mute:p"), "events", &sentence) == Errc::permission_denied);
  CHECK(sentence.find("may not subscribe to 'events") != std::string::npos);
  NatsBus bus{server.url("mute:p"), "events", {.publish_only = true}}, listener{server.url("root:p"), "events"};
  Heard heard;
  const auto subscription = listener.subscribe_all(heard.on_event(), heard.on_resync());
  CHECK_FALSE(bus.publish("k"));
  CHECK(eventually([&] { return heard.count() == 1; }));
}

TEST_CASE("a bus over the caller's connection leaves it to the caller, and survives the server", "[contract]") {
  NatsServer server;
  const auto connection = lasting_connection(server.url());
  {
    NatsBus bus{connection.get(), "events", {}, quick}, other{server.url(), "events", {}, quick};
    Heard heard;
    const auto subscription = bus.subscribe_all(heard.on_event(), heard.on_resync());
    CHECK_FALSE(other.publish("before"));
    CHECK(eventually([&] { return heard.count() == 1; }));
    server.kill();
    CHECK(eventually([&] { return !bus.is_healthy() && !other.is_healthy(); }));
    CHECK_FALSE(other.publish("meanwhile"));
    server.start();
    CHECK(eventually([&] { return bus.is_healthy() && other.is_healthy(); }));
    CHECK(caught_up(other, bus));
    CHECK(eventually([&] { return heard.contains("invalidate meanwhile"); }));  // repaired, if it came too early
    const auto metrics = bus.metrics();
    CHECK(metrics.resyncs == decltype(metrics.resyncs){});
  }
  CHECK(natsConnection_FlushTimeout(connection.get(), 10'000) == NATS_OK);
}

TEST_CASE("a bus over the caller's connection may end while frames arrive", "[contract]") {
  const NatsServer server;
  const auto connection = lasting_connection(server.url());
  NatsBus publisher{server.url(), "events"};
  {
    const std::jthread publishing{[&](const std::stop_token& stop) {
      for (int i = 0; !stop.stop_requested(); ++i) static_cast<void>(publisher.publish(std::to_string(i)));
    }};
    for (int round = 0; round != 20; ++round) {
      std::atomic<int> count = 0;
      NatsBus bus{connection.get(), "events"};
      const auto subscription =
          bus.subscribe_all([&](const syncbus::Event&) { ++count; }, [](const syncbus::Resync&) {});
      CHECK(eventually([&] { return count > 0; }));
    }
  }
  CHECK(natsConnection_FlushTimeout(connection.get(), 10'000) == NATS_OK);
}

TEST_CASE("subjects do not mix", "[contract]") {
  OnNats nats;
  for (const std::string name : {"mix.a", "mix.a.b", "mix.a.direct.b", "mix.ü"}) {
    NatsBus publisher{nats.url(), name}, listener{nats.url(), name}, stranger{nats.url(), name + ".x"};
    Heard heard, other;
    const auto a = listener.subscribe_all(heard.on_event(), heard.on_resync());
    const auto b = stranger.subscribe_all(other.on_event(), other.on_resync());
    CHECK_FALSE(publisher.publish("k"));
    CHECK(eventually([&] { return heard.count() == 1; }));
    CHECK(other.count() == 0);
  }
}

TEST_CASE("what a NATS server has too little of is named, with what to raise", "[contract]") {
  struct Limit {
    std::string configuration, words, subject = "subject";
  };
  const auto limit = GENERATE(Limit{"max_connections: 1", "max_connections"},
                              Limit{"accounts { A { users: [{user: u, password: p}], limits: {max_conn: 1} } }", "(max_conn)"},
                              Limit{"max_subscriptions: 1", "raise its max_subscriptions"},
                              Limit{"max_control_line: 1024", "raise its max_control_line", std::string(1'000, 'a')});
  INFO(limit.configuration);
  const NatsServer server{limit.configuration};
  const std::string url = server.url(limit.configuration.find("users") == std::string::npos ? "" : "u:p");
  support::Nats<natsConnection> first;
  REQUIRE(eventually([&] {  // how the server was asked whether it is there may count for a moment
    try {
      first = lasting_connection(url);
    } catch (const std::runtime_error&) {
    }
    return first != nullptr;
  }));
  std::string sentence;
  CHECK(refusal(url, limit.subject, &sentence) == Errc::not_connected);
  INFO(sentence);
  CHECK(holds(sentence, limit.words));
  CHECK(holds(sentence, "127.0.0.1:" + std::to_string(server.port())));
}

TEST_CASE("a NATS connection that is lost is told of with its server, and one that the caller drains as such",
          "[contract]") {
  NatsServer server;
  Log own, lent;
  const auto connection = lasting_connection(server.url());
  const NatsBus bus{server.url(), "subject", {.on_log = own.hook()}, quick};
  {
    const NatsBus other{connection.get(), "subject", {.on_log = lent.hook()}, quick};
    natsConnection_Drain(connection.get());
    CHECK(lent.will_hold("is closed for good"));
  }
  std::string sentence;
  {
    const auto draining = lasting_connection(server.url());
    std::atomic<bool> held = true;  // as long, it cannot be closed
    const auto hold = [](natsConnection*, natsSubscription*, natsMsg* message, void* flag) {
      static_cast<std::atomic<bool>*>(flag)->wait(true);
      natsMsg_Destroy(message);
    };
    natsSubscription* made = nullptr;
    support::require_ok(natsConnection_Subscribe(&made, draining.get(), "held", hold, &held));
    const support::Nats<natsSubscription> subscription{made};
    support::require_ok(natsConnection_PublishString(draining.get(), "held", ""));
    support::require_ok(natsConnection_FlushTimeout(draining.get(), 10'000));
    natsConnection_Drain(draining.get());
    CHECK(thrown_by([&] { NatsBus{draining.get(), "subject"}; }, &sentence) == Errc::not_connected);
    held = false;
    held.notify_all();
    CHECK(eventually([&] { return natsConnection_IsClosed(draining.get()); }));
  }
  CHECK(holds(sentence, "is being drained (natsConnection_Drain)"));
  CHECK(thrown_by([&] { NatsBus{connection.get(), "subject"}; }, &sentence) == Errc::not_connected);
  CHECK(holds(sentence, "is closed for good"));
  server.kill();
  CHECK(own.will_hold("lost the connection to the NATS server at 127.0.0.1:" + std::to_string(server.port())));
}

TEST_CASE("a NATS server that wants TLS is told of, and how to give it", "[contract]") {
  const support::Certificate certificate;
  const NatsServer server{"tls { cert_file: \"" + certificate.file() + "\", key_file: \"" + certificate.key() + "\" }"};
  std::string sentence;
  CHECK(refusal(server.url(), "subject", &sentence) == Errc::not_connected);
  CHECK(holds(sentence, "wants TLS"));
  CHECK(holds(sentence, "natsOptions_SetSecure"));
}

TEST_CASE("a process that has too few descriptors for a NatsBus is told what to raise", "[contract]") {
  const NatsServer server;
  const auto sentences = support::refusals_without_descriptors([&] { NatsBus{server.url(), "subject"}; });
  CHECK(sentences.size() > 1);
  for (const std::string& sentence : sentences) {
    INFO(sentence);
    CHECK(holds(sentence, "raise its limit of open files (ulimit -n"));
  }
}

TEST_CASE("of several NATS servers one that refuses the user is told of, not one that is not there", "[contract]") {
  const NatsServer guarded{"authorization { token: \"s3cret\" }"};
  CHECK(refusal(guarded.url("other") + ",nats://127.0.0.1:1") == Errc::permission_denied);
}

TEST_CASE("programs that a process starts do not inherit the NATS connections of its buses", "[contract]") {
  const NatsServer server;
  const NatsBus bus{server.url(), "subject"};
  int connections = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    const int fd = std::stoi(entry.path().filename());
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || ntohs(peer.sin_port) != server.port()) {
      continue;
    }
    ++connections;
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(connections == 1);
}

TEST_CASE("a name server that does not answer holds up neither the making nor the closing of a NATS bus",
          "[contract]") {
  NatsServer server;
  support::FakeName name{"slow.test", {"127.0.0.1"}};
  const std::string url = "nats://slow.test:" + std::to_string(server.port());
  NatsBus bus{url, "subject", {}, quick};
  name.hold();
  std::string sentence;
  auto begin = std::chrono::steady_clock::now();
  CHECK(thrown_by([&] { NatsBus{url, "subject", {.connect_timeout = 300ms}}; }, &sentence) == Errc::not_connected);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(holds(sentence, "look-up of its name"));
  server.kill();
  CHECK(eventually([&] { return name.waiting() == 2; }));  // the one that was given up still does
  begin = std::chrono::steady_clock::now();
  static_cast<void>(bus.close(100ms));
  CHECK(std::chrono::steady_clock::now() - begin < 4s);
}
