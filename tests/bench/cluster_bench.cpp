// How joining, staleness and control traffic grow with the number of nodes that begin together: the machines alone, in
// virtual time, on a channel with a delay of 1 ms.
// How to try it: build the target cluster_bench in release and run it, with the largest number of nodes if not 300.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "support/cluster.hpp"
#include "support/machine.cpp"

namespace {

using namespace std::chrono_literals;

double milliseconds(syncbus::Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

/// One line: of `count` nodes that begin within 15 ms.
void begin_together(std::size_t count) {
  support::Cluster cluster;
  std::vector<support::Node*> nodes;
  std::vector<syncbus::TimePoint> began;
  std::vector<syncbus::Duration> took(count);
  const auto look = [&] {
    for (std::size_t i = 0; i != nodes.size(); ++i) {
      if (took[i] == 0ms && nodes[i]->machine.joined()) took[i] = cluster.now() - began[i];
    }
  };
  const syncbus::TimePoint first = cluster.now();
  for (std::size_t i = 0; i != count; ++i) {
    auto options = support::roomy(syncbus::NodeId{1 + (i * 7919) % count});
    options.max_peers = 2 * count;
    options.history_bytes = options.queue_bytes = options.pending_bytes = 16 * support::kib;
    nodes.push_back(&cluster.add(options));
    began.push_back(cluster.now());
    cluster.pass(syncbus::Duration{15ms} / static_cast<syncbus::Duration::rep>(count));
  }
  for (int i = 0; i != 500; ++i) {
    cluster.pass(500us);
    look();
  }
  std::size_t known = 0;
  for (const support::Node* const node : nodes) known += node->machine.peers(node->now).size();
  cluster.pass(first + 1s - cluster.now());
  const std::size_t first_second = cluster.deliveries;
  std::size_t busiest = 0;
  syncbus::Duration staleness{};
  for (int second = 1; second != 30; ++second) {
    const std::size_t before = cluster.deliveries;
    cluster.pass(1s);
    busiest = (std::max)(busiest, cluster.deliveries - before);
    if (second < 20) continue;
    for (support::Node* const node : nodes) staleness = (std::max)(staleness, node->staleness());
  }
  std::printf("%5zu nodes: joined within %6.1f ms (the last), %5.1f %% known then, %8zu deliveries in the first second, "
              "%7zu in the busiest later, staleness up to %8.1f ms\n",
              count, milliseconds(*std::ranges::max_element(took)),
              count == 1 ? 100.0 : 100.0 * static_cast<double>(known) / static_cast<double>(count * (count - 1)),
              first_second, busiest, milliseconds(staleness));
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t most = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 300;
  for (const std::size_t count : {1U, 2U, 3U, 5U, 10U, 20U, 50U, 100U, 200U, 300U, 500U, 1'000U}) {
    if (count <= most) begin_together(count);
  }
}
