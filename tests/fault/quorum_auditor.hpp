// Awaits every node of a cluster again and again, and finds quorums that are no quorums: replicas that have not heard.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <stop_token>
#include <string_view>
#include <thread>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/subscription.hpp>

#include "fault/cluster.hpp"

namespace fault {

/// The first node publishes. The cluster outlives it.
template <class Broker>
class QuorumAuditor {
 public:
  explicit QuorumAuditor(Cluster<Broker>& cluster) : cluster_{cluster}, heard_(cluster.size()) {
    for (std::size_t i = 0; i != cluster.size(); ++i) {
      subscriptions_.push_back(cluster.bus(i).subscribe(key, [this, i](const syncbus::Event& event) {
        // A resync stands for all that was published before it.
        const std::uint64_t version = event.version != 0 ? event.version : published_.load();
        for (auto before = heard_[i].load(); before < version && !heard_[i].compare_exchange_weak(before, version);) {}
      }));
    }
    worker_ = std::jthread{[this](const std::stop_token& stop) { work(stop); }};
  }
  QuorumAuditor(const QuorumAuditor&) = delete;
  QuorumAuditor& operator=(const QuorumAuditor&) = delete;
  ~QuorumAuditor() { end(); }

  void end() {
    worker_.request_stop();
    if (worker_.joinable()) worker_.join();
  }

  [[nodiscard]] std::uint64_t satisfied() const noexcept { return satisfied_; }
  [[nodiscard]] std::uint64_t wrong() const noexcept { return wrong_; }

 private:
  static constexpr std::string_view key = "every node";
  static constexpr std::chrono::milliseconds pace{2};

  void work(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const std::uint64_t version = ++published_;
      const auto outcome = cluster_.bus(0).publish_and_await(
          key, syncbus::Quorum{static_cast<int>(cluster_.size())},
          {.timeout = std::chrono::milliseconds{500}, .publish = {.version = version}});
      const std::set<syncbus::NodeId> replicas{outcome.replicas.begin(), outcome.replicas.end()};
      const bool each_has = std::all_of(replicas.begin(), replicas.end(), [&](syncbus::NodeId replica) {
        const std::size_t index = index_of(replica);
        return index != cluster_.size() && heard_[index] >= version;
      });
      const bool enough = outcome.error || replicas.size() == cluster_.size();
      if (!each_has || !enough || replicas.size() != outcome.replicas.size()) ++wrong_;
      if (!outcome.error) ++satisfied_;
      std::this_thread::sleep_for(pace);  // a rate, not a wait
    }
  }

  [[nodiscard]] std::size_t index_of(syncbus::NodeId id) {
    std::size_t index = 0;
    while (index != cluster_.size() && cluster_.bus(index).id() != id) ++index;
    return index;
  }

  Cluster<Broker>& cluster_;
  std::deque<std::atomic<std::uint64_t>> heard_;
  std::atomic<std::uint64_t> published_ = 0;
  std::atomic<std::uint64_t> satisfied_ = 0;
  std::atomic<std::uint64_t> wrong_ = 0;
  std::vector<syncbus::Subscription> subscriptions_;
  std::jthread worker_;  // last: uses everything above
};

}  // namespace fault
