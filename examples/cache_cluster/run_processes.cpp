// Nodes as processes: each opens its own bus over one server.
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/kafka_bus.hpp>
#include <syncbus/nats_bus.hpp>
#include <syncbus/redis_bus.hpp>

#include "child_process.hpp"
#include "incident.hpp"
#include "node.hpp"
#include "node_host.hpp"
#include "options.hpp"
#include "private_server.hpp"
#include "supervisor.hpp"

namespace cache_cluster {

namespace {

class ProcessHost final : public NodeHost {
 public:
  ProcessHost(const Cluster& cluster, Broker broker, std::string url, std::string channel)
      : cluster_{cluster}, broker_{broker}, url_{std::move(url)}, channel_{std::move(channel)} {}

  void start(std::size_t node) override {
    children_.emplace_back([this, node] { return run(node); });
  }

  /// A node that is gone while the cluster runs is a problem, however it went.
  std::optional<std::string> problem() override {
    for (std::size_t node = 0; node != children_.size(); ++node) {
      if (const auto ended = children_[node].ended()) return describe(node, ended->empty() ? "left early" : *ended);
      if (cluster_.board.records[node].failed) return describe(node, "failed");
    }
    return std::nullopt;
  }

  std::optional<std::string> join() override {
    std::optional<std::string> problem;
    for (std::size_t node = 0; node != children_.size(); ++node) {
      if (!children_[node].wait_for(std::chrono::seconds{10})) {
        children_[node].kill();
        problem = describe(node, "did not leave and was killed");
      } else if (const auto ended = children_[node].ended(); !ended->empty()) {
        problem = describe(node, *ended);
      }
    }
    return problem;
  }

 private:
  [[nodiscard]] static std::string describe(std::size_t node, const std::string& what) {
    return "node " + std::to_string(node) + ' ' + what;
  }

  /// In the child.
  [[nodiscard]] int run(std::size_t node) const noexcept try {
    switch (broker_) {
      case Broker::redis: run_on<syncbus::RedisBus>(node); break;
      case Broker::nats: run_on<syncbus::NatsBus>(node); break;
      case Broker::kafka: run_on<syncbus::KafkaBus>(node, making_topic()); break;
    }
    return cluster_.board.records[node].failed ? EXIT_FAILURE : EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cache_cluster: node %zu: %s\n", node, error.what());
    return EXIT_FAILURE;
  }

  [[nodiscard]] static syncbus::KafkaTuning making_topic() {
    syncbus::KafkaTuning tuning;
    tuning.create_topic = true;
    return tuning;
  }

  template <class Bus, class... Tuning>
  void run_on(std::size_t node, const Tuning&... tuning) const {
    Bus bus{url_, channel_, bus_options(cluster_, node), tuning...};
    Node{cluster_, node, bus}.run();
  }

  const Cluster cluster_;
  const Broker broker_;
  const std::string url_;
  const std::string channel_;
  std::vector<ChildProcess> children_;
};

Incidents incidents(PrivateServer& server) {
  const std::string& name = server.name();
  return {
      {0.20, name + " was killed; the nodes go on reading and writing", [&server] { server.kill(); }},
      {0.30, name + " was started again on the same port", [&server] { server.start(); }},
      {0.50, name + " was stopped; its connections stay open", [&server] { server.stop(); }},
      {0.75, name + " was continued", [&server] { server.resume(); }},
  };
}

}  // namespace

int run_processes(const Cluster& cluster, const Options& options) {
  std::optional<PrivateServer> server;
  if (options.mode == Mode::private_server) server.emplace(options.broker);
  const std::string url = server ? server->url() : options.url;
  const std::string channel = options.channel.empty() ? "cache_cluster." + std::to_string(::getpid()) : options.channel;
  // A URL from outside may hold a password: it is not shown.
  std::printf("%zu cache nodes, each a process, over %s; %zu keys\n", options.nodes,
              server ? ("a private " + server->name() + ", " + url).c_str() : "the server given", options.keys);
  ProcessHost host{cluster, options.broker, url, channel};
  const bool faults = server && !cluster.calm;
  // A server that dies may take no frame with it that was not sent again: repairs are not for sure.
  const Expected expected{.no_resync = cluster.calm, .quorums = cluster.writes_per_quorum != 0};
  return Supervisor{cluster.board, host, faults ? incidents(*server) : Incidents{}, expected}.run(options.seconds);
}

}  // namespace cache_cluster
