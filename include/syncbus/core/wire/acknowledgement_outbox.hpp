// Collects acknowledgements and acknowledgement requests into few frames.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/core/wire/acknowledgement_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// When nodes without a matching subscriber answer at the latest, and how long questions wait for one another.
inline constexpr Duration no_subscriber_delay = std::chrono::milliseconds{20};

/// One batch for each destination. An entry says by when it has to go; what else waits for the same node goes with it.
/// Beyond `max_entries` an entry is dropped: the node that misses it asks.
class AcknowledgementOutbox {
 public:
  static constexpr std::size_t frame_bytes = std::size_t{16} << 10U;

  struct Outgoing {
    NodeId destination{};  ///< 0: everybody
    std::size_t bytes = 0;
    std::size_t entries = 0;
  };

  explicit AcknowledgementOutbox(std::size_t max_entries) noexcept : max_entries_{max_entries} {}

  /// Whether there was room for it. Throws bad_alloc, and then it may be lost.
  bool add(NodeId destination, const Acknowledgement& entry, TimePoint due) {
    const auto batch = batches_.try_emplace(destination, Batch{due, {}}).first;
    auto& entries = batch->second.entries;
    if (!entries.empty() && goes_on(entries.back(), entry)) {
      entries.back().count += entry.count;
    } else if (entries_ < max_entries_) {
      entries.push_back(entry);
      ++entries_;
    } else {
      if (entries.empty()) batches_.erase(batch);
      return false;
    }
    const TimePoint earlier = (std::min)(batch->second.due, due);
    auto place = agenda_.extract({batch->second.due, destination});  // its memory is there
    batch->second.due = earlier;
    if (place) {
      place.value().first = earlier;
      agenda_.insert(std::move(place));
    } else {
      agenda_.insert({earlier, destination});
    }
    return true;
  }

  /// Encodes a frame that is due into `out`.
  [[nodiscard]] std::optional<Outgoing> next(NodeId self, std::span<std::byte> out, TimePoint now) {
    if (now < due()) return std::nullopt;
    const auto batch = batches_.find(agenda_.begin()->second);
    auto& entries = batch->second.entries;
    AcknowledgementWriter writer{out};
    std::size_t written = 0;
    while (written != entries.size() && writer.add(entries[written])) ++written;
    const Outgoing outgoing{batch->first, writer.finish(self, batch->first), written};
    entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(written));
    entries_ -= written;
    if (entries.empty()) {
      agenda_.erase(agenda_.begin());
      batches_.erase(batch);
    }
    return outgoing;
  }

  [[nodiscard]] TimePoint due() const noexcept {
    return agenda_.empty() ? detail::never : agenda_.begin()->first;
  }

 private:
  struct Batch {
    TimePoint due{};
    std::vector<Acknowledgement> entries;
  };

  /// Whether `entry` continues `last`, with the same status.
  [[nodiscard]] static bool goes_on(const Acknowledgement& last, const Acknowledgement& entry) noexcept {
    return last.publisher == entry.publisher && last.sequence == entry.sequence && last.status == entry.status &&
           last.index + last.count == entry.index;
  }

  std::size_t max_entries_;
  std::size_t entries_ = 0;
  std::map<NodeId, Batch> batches_;
  std::set<std::pair<TimePoint, NodeId>> agenda_;  ///< of the batches
};

}  // namespace syncbus::inline v1::core
