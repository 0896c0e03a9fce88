// The frames of a peer that were given up: one that comes after all is delivered all the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <syncbus/core/peers/sequence_tracker.hpp>

namespace syncbus::inline v1::core {

/// A resync covered them, or they were a lie: when somebody writes a heartbeat in a peer's name, with a last sequence
/// of 1000, that peer has yet to publish these frames. At most `max_ranges` ranges are kept; the oldest are forgotten
/// first.
class GivenUp {
 public:
  static constexpr std::size_t max_ranges = 64;

  void add(std::span<const SequenceRange> ranges, std::uint64_t last) {
    for (const SequenceRange& range : ranges) {
      if (range.first > last) return;
      keep({range.first, (std::min)(range.last, last)});
    }
  }

  /// What came of a broadcast frame.
  struct Taken {
    bool one = false;      ///< it is one of them, and not any longer
    bool skipped = false;  ///< and so are those right before it, which have not come: they are lost, if they were a lie
  };

  /// A broadcast frame came that had been seen or given up.
  [[nodiscard]] Taken take(std::uint64_t sequence) {
    const auto range = std::ranges::find_if(
        ranges_, [sequence](const SequenceRange& some) { return some.first <= sequence && sequence <= some.last; });
    if (range == ranges_.end()) return {};
    const SequenceRange hit = *range;
    ranges_.erase(range);
    if (sequence != hit.last) keep({sequence + 1, hit.last});
    return {true, sequence != hit.first};
  }

 private:
  void keep(const SequenceRange& range) {
    if (ranges_.size() == max_ranges) ranges_.erase(ranges_.begin());
    ranges_.push_back(range);
  }

  std::vector<SequenceRange> ranges_;  ///< the latest last; no two overlap
};

}  // namespace syncbus::inline v1::core
