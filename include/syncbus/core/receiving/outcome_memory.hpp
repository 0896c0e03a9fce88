// Remembers how awaited events of others ended here, so that an acknowledgement request gets the same answer again.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <unordered_map>
#include <vector>

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/core/wire/acknowledgement_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// An events frame, by its publisher and sequence.
struct FrameName {
  NodeId publisher;
  std::uint64_t sequence = 0;

  friend bool operator==(const FrameName&, const FrameName&) = default;
};

/// Strangers choose both.
struct FrameNameHash {
  detail::HashSecret secret;

  [[nodiscard]] std::size_t operator()(const FrameName& name) const noexcept {
    const std::uint64_t of_publisher = detail::fold_product(name.publisher.value ^ secret.odd2, secret.odd1);
    return static_cast<std::size_t>(detail::fold_product(name.sequence ^ of_publisher, secret.odd2));
  }
};

/// Remembers frames with awaited events: that they wait for the dispatcher, then what their handlers said. At most
/// `max_answers` frames and runs; the oldest frame is forgotten first. A question about a forgotten frame has it
/// dispatched and answered once more, which is safe.
class OutcomeMemory {
 public:
  explicit OutcomeMemory(std::size_t max_answers, const detail::HashSecret& secret = {})
      : max_answers_{(std::max)(max_answers, std::size_t{1})}, frames_{0, FrameNameHash{secret}} {}

  /// A frame was queued behind position `position` of the queue: until that is settled its events are pending.
  void queued(FrameName name, std::uint64_t position) {
    const auto found = frames_.find(name);
    if (found == frames_.end()) order_.push_back(name);  // first: what is in the order may be missing, not the reverse
    (found == frames_.end() ? frames_.try_emplace(name).first : found)->second.position = position;
    make_room(1);
  }

  /// Handlers have returned from events of a frame. If the frame was dispatched more than once, the last answer counts.
  void answered(const Acknowledgement& answer) {
    const auto frame = frames_.find({answer.publisher, answer.sequence});
    if (frame == frames_.end()) return;
    std::vector<Run>& runs = frame->second.runs;
    const std::size_t before = runs.size();
    put(runs, {answer.index, answer.index + answer.count, answer.status});
    runs_ = runs_ + runs.size() - before;
    make_room(0);
  }

  struct Outcome {
    std::uint32_t count;  ///< for so many events, from the first one that was asked about
    AcknowledgementStatus status;

    friend bool operator==(const Outcome&, const Outcome&) = default;
  };

  /// What is known about an event, and `most` events from it on; none: nothing, or that it went under in a resync.
  /// O(log runs), so that a question about all events of a frame costs no more than its answer.
  [[nodiscard]] std::optional<Outcome> find(FrameName name, std::uint32_t index, std::uint32_t most,
                                            std::uint64_t settled) const {
    const auto frame = frames_.find(name);
    if (frame == frames_.end()) return std::nullopt;
    const auto& runs = frame->second.runs;
    const auto run = std::ranges::upper_bound(runs, index, {}, &Run::end);
    if (run != runs.end() && run->index <= index) return Outcome{(std::min)(most, run->end - index), run->status};
    if (run != runs.end()) most = (std::min)(most, run->index - index);
    if (settled < frame->second.position) return Outcome{most, AcknowledgementStatus::pending};
    return std::nullopt;
  }

 private:
  struct Run {
    std::uint32_t index;
    std::uint32_t end;  ///< one behind its last event
    AcknowledgementStatus status;
  };
  struct Frame {
    std::uint64_t position = 0;
    std::vector<Run> runs;  ///< ascending and disjoint
  };

  /// Puts a run in the place of what earlier runs said about the same events.
  static void put(std::vector<Run>& runs, const Run& run) {
    if (runs.empty() || runs.back().end <= run.index) return runs.push_back(run);
    if (runs.capacity() < runs.size() + 2) runs.reserve(2 * runs.size() + 2);  // what follows needs no more memory
    const auto first = std::ranges::upper_bound(runs, run.index, {}, &Run::end);
    const auto last = std::ranges::lower_bound(first, runs.end(), run.end, {}, &Run::index);
    std::array<Run, 3> parts{};  // what stays of the first of them, the new one, what stays of the last
    std::size_t count = 0;
    if (first != last && first->index < run.index) parts[count++] = {first->index, run.index, first->status};
    parts[count++] = run;
    if (first != last && run.end < std::prev(last)->end) {
      parts[count++] = {run.end, std::prev(last)->end, std::prev(last)->status};
    }
    const auto at = runs.erase(first, last);
    runs.insert(at, parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(count));
  }

  void make_room(std::size_t kept) {
    while (frames_.size() + runs_ > max_answers_ && order_.size() > kept) {
      if (const auto oldest = frames_.find(order_.front()); oldest != frames_.end()) {
        runs_ -= oldest->second.runs.size();
        frames_.erase(oldest);
      }
      order_.pop_front();
    }
  }

  std::size_t max_answers_;
  std::size_t runs_ = 0;
  std::unordered_map<FrameName, Frame, FrameNameHash> frames_;
  std::deque<FrameName> order_;
};

}  // namespace syncbus::inline v1::core
