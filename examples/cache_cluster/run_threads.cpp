// Nodes as threads of this process: on one in-memory hub, or each alone.
#include <cstddef>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "node.hpp"
#include "node_host.hpp"
#include "options.hpp"
#include "supervisor.hpp"

namespace cache_cluster {

namespace {

class ThreadHost final : public NodeHost {
 public:
  explicit ThreadHost(const Cluster& cluster) : cluster_{cluster} {}

  void start(std::size_t node) override {
    threads_.emplace_back([this, node] {
      try {
        run(node);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "cache_cluster: node %zu: %s\n", node, error.what());
        cluster_.board.records[node].failed = true;
      }
    });
  }

  std::optional<std::string> problem() override {
    for (std::size_t node = 0; node != threads_.size(); ++node) {
      if (cluster_.board.records[node].failed) return "node " + std::to_string(node) + " failed";
    }
    return std::nullopt;
  }

  std::optional<std::string> join() override {
    for (std::jthread& thread : threads_) thread.join();
    return problem();
  }

 private:
  void run(std::size_t node) {
    if (cluster_.connected) {
      syncbus::InMemoryBus bus{hub_, {.name = "cache-" + std::to_string(node)}};
      Node{cluster_, node, bus}.run();
    } else {
      syncbus::InMemoryBus alone;
      Node{cluster_, node, alone}.run();
    }
  }

  const Cluster cluster_;
  syncbus::InMemoryHub hub_;
  std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace

int run_threads(const Cluster& cluster, const Options& options) {
  std::printf("%zu cache nodes as threads, %s; %zu keys\n", options.nodes,
              cluster.connected ? "on an in-memory hub" : "each alone, without a bus between them", options.keys);
  ThreadHost host{cluster};
  return Supervisor{cluster.board, host, nullptr}.run(options.seconds);
}

}  // namespace cache_cluster
