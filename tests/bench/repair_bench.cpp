// What losses and large clusters cost, on an InMemoryHub: repair messages a gap, time to repair, control messages a
// second.
// How to try it: build the target repair_bench in release and run it. All but the second part is counted, not timed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/syncbus.hpp>

#include "bench/bench.hpp"

namespace {

using namespace std::chrono_literals;

void must(std::error_code error) {
  if (error) throw std::system_error{error};
}

using Nodes = std::vector<std::unique_ptr<syncbus::InMemoryBus>>;

Nodes make_nodes(syncbus::InMemoryHub& hub, std::size_t count) {
  Nodes nodes;
  while (nodes.size() != count) nodes.push_back(std::make_unique<syncbus::InMemoryBus>(hub));
  return nodes;
}

/// Every node publishes for a while at 1 % loss. What was missing is repaired by so many frames, in one node's count.
void repair_messages(std::size_t count) {
  syncbus::InMemoryHub hub;
  const Nodes nodes = make_nodes(hub, count);
  std::vector<syncbus::Subscription> subscriptions;
  std::uint64_t resyncs = 0;
  for (const auto& node : nodes) {
    subscriptions.push_back(
        node->subscribe_all([](const syncbus::Event&) {}, [&](const syncbus::Resync&) { ++resyncs; }));
  }
  hub.advance(2s);
  std::uint64_t published = 0;
  hub.drop(0.01);
  for (int i = 0; i != 2'000; ++i) {
    must(nodes[static_cast<std::size_t>(i) % count]->publish("key " + std::to_string(i)));
    ++published;
    hub.advance(1ms);
  }
  hub.drop(0);
  hub.advance(3s);
  std::uint64_t gaps = 0;
  std::uint64_t repaired = 0;
  std::uint64_t sent = 0;
  for (const auto& node : nodes) {
    const auto metrics = node->metrics();
    gaps += metrics.gaps;
    repaired += metrics.frames_repaired;
    sent += metrics.repairs_sent;
  }
  std::printf("  %3zu nodes: %llu frames, %4llu missing, %4llu repaired, %4llu repair messages: %.2f a gap; "
              "%llu resyncs\n",
              count, static_cast<unsigned long long>(published), static_cast<unsigned long long>(gaps),
              static_cast<unsigned long long>(repaired), static_cast<unsigned long long>(sent),
              static_cast<double>(sent) / static_cast<double>(gaps), static_cast<unsigned long long>(resyncs));
}

/// Real time: a frame is lost, and the next one shows it. From its publish to the handler of the lost event.
void time_to_repair() {
  syncbus::InMemoryHub hub{{.real_time = true}};
  syncbus::InMemoryBus publisher{hub};
  syncbus::InMemoryBus subscriber{hub};
  std::atomic<bool> heard{false};
  const auto subscription = subscriber.subscribe("lost", [&](const syncbus::Event&) {
    heard = true;
    heard.notify_one();
  });
  std::vector<double> times;
  for (int i = 0; i != 200; ++i) {
    heard = false;
    hub.drop(1);
    must(publisher.publish("lost"));
    hub.drop(0);
    const auto start = bench::Clock::now();
    must(publisher.publish("next"));
    heard.wait(false);
    times.push_back(bench::seconds_since(start) * 1e3);
  }
  std::sort(times.begin(), times.end());
  std::printf("  p50 %.2f ms, p99 %.2f ms (a grace of 1 ms, and up to 0.1 ms a peer)\n", times[times.size() / 2],
              times[times.size() * 99 / 100]);
}

/// Idle nodes for a virtual minute.
void control_messages(std::size_t count) {
  syncbus::InMemoryHub hub;
  const Nodes nodes = make_nodes(hub, count);
  hub.advance(30s);
  const auto deliveries = [&] {
    std::uint64_t sum = 0;
    for (const auto& node : nodes) sum += node->metrics().frames_received;
    return sum;
  };
  const std::uint64_t before = deliveries();
  hub.advance(60s);
  std::printf("  %3zu nodes: %8.0f deliveries a second of all nodes together, %.2f heartbeats a second a node\n", count,
              static_cast<double>(deliveries() - before) / 60,
              static_cast<double>(deliveries() - before) / 60 / static_cast<double>(count * count));
}

}  // namespace

int main() try {
  std::printf("repair messages a gap (budget 1.2), 1 %% of all copies lost, virtual time\n");
  for (const std::size_t count : {2U, 3U, 10U, 30U}) repair_messages(count);
  std::printf("from the next frame after a loss to the repaired event, real time\n");
  time_to_repair();
  std::printf("control messages of idle nodes (control_rate 10,000 deliveries a second), virtual time\n");
  for (const std::size_t count : {3U, 30U, 300U}) control_messages(count);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
