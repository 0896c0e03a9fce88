// Idle latency: one way, and there and back: what the benchmarks of all brokers measure.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/bus.hpp>

#include "bench/bench.hpp"

namespace bench {

using namespace std::chrono_literals;

inline constexpr std::size_t samples = 1'000;
inline constexpr std::size_t warm_up = 50;

/// The median of many single calls, in microseconds; each begins when everybody has been idle for a while.
[[nodiscard]] inline double median_of(const std::function<double()>& call) {
  std::vector<double> times;
  for (std::size_t i = 0; i != warm_up + samples; ++i) {
    std::this_thread::sleep_for(200us);
    const double time = call();
    if (i >= warm_up) times.push_back(time * 1e6);
  }
  return median(std::move(times));
}

/// From now until the other thread has put its own time into `arrived`.
[[nodiscard]] inline double until(std::atomic<Clock::time_point>& arrived, const std::function<void()>& send) {
  arrived = Clock::time_point{};
  const auto start = Clock::now();
  send();
  Clock::time_point end;
  while ((end = arrived.load(std::memory_order_acquire)) == Clock::time_point{}) std::this_thread::sleep_for(20us);
  return std::chrono::duration<double>(end - start).count();
}

template <class Bus>
[[nodiscard]] double bus_one_way(const std::string& url) {
  std::atomic<Clock::time_point> arrived;
  Bus subscriber{url, "bus.one.way"};
  Bus publisher{url, "bus.one.way"};
  const std::string key(32, 'k');
  const auto subscription = subscriber.subscribe(key, [&](const syncbus::Event&) { arrived = Clock::now(); });
  return median_of([&] {
    return until(arrived, [&] {
      if (const auto error = publisher.publish(key, {.scope = syncbus::Scope::remote})) throw std::system_error{error};
    });
  });
}

template <class Bus>
[[nodiscard]] double bus_round_trip(const std::string& url) {
  Bus replica{url, "bus.round.trip"};
  Bus publisher{url, "bus.round.trip"};
  const std::string key(32, 'k');
  const auto subscription = replica.subscribe(key, [](const syncbus::Event&) {});
  return median_of([&] {
    const auto start = Clock::now();
    const auto outcome = publisher.publish_and_await(key, 1);
    if (outcome.error) throw std::system_error{outcome.error};
    return seconds_since(start);
  });
}

}  // namespace bench
