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
  explicit QuorumAuditor(Cluster<Broker>& cluster)
      : cluster_{cluster}, heard_(cluster.size()), covered_(cluster.size()) {
    for (std::size_t i = 0; i != cluster.size(); ++i) {
      subscriptions_.push_back(cluster.bus(i).subscribe(key, [this, i](const syncbus::Event& event) {
        if (event.version != 0) return raise(heard_[i], event.version);
        raise(covered_[i], published_);  // a resync stands for all that was published before it
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
      const auto each_has = [&](const auto& versions) {
        return std::all_of(replicas.begin(), replicas.end(), [&](syncbus::NodeId replica) {
          const std::size_t index = index_of(replica);
          return index != cluster_.size() && versions(index) >= version;
        });
      };
      const bool heard = each_has([&](std::size_t index) { return heard_[index].load(); });
      const bool covered = each_has([&](std::size_t index) { return (std::max)(heard_[index].load(), covered_[index].load()); });
      const bool enough = outcome.error || replicas.size() == cluster_.size();
      if (!covered || !enough || replicas.size() != outcome.replicas.size()) ++wrong_;
      // A resync of just then may have been handled before the version was there, or for it: that proves nothing.
      if (heard && !outcome.error) ++satisfied_;
      std::this_thread::sleep_for(pace);  // a rate, not a wait
    }
  }

  static void raise(std::atomic<std::uint64_t>& to, std::uint64_t version) noexcept {
    for (auto before = to.load(); before < version && !to.compare_exchange_weak(before, version);) continue;
  }

  [[nodiscard]] std::size_t index_of(syncbus::NodeId id) {
    std::size_t index = 0;
    while (index != cluster_.size() && cluster_.bus(index).id() != id) ++index;
    return index;
  }

  Cluster<Broker>& cluster_;
  std::deque<std::atomic<std::uint64_t>> heard_;    // the last version, by each node
  std::deque<std::atomic<std::uint64_t>> covered_;  // likewise, by a resync
  std::atomic<std::uint64_t> published_ = 0;
  std::atomic<std::uint64_t> satisfied_ = 0;
  std::atomic<std::uint64_t> wrong_ = 0;
  std::vector<syncbus::Subscription> subscriptions_;
  std::jthread worker_;  // last: uses everything above
};

}  // namespace fault
