// Latency over a private redis-server, idle: one way, and a quorum of one remote replica beside a raw request and
// reply.
// How to try it: build the target redis_latency_bench in release, run it; a number on the command line is the rounds.
#include <hiredis/hiredis.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/redis_bus.hpp>

#include "bench/bench.hpp"
#include "bench/raw_redis.hpp"
#include "support/redis_server.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Context, bench::publish, bench::RawSubscriber, bench::read_reply;

constexpr std::size_t samples = 1'000;
constexpr std::size_t warm_up = 50;

/// The median of many single calls, in microseconds; each begins when everybody has been idle for a while.
double median_of(const std::function<double()>& call) {
  std::vector<double> times;
  for (std::size_t i = 0; i != warm_up + samples; ++i) {
    std::this_thread::sleep_for(200us);
    const double time = call();
    if (i >= warm_up) times.push_back(time * 1e6);
  }
  return bench::median(std::move(times));
}

/// From now until the other thread has put its own time into `arrived`.
double until(std::atomic<bench::Clock::time_point>& arrived, const std::function<void()>& send) {
  arrived = bench::Clock::time_point{};
  const auto start = bench::Clock::now();
  send();
  bench::Clock::time_point end;
  while ((end = arrived.load(std::memory_order_acquire)) == bench::Clock::time_point{}) {
    std::this_thread::sleep_for(20us);
  }
  return std::chrono::duration<double>(end - start).count();
}

double raw_one_way(int port) {
  std::atomic<bench::Clock::time_point> arrived;
  const RawSubscriber subscriber{port, "one way", [&] { arrived = bench::Clock::now(); }};
  const Context publisher{redisConnect("127.0.0.1", port)};
  const std::string message(32, 'k');
  return median_of([&] {
    const double time = until(arrived, [&] { publish(*publisher, "one way", message); });
    read_reply(*publisher);
    return time;
  });
}

double bus_one_way(const std::string& url) {
  std::atomic<bench::Clock::time_point> arrived;
  syncbus::RedisBus subscriber{url, "bus one way"};
  syncbus::RedisBus publisher{url, "bus one way"};
  const std::string key(32, 'k');
  const auto subscription = subscriber.subscribe(key, [&](const syncbus::Event&) { arrived = bench::Clock::now(); });
  return median_of([&] {
    return until(arrived, [&] {
      if (const auto error = publisher.publish(key, {.scope = syncbus::Scope::remote})) throw std::system_error{error};
    });
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
  return median_of([&] {
    back = false;
    const auto start = bench::Clock::now();
    publish(*requester, "request", message);
    back.wait(false);
    const double time = bench::seconds_since(start);
    read_reply(*requester);
    return time;
  });
}

double bus_round_trip(const std::string& url) {
  syncbus::RedisBus replica{url, "bus round trip"};
  syncbus::RedisBus publisher{url, "bus round trip"};
  const std::string key(32, 'k');
  const auto subscription = replica.subscribe(key, [](const syncbus::Event&) {});
  return median_of([&] {
    const auto start = bench::Clock::now();
    const auto outcome = publisher.publish_and_await(key, 1);
    if (outcome.error) throw std::system_error{outcome.error};
    return bench::seconds_since(start);
  });
}

}  // namespace

int main(int argc, char** argv) try {
  const std::size_t rounds = argc > 1 ? static_cast<std::size_t>(std::atoi(argv[1])) : 5;
  const support::RedisServer server;
  const std::string url = server.url();
  bench::compare("Redis, idle, one way: publish to handler, p50", "us", rounds,
                 {{"raw hiredis, PUBLISH to a thread that blocks in its read",
                   [&] { return raw_one_way(server.port()); }},
                  {"RedisBus, publish to handler", [&] { return bus_one_way(url); }}});
  bench::compare("Redis, idle, there and back, p50", "us", rounds,
                 {{"raw hiredis, request and reply", [&] { return raw_round_trip(server.port()); }},
                  {"RedisBus, publish_and_await of 1 remote replica", [&] { return bus_round_trip(url); }}});
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
