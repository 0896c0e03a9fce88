// Where nodes run: the supervisor starts, watches and ends them through this, be they threads or processes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "node.hpp"
#include "options.hpp"

namespace cache_cluster {

class NodeHost {
 public:
  virtual ~NodeHost() = default;

  virtual void start(std::size_t node) = 0;

  /// What went wrong with a node; does not block.
  [[nodiscard]] virtual std::optional<std::string> problem() = 0;

  /// After the board says that the cluster has ended: waits for every node to leave. What went wrong meanwhile.
  [[nodiscard]] virtual std::optional<std::string> join() = 0;
};

/// Nodes as threads of this process, on one in-memory hub, or each alone. The program's exit status.
int run_threads(const Cluster& cluster, const Options& options);

/// Nodes as processes over the server of the options, or over one of their own. The caller has no threads.
int run_processes(const Cluster& cluster, const Options& options);

}  // namespace cache_cluster
