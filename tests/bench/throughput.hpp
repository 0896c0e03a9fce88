// Keys a second through a bus, from one publisher to one subscriber: what the benchmarks of all brokers measure.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/bus.hpp>

#include "bench/bench.hpp"

namespace bench {

/// How many keys a frame of our own of so many bytes carries.
[[nodiscard]] inline double keys_of(double frame_bytes) { return (frame_bytes - 37) / (key_bytes + 2); }

/// Ours: `total` keys in calls of `per_call`, counted by a handler of all keys. Keys a second. Anything joined away,
/// any resync, makes the figure worthless and ends the program.
template <class Bus>
double bus_rate(const std::string& url, const std::string& channel, std::size_t total, std::size_t per_call,
                const std::vector<std::string>& keys, double* frame_bytes = nullptr) {
  Bus subscriber{url, channel};
  Bus publisher{url, channel};
  std::atomic<std::uint64_t> heard{0};
  std::atomic<std::uint64_t> resyncs{0};
  const auto subscription = subscriber.subscribe_all(
      [&](const syncbus::Event&) { heard.store(heard.load(std::memory_order_relaxed) + 1, std::memory_order_release); },
      [&](const syncbus::Resync&) { ++resyncs; });
  const std::vector<std::string_view> views{keys.begin(), keys.end()};

  const auto start = Clock::now();
  std::size_t at = 0;
  for (std::size_t sent = 0; sent < total; sent += per_call) {
    if (at + per_call > views.size()) at = 0;
    const auto error =
        per_call == 1 ? publisher.publish(views[at], {.scope = syncbus::Scope::remote})
                      : publisher.publish(std::span{views}.subspan(at, per_call), {.scope = syncbus::Scope::remote});
    if (error) throw std::system_error{error};
    at += per_call;
  }
  while (heard.load(std::memory_order_acquire) < total && resyncs == 0) std::this_thread::yield();
  const double rate = static_cast<double>(total) / seconds_since(start);

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

}  // namespace bench
