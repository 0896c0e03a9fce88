// Keys a second from one publisher to one subscriber over a private redis-server: RedisBus beside raw hiredis.
// How to try it: build the target redis_bench in release, run it; a number on the command line is the rounds (default
// 7).
#include <hiredis/hiredis.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <syncbus/redis_bus.hpp>

#include "bench/bench.hpp"
#include "bench/raw_redis.hpp"
#include "support/redis_server.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Context, bench::RawSubscriber, bench::read_reply;

constexpr std::size_t pipeline = 200;

/// Raw hiredis: `messages` of `payload`, at most `window` unanswered. Messages a second.
double raw_rate(int port, const std::string& channel, std::size_t messages, const std::vector<std::string>& payloads,
                std::size_t window, bool publisher_subscribes) {
  std::optional<RawSubscriber> echo;
  if (publisher_subscribes) echo.emplace(port, channel, [] {});
  std::atomic<std::size_t> seen = 0;
  const RawSubscriber subscriber{port, channel, [&seen] { seen.fetch_add(1, std::memory_order_release); }};
  const Context context{redisConnect("127.0.0.1", port)};
  const auto start = bench::Clock::now();
  std::size_t answered = 0;
  for (std::size_t sent = 0; sent != messages; ++sent) {
    const std::string& payload = payloads[sent % payloads.size()];
    std::array<const char*, 3> words{"PUBLISH", channel.data(), payload.data()};
    const std::array<std::size_t, 3> sizes{7, channel.size(), payload.size()};
    redisAppendCommandArgv(context.get(), 3, words.data(), sizes.data());
    if (sent - answered + 1 >= window) {
      // A pipeline is answered as a whole; a window of large messages slides.
      const std::size_t target = window == pipeline ? sent + 1 : answered + 1;
      for (; answered != target; ++answered) read_reply(*context);
    }
  }
  for (; answered != messages; ++answered) read_reply(*context);
  while (seen.load(std::memory_order_acquire) < messages) std::this_thread::yield();
  return static_cast<double>(messages) / bench::seconds_since(start);
}

/// Ours: `total` keys in calls of `per_call`, counted by a handler of all keys. Keys a second. Anything joined away,
/// any resync, makes the figure worthless and ends the program.
double bus_rate(const std::string& url, const std::string& channel, std::size_t total, std::size_t per_call,
                const std::vector<std::string>& keys, double* frame_bytes = nullptr) {
  syncbus::RedisBus subscriber{url, channel};
  syncbus::RedisBus publisher{url, channel};
  std::atomic<std::uint64_t> heard{0};
  std::atomic<std::uint64_t> resyncs{0};
  const auto subscription = subscriber.subscribe_all(
      [&](const syncbus::Event&) { heard.store(heard.load(std::memory_order_relaxed) + 1, std::memory_order_release); },
      [&](const syncbus::Resync&) { ++resyncs; });
  const std::vector<std::string_view> views{keys.begin(), keys.end()};

  const auto start = bench::Clock::now();
  std::size_t at = 0;
  for (std::size_t sent = 0; sent < total; sent += per_call) {
    if (at + per_call > views.size()) at = 0;
    const auto error = per_call == 1 ? publisher.publish(views[at], {.scope = syncbus::Scope::remote})
                                     : publisher.publish(std::span{views}.subspan(at, per_call),
                                                         {.scope = syncbus::Scope::remote});
    if (error) throw std::system_error{error};
    at += per_call;
  }
  while (heard.load(std::memory_order_acquire) < total && resyncs == 0) std::this_thread::yield();
  const double rate = static_cast<double>(total) / bench::seconds_since(start);

  const auto sent = publisher.metrics();
  const auto got = subscriber.metrics();
  if (sent.joined + got.joined + resyncs != 0 || heard != total) {
    std::fprintf(stderr, "worthless: %llu joined at the publisher, %llu at the subscriber, %llu resyncs, %llu heard\n",
                 static_cast<unsigned long long>(sent.joined), static_cast<unsigned long long>(got.joined),
                 static_cast<unsigned long long>(resyncs), static_cast<unsigned long long>(heard));
    std::exit(1);
  }
  if (frame_bytes) *frame_bytes = static_cast<double>(sent.bytes_sent) / static_cast<double>(sent.frames_sent);
  return rate;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::size_t rounds = argc > 1 ? static_cast<std::size_t>(std::atoi(argv[1])) : 7;
  support::RedisServer server;
  const int port = server.port();
  const std::string url = "redis://127.0.0.1:" + std::to_string(port);
  const auto keys = bench::make_keys(100'000);
  double span_frame = 0;

  bench::compare("Redis, 32-byte keys, one publisher to one subscriber", "keys/s", rounds,
                 {{"raw hiredis, one PUBLISH a key, pipelined x200",
                   [&] { return raw_rate(port, "raw", 400'000, keys, pipeline, false); }},
                  {"RedisBus, single: one key a call", [&] { return bus_rate(url, "single", 1'500'000, 1, keys); }},
                  {"RedisBus, span: 100 keys a call",
                   [&] { return bus_rate(url, "span", 1'800'000, 100, keys, &span_frame); }}});

  const auto frame = static_cast<std::size_t>(span_frame);
  const std::vector<std::string> frames{std::string(frame, 'f')};
  const double keys_a_frame = (span_frame - 37) / (bench::key_bytes + 2);
  const auto limit = bench::compare(
      "the limit: ready-made messages of the same size, 16 unanswered, publisher subscribed too", "keys/s", rounds,
      {{"raw hiredis, " + std::to_string(frame) + " bytes a message",
        [&] { return keys_a_frame * raw_rate(port, "frames", 4'500, frames, 16, true); }},
       {"RedisBus, span: 100 keys a call", [&] { return bus_rate(url, "span2", 1'800'000, 100, keys); }}});
  std::printf("\nspan against the limit: x%.2f\n", limit[1]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
