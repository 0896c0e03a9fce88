// The frames that peers have requested: NAK-based repair with suppression, one answer for many requesters.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include <syncbus/base/time.hpp>
#include <syncbus/core/wire/repair_frames.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// A loss near the publisher hits every node, and every node asks. The first node that asks for a frame gets it alone;
/// a second within `quiet` makes it a broadcast; for further ones within `quiet` it is on its way already.
///
/// Bounded: requests beyond `max_waiting` frames are forgotten; a node that misses one asks again.
class RepairQueue {
 public:
  static constexpr Duration quiet = std::chrono::milliseconds{50};
  static constexpr std::size_t max_waiting = max_requested_frames;

  struct Answer {
    std::uint64_t sequence = 0;
    NodeId destination{};  ///< 0: everybody
  };

  /// `requester` misses the frames of a range, of which we still have `history`.
  void request(NodeId requester, SequenceRange range, SequenceRange history, TimePoint now) {
    const std::uint64_t first = (std::max)(range.first, history.first);
    const std::uint64_t last = (std::min)(range.last, history.last);
    for (std::uint64_t sequence = first; sequence <= last && waiting_.size() < max_waiting; ++sequence) {
      request_one(requester, sequence, now);
    }
  }

  [[nodiscard]] bool empty() const noexcept { return waiting_.empty(); }

  [[nodiscard]] std::optional<Answer> next() {
    if (waiting_.empty()) return std::nullopt;
    const Answer answer = waiting_.front();
    waiting_.pop_front();
    return answer;
  }

 private:
  struct Asked {
    TimePoint at;
    NodeId by;
    bool broadcast = false;
  };

  void request_one(NodeId requester, std::uint64_t sequence, TimePoint now) {
    if (asked_.size() >= 4 * max_waiting) forget_old(now);
    const auto [place, fresh] = asked_.try_emplace(sequence, Asked{now, requester});
    Asked& asked = place->second;
    if (fresh || now - asked.at >= quiet) {
      asked = {now, requester};
      waiting_.push_back({sequence, requester});
    } else if (asked.by != requester && !asked.broadcast) {
      asked = {now, requester, true};
      broadcast(sequence);
    }
  }

  /// The answer to the first may still wait: then it is widened.
  void broadcast(std::uint64_t sequence) {
    const auto waiting = std::ranges::find(waiting_, sequence, &Answer::sequence);
    if (waiting != waiting_.end()) {
      waiting->destination = {};
    } else {
      waiting_.push_back({sequence, {}});
    }
  }

  void forget_old(TimePoint now) {
    std::erase_if(asked_, [now](const auto& entry) { return now - entry.second.at >= quiet; });
    if (asked_.size() >= 4 * max_waiting) asked_.clear();
  }

  std::map<std::uint64_t, Asked> asked_;  // no hash: strangers choose the sequences
  std::deque<Answer> waiting_;
};

}  // namespace syncbus::inline v1::core
