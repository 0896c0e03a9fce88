// The delayed copies of frames on a hub, in order of time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/transport/memory/hub_node.hpp>

namespace syncbus::inline v1::detail {

/// The copies that arrive later. To one receiver they arrive in the order in which they were added.
class HubTimeline {
 public:
  struct Entry {
    HubCopy copy;
    std::shared_ptr<HubNode> to;
    std::uint64_t number;
  };

  /// It arrives when it is due, but not before what was added earlier for the same node.
  void add(const std::shared_ptr<HubNode>& to, HubCopy copy) {
    if (to->under_way != 0) copy.due = (std::max)(copy.due, to->last_due);
    to->last_due = copy.due;
    ++to->under_way;
    heap_.push_back({std::move(copy), to, ++numbers_});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  /// When the first is due; `never` when there is none.
  [[nodiscard]] TimePoint next() const noexcept { return heap_.empty() ? never : heap_.front().copy.due; }

  /// The first; there must be one.
  [[nodiscard]] Entry take() noexcept {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    Entry first = std::move(heap_.back());
    heap_.pop_back();
    --first.to->under_way;
    return first;
  }

  /// Removes the copies that `lost(const HubCopy&, const HubNode& receiver)` says.
  template <class Lost>
  void remove(const Lost& lost) noexcept {
    const std::size_t removed = std::erase_if(heap_, [&](const Entry& entry) {
      if (!lost(entry.copy, *entry.to)) return false;
      --entry.to->under_way;
      return true;
    });
    if (removed != 0) std::make_heap(heap_.begin(), heap_.end(), later);
  }

 private:
  [[nodiscard]] static bool later(const Entry& one, const Entry& other) noexcept {
    return one.copy.due != other.copy.due ? one.copy.due > other.copy.due : one.number > other.number;
  }

  std::vector<Entry> heap_;
  std::uint64_t numbers_ = 0;
};

}  // namespace syncbus::inline v1::detail
