// How a node knows that it has heard everything: every other node's last word, or a resync after that node fell silent.
#pragma once

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <syncbus/event.hpp>

#include "board.hpp"

namespace cache_cluster {

/// A node's events arrive in their order, so whoever has heard its last has heard them all. When the last one was lost,
/// a resync tells, and a cache that was cleared after the node's last write holds nothing that the node made stale.
class LastWords {
 public:
  LastWords(const Board& board, std::size_t self) : board_{board}, heard_(board.records.size()) { heard_[self] = true; }

  [[nodiscard]] static std::string key(std::size_t node) { return std::string{prefix} + std::to_string(node); }

  /// Whether the event is a last word, and no change of a row. To be called after the events before it were applied.
  bool take(const syncbus::Event& event) noexcept {
    if (!event.key.starts_with(prefix)) return false;
    std::size_t node = heard_.size();
    std::from_chars(event.key.data() + prefix.size(), event.key.data() + event.key.size(), node);
    if (node < heard_.size()) heard_[node] = true;
    return true;
  }

  /// `silent` are the nodes that had written for the last time before the cache was cleared.
  void cleared(const std::vector<std::size_t>& silent) noexcept {
    for (const std::size_t node : silent) heard_[node] = true;
  }

  [[nodiscard]] std::vector<std::size_t> silent() const {
    std::vector<std::size_t> nodes;
    for (std::size_t node = 0; node != heard_.size(); ++node) {
      if (board_.records[node].writes_over) nodes.push_back(node);
    }
    return nodes;
  }

  [[nodiscard]] bool all_heard() const noexcept {
    return std::all_of(heard_.begin(), heard_.end(), [](const std::atomic<bool>& heard) { return heard.load(); });
  }

 private:
  static constexpr std::string_view prefix = "last word of node ";

  const Board& board_;
  std::vector<std::atomic<bool>> heard_;
};

}  // namespace cache_cluster
