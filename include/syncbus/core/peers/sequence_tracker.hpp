// Tracks one peer's sequences: the highest known one, and the gaps below it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <syncbus/core/wire/sequence_range.hpp>

namespace syncbus::inline v1::core {

/// Gaps and duplicates of one peer. Every sequence up to the highest known one was seen, is missing, or was given up: a
/// frame that was given up counts as a duplicate when it comes after all, for a resync has covered it. The missing ones
/// are at most `max_ranges` ranges, so a peer costs bounded memory whatever it sends.
class SequenceTracker {
 public:
  static constexpr std::size_t max_ranges = 64;
  static constexpr std::uint64_t remembered = 128;  ///< sequences up to the baseline

  /// What a sequence told.
  struct Observation {
    bool fresh = false;                       ///< never seen; otherwise it is a duplicate: seen before, or given up
    bool missed = false;                      ///< fresh, and it was known to be missing
    bool late = false;                        ///< missed, and a later one had been seen: repaired or reordered
    std::optional<SequenceRange> gap{};       ///< newly missing
    std::optional<SequenceRange> given_up{};  ///< the oldest missing range, which had to make room: for a resync

    /// How many are newly missing, for the metrics: a million at most. More than that is a lie.
    [[nodiscard]] std::uint64_t newly_missing() const noexcept {
      return gap ? (std::min)(gap->last - gap->first, std::uint64_t{999'999}) + 1 : 0;
    }
  };

  /// Events up to `baseline` are not owed to us.
  explicit SequenceTracker(std::uint64_t baseline) noexcept : baseline_{baseline}, known_{baseline} {}

  /// What was known of the peer was a lie: it begins anew at `baseline`. Frames up to the highest sequence that was
  /// seen count as late from now on: they may have been heard before.
  void restart(std::uint64_t baseline) noexcept {
    baseline_ = known_ = baseline;
    seen_ += seen_ != (std::numeric_limits<std::uint64_t>::max)() ? 1U : 0U;
    again_ = {};
    missing_.clear();
  }

  /// A frame of this sequence arrived.
  Observation observe(std::uint64_t sequence) {
    Observation result;
    if (sequence > known_) {
      result = announce(sequence - 1);
      known_ = sequence;
    } else if (fill(sequence, result)) {
      result.missed = true;
    } else {
      seen_ = (std::max)(seen_, sequence);  // it may be heard all the same
      return result;
    }
    result.fresh = true;
    result.late = sequence < seen_;
    seen_ = (std::max)(seen_, sequence);
    return result;
  }

  /// The peer says that its last sequence is `last`: what was not seen up to it is missing.
  Observation announce(std::uint64_t last) {
    Observation result;
    if (last <= known_) return result;
    result.gap = SequenceRange{known_ + 1, last};
    if (!missing_.empty() && missing_.back().last == known_) {
      missing_.back().last = last;
    } else {
      missing_.push_back(*result.gap);
    }
    known_ = last;
    keep_bounded(result);
    return result;
  }

  /// Gives up the missing sequences up to `last`; whether there were any.
  bool abandon(std::uint64_t last = (std::numeric_limits<std::uint64_t>::max)()) noexcept {
    if (missing_.empty() || missing_.front().first > last) return false;
    std::erase_if(missing_, [last](const SequenceRange& range) { return range.last <= last; });
    if (!missing_.empty() && missing_.front().first <= last) missing_.front().first = last + 1;
    return true;
  }

  /// Ascending, neither touching nor overlapping; valid until the next change.
  [[nodiscard]] std::span<const SequenceRange> missing() const noexcept { return missing_; }

  /// Whether nothing up to `last` is still to come.
  [[nodiscard]] bool complete_to(std::uint64_t last) const noexcept {
    return last <= known_ && (missing_.empty() || missing_.front().first > last);
  }

  /// The publisher has broadcast a frame up to the baseline after we met: it sends again what was not confirmed, the
  /// last few frames at most. Returns whether the frame is one of these and comes for the first time.
  bool sent_again(std::uint64_t sequence) noexcept {
    if (sequence > baseline_ || baseline_ - sequence >= remembered) return false;
    std::uint64_t& word = again_[(baseline_ - sequence) / 64];
    const std::uint64_t bit = std::uint64_t{1} << (baseline_ - sequence) % 64;
    return (std::exchange(word, word | bit) & bit) == 0;
  }

  /// How many are missing.
  [[nodiscard]] std::uint64_t missing_count() const noexcept {
    std::uint64_t count = 0;
    for (const SequenceRange& range : missing_) count += range.last - range.first + 1;
    return count;
  }

  /// The highest sequence that the peer is known to have sent.
  [[nodiscard]] std::uint64_t last_known() const noexcept { return known_; }

 private:
  /// Takes one sequence out of the missing ones; whether it was missing.
  bool fill(std::uint64_t sequence, Observation& result) {
    const auto range = std::ranges::lower_bound(missing_, sequence, {}, &SequenceRange::last);
    if (range == missing_.end() || range->first > sequence) return false;
    const SequenceRange hit = *range;
    if (hit.first == hit.last) {
      missing_.erase(range);
    } else if (hit.first == sequence) {
      ++range->first;
    } else {
      const auto low = hit.last == sequence ? range : missing_.insert(range + 1, {sequence + 1, hit.last}) - 1;
      low->last = sequence - 1;
    }
    keep_bounded(result);
    return true;
  }

  void keep_bounded(Observation& result) {
    if (missing_.size() <= max_ranges) return;
    result.given_up = missing_.front();
    missing_.erase(missing_.begin());
  }

  std::uint64_t baseline_;
  std::array<std::uint64_t, remembered / 64> again_{};  // up to the baseline, from the last: those that came
  std::uint64_t known_;     // the highest sequence seen or announced
  std::uint64_t seen_ = 0;  // the highest sequence seen; 0: none yet
  std::vector<SequenceRange> missing_{};
};

}  // namespace syncbus::inline v1::core
