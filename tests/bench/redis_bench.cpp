// Keys a second from one publisher to one subscriber over a private redis-server: RedisBus beside raw hiredis.
// How to try it: build the target redis_bench in release, run it; a number on the command line is the rounds (default
// 7).
#include <hiredis/hiredis.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <syncbus/redis_bus.hpp>

#include "bench/bench.hpp"
#include "bench/raw_redis.hpp"
#include "bench/throughput.hpp"
#include "support/redis_server.hpp"

namespace {

using bench::Context, bench::RawSubscriber, bench::read_reply;
using syncbus::RedisBus;

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
                  {"RedisBus, single: one key a call",
                   [&] { return bench::bus_rate<RedisBus>(url, "single", 1'500'000, 1, keys); }},
                  {"RedisBus, span: 100 keys a call",
                   [&] { return bench::bus_rate<RedisBus>(url, "span", 1'800'000, 100, keys, &span_frame); }}});

  const auto frame = static_cast<std::size_t>(span_frame);
  const std::vector<std::string> frames{std::string(frame, 'f')};
  const double keys_a_frame = bench::keys_of(span_frame);
  const auto limit = bench::compare(
      "the limit: ready-made messages of the same size, 16 unanswered, publisher subscribed too", "keys/s", rounds,
      {{"raw hiredis, " + std::to_string(frame) + " bytes a message",
        [&] { return keys_a_frame * raw_rate(port, "frames", 4'500, frames, 16, true); }},
       {"RedisBus, span: 100 keys a call",
        [&] { return bench::bus_rate<RedisBus>(url, "span2", 1'800'000, 100, keys); }}});
  std::printf("\nspan against the limit: x%.2f\n", limit[1]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
