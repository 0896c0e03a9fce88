// The faults of a hub: copies of frames are lost, doubled, reordered, delayed or cut off, from one seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <unordered_map>

#include <syncbus/base/split_mix64.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::detail {

/// The faults of a hub, and the generator that decides which copy meets one. A copy is one frame to one receiver. A
/// fault that is off draws nothing, so the same calls from the same seed have the same outcome.
///
/// Setters throw std::system_error (invalid_argument) with a sentence, and then change nothing.
class HubFaults {
 public:
  explicit HubFaults(std::uint64_t seed) noexcept : random_{seed} {}

  void set_drop(double probability) { drop_ = checked(probability, "drop"); }
  void set_duplicate(double probability) { duplicate_ = checked(probability, "duplicate"); }
  void set_reorder(double probability) { reorder_ = checked(probability, "reorder"); }

  void set_delay(Duration least, Duration most) {
    if (least < Duration::zero() || most < least) {
      throw std::system_error{Errc::invalid_argument, "InMemoryHub::delay: give 0 <= min <= max"};
    }
    least_delay_ = least;
    most_delay_ = most;
  }

  /// These nodes are a group of their own from now on; one that was in another group has left that.
  void partition(std::span<const NodeId> nodes) {
    for (const NodeId node : nodes) {
      if (node == NodeId{}) {
        throw std::system_error{Errc::invalid_argument, "InMemoryHub::partition: the id 0 is no node"};
      }
    }
    ++groups_;
    for (const NodeId node : nodes) group_of_[node] = groups_;
  }

  /// Ends every partition.
  void heal() noexcept { group_of_.clear(); }

  /// Whether no copy can meet a fault.
  [[nodiscard]] bool none() const noexcept {
    return drop_ == 0 && duplicate_ == 0 && reorder_ == 0 && most_delay_ == Duration::zero() && group_of_.empty();
  }

  /// Whether a partition lies between the two. Nodes that no group names are together.
  [[nodiscard]] bool separated(NodeId one, NodeId other) const noexcept {
    return !group_of_.empty() && group(one) != group(other);
  }

  /// How many copies of a frame set out: 0, 1 or 2.
  [[nodiscard]] std::size_t draw_copies() noexcept {
    if (happens(drop_)) return 0;
    return happens(duplicate_) ? 2 : 1;
  }

  /// Whether the next copy to the same receiver shall overtake this one.
  [[nodiscard]] bool draw_reorder() noexcept { return happens(reorder_); }

  [[nodiscard]] Duration draw_delay() noexcept {
    if (most_delay_ == least_delay_) return least_delay_;
    const auto spread = static_cast<std::uint64_t>((most_delay_ - least_delay_).count());
    return least_delay_ + Duration{static_cast<Duration::rep>(random_.next() % (spread + 1))};
  }

 private:
  [[nodiscard]] static double checked(double probability, const char* call) {
    if (probability >= 0 && probability <= 1) return probability;  // not so for a NaN
    throw std::system_error{Errc::invalid_argument,
                            std::string{"InMemoryHub::"} + call + ": a probability is between 0 and 1"};
  }

  [[nodiscard]] std::size_t group(NodeId node) const noexcept {
    const auto found = group_of_.find(node);
    return found == group_of_.end() ? 0 : found->second;
  }

  [[nodiscard]] bool happens(double probability) noexcept {
    if (probability == 0) return false;
    return static_cast<double>(random_.next() >> 11U) * 0x1p-53 < probability;  // 53 bits: evenly in [0, 1)
  }

  SplitMix64 random_;
  double drop_ = 0;
  double duplicate_ = 0;
  double reorder_ = 0;
  Duration least_delay_{};
  Duration most_delay_{};
  std::size_t groups_ = 0;
  std::unordered_map<NodeId, std::size_t> group_of_;  // from 1; all other nodes are in group 0
};

}  // namespace syncbus::inline v1::detail
