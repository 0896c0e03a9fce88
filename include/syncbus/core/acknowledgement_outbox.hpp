// Acknowledgements, and questions about them, that wait for their frame: few frames instead of many.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <syncbus/core/acknowledgement_frame.hpp>
#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// One batch for each destination. An entry says by when it has to go; what else waits for the same node goes with it.
/// Beyond `max_entries` an entry is dropped: whoever misses it asks.
class AcknowledgementOutbox {
 public:
  static constexpr std::size_t frame_bytes = std::size_t{16} << 10U;

  struct Outgoing {
    NodeId destination{};  ///< 0: everybody
    std::size_t bytes = 0;
    std::size_t entries = 0;
  };

  explicit AcknowledgementOutbox(std::size_t max_entries) noexcept : max_entries_{max_entries} {}

  void add(NodeId destination, const Acknowledgement& entry, TimePoint due) {
    if (entries_ >= max_entries_) return;
    Batch& batch = batches_[destination];
    batch.due = batch.entries.empty() ? due : (std::min)(batch.due, due);
    batch.entries.push_back(entry);
    ++entries_;
    due_ = (std::min)(due_, due);
  }

  /// Encodes a frame that is due into `out`, which has frame_bytes.
  [[nodiscard]] std::optional<Outgoing> next(NodeId self, std::span<std::byte> out, TimePoint now) {
    if (now < due_) return std::nullopt;
    const auto batch =
        std::ranges::find_if(batches_, [now](const auto& candidate) { return candidate.second.due <= now; });
    if (batch == batches_.end()) {
      find_due();
      return std::nullopt;
    }
    auto& entries = batch->second.entries;
    AcknowledgementWriter writer{out};
    std::size_t written = 0;
    while (written != entries.size() && writer.add(entries[written])) ++written;
    const Outgoing outgoing{batch->first, writer.finish(self, batch->first), written};
    entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(written));
    entries_ -= written;
    if (entries.empty()) batches_.erase(batch);
    find_due();
    return outgoing;
  }

  [[nodiscard]] TimePoint due() const noexcept { return due_; }

 private:
  struct Batch {
    TimePoint due{};
    std::vector<Acknowledgement> entries;
  };

  void find_due() noexcept {
    due_ = (TimePoint::max)();
    for (const auto& [destination, batch] : batches_) due_ = (std::min)(due_, batch.due);
  }

  std::size_t max_entries_;
  std::size_t entries_ = 0;
  TimePoint due_ = (TimePoint::max)();
  std::map<NodeId, Batch> batches_;
};

}  // namespace syncbus::inline v1::core
