// What goes wrong during a run, and when: the faults that a host of nodes can bring about.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace cache_cluster {

struct Incident {
  double at;  ///< as a part of the time in which the nodes read and write, from 0 to 1
  std::string remark;
  std::function<void()> happen;
};

/// In the order of their times.
using Incidents = std::vector<Incident>;

}  // namespace cache_cluster
