// Latency over a private redis-server, idle: one way, and a quorum of one remote replica beside a raw request and
// reply.
// How to try it: build the target redis_latency_bench in release, run it; a number on the command line is the rounds.
#include <hiredis/hiredis.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/redis_bus.hpp>

#include "bench/bench.hpp"
#include "bench/latency.hpp"
#include "bench/raw_redis.hpp"
#include "support/redis_server.hpp"

namespace {

using bench::Context, bench::publish, bench::RawSubscriber, bench::read_reply;

double raw_one_way(int port) {
  std::atomic<bench::Clock::time_point> arrived;
  const RawSubscriber subscriber{port, "one way", [&] { arrived = bench::Clock::now(); }};
  const Context publisher{redisConnect("127.0.0.1", port)};
  const std::string message(32, 'k');
  return bench::median_of([&] {
    const double time = bench::until(arrived, [&] { publish(*publisher, "one way", message); });
    read_reply(*publisher);
    return time;
  });
}

double raw_round_trip(int port) {
  const Context replier{redisConnect("127.0.0.1", port)};
  const std::string message(32, 'k');
  std::atomic<bool> back{false};
  const RawSubscriber answers{port, "reply", [&] {
                                back = true;
                                back.notify_one();
                              }};
  const RawSubscriber requests{port, "request", [&] {
                                 publish(*replier, "reply", message);
                                 read_reply(*replier);
                               }};
  const Context requester{redisConnect("127.0.0.1", port)};
  return bench::median_of([&] {
    back = false;
    const auto start = bench::Clock::now();
    publish(*requester, "request", message);
    back.wait(false);
    const double time = bench::seconds_since(start);
    read_reply(*requester);
    return time;
  });
}

}  // namespace

int main(int argc, char** argv) try {
  const std::size_t rounds = argc > 1 ? static_cast<std::size_t>(std::atoi(argv[1])) : 5;
  const support::RedisServer server;
  const std::string url = server.url();
  bench::compare(
      "Redis, idle, one way: publish to handler, p50", "us", rounds,
      {{"raw hiredis, PUBLISH to a thread that blocks in its read", [&] { return raw_one_way(server.port()); }},
       {"RedisBus, publish to handler", [&] { return bench::bus_one_way<syncbus::RedisBus>(url); }}});
  bench::compare("Redis, idle, there and back, p50", "us", rounds,
                 {{"raw hiredis, request and reply", [&] { return raw_round_trip(server.port()); }},
                  {"RedisBus, publish_and_await of 1 remote replica",
                   [&] { return bench::bus_round_trip<syncbus::RedisBus>(url); }}});
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
