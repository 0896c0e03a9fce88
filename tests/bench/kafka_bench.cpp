// KafkaBus beside raw librdkafka over a private Apache Kafka: keys a second from one publisher to one subscriber, and
// idle latency. How to try it: build the target kafka_bench in release, run it; a number on the command line is the
// rounds.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <syncbus/kafka_bus.hpp>

#include "bench/bench.hpp"
#include "bench/latency.hpp"
#include "bench/raw_kafka.hpp"
#include "bench/throughput.hpp"
#include "support/kafka_server.hpp"

namespace {

const bench::KafkaProperties at_once{{"acks", "all"}, {"linger.ms", "0"}};

/// Messages a second, at most `window` of them unanswered; 0: as many as the producer's queue takes, and nobody reads
/// at the publisher.
double raw_rate(const std::string& brokers, const std::string& topic, std::size_t messages,
                const std::vector<std::string>& payloads, std::size_t window,
                const bench::KafkaProperties& properties) {
  std::atomic<std::uint64_t> seen{0};
  std::unique_ptr<bench::RawReader> echo;
  if (window != 0) echo = std::make_unique<bench::RawReader>(brokers, topic, [] {});
  const bench::RawReader reader{brokers, topic, [&] { seen.fetch_add(1, std::memory_order_release); }};
  bench::RawWriter writer{brokers, topic, properties};
  const auto start = bench::Clock::now();
  for (std::size_t sent = 0; sent != messages; ++sent) {
    writer.write(payloads[sent % payloads.size()]);
    if (window == 0 && sent % 1'000 == 0) writer.poll();
    while (window != 0 && writer.unanswered() >= window) writer.poll(1);
  }
  while (seen.load(std::memory_order_acquire) < messages) writer.poll(1);
  const double rate = static_cast<double>(messages) / bench::seconds_since(start);
  while (writer.unanswered() != 0) writer.poll(1);
  return rate;
}

double raw_one_way(const std::string& brokers) {
  std::atomic<bench::Clock::time_point> arrived;
  const bench::RawReader reader{brokers, "raw", [&] { arrived = bench::Clock::now(); }};
  bench::RawWriter writer{brokers, "raw", at_once};
  const std::string message(32, 'k');
  return bench::median_of([&] {
    const double time = bench::until(arrived, [&] { writer.write(message); });
    while (writer.unanswered() != 0) writer.poll(1);
    return time;
  });
}

double raw_round_trip(const std::string& brokers) {
  const std::string message(32, 'k');
  std::atomic<bool> back{false};
  bench::RawWriter replier{brokers, "reply", at_once};
  const bench::RawReader answers{brokers, "reply", [&] {
                                   back = true;
                                   back.notify_one();
                                 }};
  const bench::RawReader requests{brokers, "request", [&] {
                                    replier.write(message);
                                    replier.poll();
                                  }};
  bench::RawWriter requester{brokers, "request", at_once};
  return bench::median_of([&] {
    back = false;
    const auto start = bench::Clock::now();
    requester.write(message);
    back.wait(false);
    const double time = bench::seconds_since(start);
    while (requester.unanswered() != 0) requester.poll(1);
    return time;
  });
}

}  // namespace

int main(int argc, char** argv) try {
  using syncbus::KafkaBus;
  const std::size_t rounds = argc > 1 ? static_cast<std::size_t>(std::atoi(argv[1])) : 5;
  support::KafkaServer server;
  const std::string brokers = server.brokers();
  for (const char* topic :
       {"raw", "single", "span", "frames", "span2", "request", "reply", "bus.one.way", "bus.round.trip"}) {
    server.create_topic(topic);
  }
  const auto keys = bench::make_keys(100'000);
  double span_frame = 0;

  bench::compare("Kafka, 32-byte keys, one publisher to one subscriber", "keys/s", rounds,
                 {{"raw librdkafka, one message a key, its own linger of 5 ms",
                   [&] {
                     return raw_rate(brokers, "raw", 400'000, keys, 0, {{"acks", "all"}});
                   }},
                  {"KafkaBus, single: one key a call",
                   [&] { return bench::bus_rate<KafkaBus>(brokers, "single", 1'500'000, 1, keys); }},
                  {"KafkaBus, span: 100 keys a call",
                   [&] { return bench::bus_rate<KafkaBus>(brokers, "span", 1'800'000, 100, keys, &span_frame); }}});

  const auto frame = static_cast<std::size_t>(span_frame);
  const std::vector<std::string> frames{std::string(frame, 'f')};
  const auto limit = bench::compare(
      "the limit: ready-made messages of the same size, 16 unanswered, publisher reads too", "keys/s", rounds,
      {{"raw librdkafka, " + std::to_string(frame) + " bytes a message",
        [&] { return bench::keys_of(span_frame) * raw_rate(brokers, "frames", 4'500, frames, 16, at_once); }},
       {"KafkaBus, span: 100 keys a call",
        [&] { return bench::bus_rate<KafkaBus>(brokers, "span2", 1'800'000, 100, keys); }}});
  std::printf("\nspan against the limit: x%.2f\n", limit[1]);

  bench::compare("Kafka, idle, one way: publish to handler, p50", "us", rounds,
                 {{"raw librdkafka, linger 0, a thread that blocks in its poll", [&] { return raw_one_way(brokers); }},
                  {"KafkaBus, publish to handler", [&] { return bench::bus_one_way<KafkaBus>(brokers); }}});
  bench::compare(
      "Kafka, idle, there and back, p50", "us", rounds,
      {{"raw librdkafka, linger 0, request and reply", [&] { return raw_round_trip(brokers); }},
       {"KafkaBus, publish_and_await of 1 remote replica", [&] { return bench::bus_round_trip<KafkaBus>(brokers); }}});
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
