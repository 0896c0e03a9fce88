// How awaits ended: the outcomes of those that do not block, and replicas as tests compare them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>

#include "support/eventually.hpp"

namespace contract {

/// For an await that is expected to end by itself.
inline const syncbus::AwaitOptions patiently{.timeout = 2 * support::patience};

/// For an await that has to fail before its deadline. Whoever waits for that notices.
inline const syncbus::AwaitOptions much_longer{.timeout = std::chrono::hours{1}};

/// In order of their ids; a replica that counted twice is here twice.
[[nodiscard]] inline std::vector<syncbus::NodeId> replicas_of(const syncbus::AwaitOutcome& outcome) {
  auto replicas = outcome.replicas;
  std::ranges::sort(replicas);
  return replicas;
}

/// The ids of nodes, in order.
template <class... Nodes>
[[nodiscard]] std::vector<syncbus::NodeId> ids_of(const Nodes&... nodes) {
  std::vector<syncbus::NodeId> ids{nodes->id()...};
  std::ranges::sort(ids);
  return ids;
}

/// Takes the outcomes of async_publish_and_await. Outlives the buses that complete into it.
/// Thread safety: everything may be called from any thread.
class Outcomes {
 public:
  [[nodiscard]] auto completion() {
    return [this](syncbus::AwaitOutcome outcome) {
      const std::lock_guard lock{mutex_};
      outcomes_.push_back(std::move(outcome));
    };
  }

  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock{mutex_};
    return outcomes_.size();
  }
  /// In the order in which they came.
  [[nodiscard]] std::vector<syncbus::AwaitOutcome> all() const {
    const std::lock_guard lock{mutex_};
    return outcomes_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<syncbus::AwaitOutcome> outcomes_;
};

}  // namespace contract
