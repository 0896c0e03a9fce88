// Nodes as threads of this process: on one in-memory hub, or each alone.
#include <cstddef>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "incident.hpp"
#include "node.hpp"
#include "node_host.hpp"
#include "options.hpp"
#include "supervisor.hpp"

namespace cache_cluster {

namespace {

class ThreadHost final : public NodeHost {
 public:
  explicit ThreadHost(const Cluster& cluster)
      : cluster_{cluster}, hub_{{.seed = cluster.seed, .real_time = true}}, ids_(cluster.board.records.size()) {}

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

  /// What is to happen once all nodes are ready.
  Incidents incidents() {
    constexpr double rate = 0.02;
    const auto lose = [this](double probability) {
      hub_.drop(probability);
      hub_.duplicate(probability);
    };
    const auto cut_off = [this](std::size_t nodes) { hub_.partition(std::span{ids_}.first(nodes)); };
    return {
        {0.15, "from now on 2 % of all frames are lost, and 2 % arrive twice", [=] { lose(rate); }},
        {0.35, "no more losses", [=] { lose(0); }},
        {0.40, "node 0 is cut off", [=] { cut_off(1); }},
        {0.45, "it can be heard again", [this] { hub_.heal(); }},
        {0.60, "half of the nodes are cut off from the others", [=, this] { cut_off(ids_.size() / 2); }},
        {0.80, "they can be heard again", [this] { hub_.heal(); }},
    };
  }

 private:
  void run(std::size_t node) {
    if (cluster_.connected) {
      syncbus::InMemoryBus bus{hub_, bus_options(cluster_, node)};
      ids_[node] = bus.id();
      Node{cluster_, node, bus}.run();
    } else {
      syncbus::InMemoryBus alone;
      Node{cluster_, node, alone}.run();
    }
  }

  const Cluster cluster_;
  syncbus::InMemoryHub hub_;
  std::vector<syncbus::NodeId> ids_;   // each written by its node before that is ready
  std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace

int run_threads(const Cluster& cluster, const Options& options) {
  std::printf("%zu cache nodes as threads, %s; %zu keys\n", options.nodes,
              cluster.connected ? "on an in-memory hub" : "each alone, without a bus between them", options.keys);
  ThreadHost host{cluster};
  const bool faults = cluster.connected && !cluster.calm;
  const Expected expected{.no_resync = cluster.calm,
                          .repairs = faults,
                          .quorums = cluster.connected && cluster.writes_per_quorum != 0};
  return Supervisor{cluster.board, host, faults ? host.incidents() : Incidents{}, expected}.run(options.seconds);
}

}  // namespace cache_cluster
