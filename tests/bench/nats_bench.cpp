// NatsBus beside raw cnats over a private nats-server: keys a second from one publisher to one subscriber, and idle
// latency. How to try it: build the target nats_bench in release, run it; a number on the command line is the rounds.
#include <nats/nats.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/nats_bus.hpp>

#include "bench/bench.hpp"
#include "bench/latency.hpp"
#include "bench/throughput.hpp"
#include "support/nats_server.hpp"

namespace {

using support::Nats, support::require_ok;

/// Raw connections have the client's best settings for latency, which cost no throughput in large messages.
Nats<natsConnection> connect(const std::string& url, bool send_asap) {
  const auto options = support::nats_options(url);
  require_ok(natsOptions_SetSendAsap(options.get(), send_asap));
  return support::nats_connect(options);
}

void publish(natsConnection* connection, const char* subject, const std::string& message) {
  require_ok(natsConnection_Publish(connection, subject, message.data(), static_cast<int>(message.size())));
}

/// An asynchronous subscription: the client's thread calls back for each message.
class RawSubscriber {
 public:
  RawSubscriber(natsConnection* connection, const char* subject, std::function<void()> on_message)
      : on_message_{std::move(on_message)} {
    natsSubscription* made = nullptr;
    require_ok(natsConnection_Subscribe(&made, connection, subject, &RawSubscriber::heard, this));
    subscription_.reset(made);
    require_ok(natsSubscription_SetPendingLimits(made, -1, -1));
    require_ok(natsSubscription_SetOnCompleteCB(made, &RawSubscriber::ended, this));
    require_ok(natsConnection_Flush(connection));
  }
  RawSubscriber(const RawSubscriber&) = delete;
  RawSubscriber& operator=(const RawSubscriber&) = delete;
  ~RawSubscriber() {
    natsSubscription_Unsubscribe(subscription_.get());
    ended_.wait(false);
  }

 private:
  static void heard(natsConnection*, natsSubscription*, natsMsg* message, void* self) noexcept {
    natsMsg_Destroy(message);
    static_cast<RawSubscriber*>(self)->on_message_();
  }
  static void ended(void* self) noexcept {
    auto& flag = static_cast<RawSubscriber*>(self)->ended_;
    flag = true;
    flag.notify_one();
  }

  std::function<void()> on_message_;
  std::atomic<bool> ended_{false};
  Nats<natsSubscription> subscription_;
};

/// Raw cnats: messages a second, at most `window` of them unanswered: without a limit the server drops some.
double raw_rate(const std::string& url, std::size_t messages, const std::vector<std::string>& payloads,
                std::size_t window, bool publisher_subscribes) {
  const auto receiving = connect(url, false), sending = connect(url, false);
  std::atomic<std::uint64_t> seen{0};
  const auto count = [&seen] { seen.store(seen.load(std::memory_order_relaxed) + 1, std::memory_order_release); };
  const RawSubscriber subscriber{receiving.get(), "raw", count};
  std::unique_ptr<RawSubscriber> echo;
  if (publisher_subscribes) echo = std::make_unique<RawSubscriber>(sending.get(), "raw", [] {});
  const auto start = bench::Clock::now();
  for (std::size_t sent = 0; sent != messages; ++sent) {
    publish(sending.get(), "raw", payloads[sent % payloads.size()]);
    if (sent % window == window - 1) require_ok(natsConnection_Flush(sending.get()));
  }
  require_ok(natsConnection_Flush(sending.get()));
  while (seen.load(std::memory_order_acquire) < messages) std::this_thread::yield();
  return static_cast<double>(messages) / bench::seconds_since(start);
}

double raw_one_way(const std::string& url) {
  std::atomic<bench::Clock::time_point> arrived;
  const auto receiving = connect(url, true), sending = connect(url, true);
  const RawSubscriber subscriber{receiving.get(), "one", [&] { arrived = bench::Clock::now(); }};
  const std::string message(32, 'k');
  return bench::median_of([&] { return bench::until(arrived, [&] { publish(sending.get(), "one", message); }); });
}

double raw_round_trip(const std::string& url) {
  const auto requester = connect(url, true), replier = connect(url, true);
  const std::string message(32, 'k');
  std::atomic<bool> back{false};
  const RawSubscriber answers{requester.get(), "reply", [&] {
                                back = true;
                                back.notify_one();
                              }};
  const RawSubscriber requests{replier.get(), "request", [&] { publish(replier.get(), "reply", message); }};
  return bench::median_of([&] {
    back = false;
    const auto start = bench::Clock::now();
    publish(requester.get(), "request", message);
    back.wait(false);
    return bench::seconds_since(start);
  });
}

}  // namespace

int main(int argc, char** argv) try {
  using syncbus::NatsBus;
  const std::size_t rounds = argc > 1 ? static_cast<std::size_t>(std::atoi(argv[1])) : 5;
  const support::NatsServer server;
  const std::string url = server.url();
  const auto keys = bench::make_keys(100'000);
  double span_frame = 0;

  bench::compare(
      "NATS, 32-byte keys, one publisher to one subscriber", "keys/s", rounds,
      {{"raw cnats, one message a key", [&] { return raw_rate(url, 1'000'000, keys, 100'000, false); }},
       {"NatsBus, single: one key a call", [&] { return bench::bus_rate<NatsBus>(url, "single", 2'000'000, 1, keys); }},
       {"NatsBus, span: 100 keys a call",
        [&] { return bench::bus_rate<NatsBus>(url, "span", 3'000'000, 100, keys, &span_frame); }}});

  const auto frame = static_cast<std::size_t>(span_frame);
  const std::vector<std::string> frames{std::string(frame, 'f')};
  const auto limit = bench::compare(
      "the limit: ready-made messages of the same size, 16 unanswered, publisher subscribed too", "keys/s", rounds,
      {{"raw cnats, " + std::to_string(frame) + " bytes a message",
        [&] { return bench::keys_of(span_frame) * raw_rate(url, 5'000, frames, 16, true); }},
       {"NatsBus, span: 100 keys a call",
        [&] { return bench::bus_rate<NatsBus>(url, "span2", 3'000'000, 100, keys); }}});
  std::printf("\nspan against the limit: x%.2f\n", limit[1]);

  bench::compare("NATS, idle, one way: publish to handler, p50", "us", rounds,
                 {{"raw cnats, SendAsap, to the client's callback", [&] { return raw_one_way(url); }},
                  {"NatsBus, publish to handler", [&] { return bench::bus_one_way<NatsBus>(url); }}});
  bench::compare(
      "NATS, idle, there and back, p50", "us", rounds,
      {{"raw cnats, SendAsap, request and reply", [&] { return raw_round_trip(url); }},
       {"NatsBus, publish_and_await of 1 remote replica", [&] { return bench::bus_round_trip<NatsBus>(url); }}});
  nats_Close();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
