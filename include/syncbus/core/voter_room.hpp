// How many answers a node keeps for all of its awaits together.
#pragma once

#include <cstddef>

namespace syncbus::inline v1::core {

/// Who can write to the channel answers in as many names as it likes, and a few bytes answer all events of a frame. So
/// what is kept of answers is counted: in *places*, of which an await of many events needs more for each node. Nodes
/// that are not known get a sixteenth of it at most. An answer for which there is no room is as one that was lost: its
/// node is asked again.
class VoterRoom {
 public:
  /// For so many awaited events.
  explicit VoterRoom(std::size_t max_awaits) noexcept : left_{share * max_awaits}, strangers_left_{max_awaits} {}

  /// Whether there is room for the answers of one more node.
  [[nodiscard]] bool has(std::size_t places, bool stranger) const noexcept {
    return places <= left_ && (!stranger || places <= strangers_left_);
  }
  /// Precondition: there is.
  void take(std::size_t places, bool stranger) noexcept {
    left_ -= places;
    strangers_left_ -= stranger ? places : 0;
  }
  void give_back(std::size_t places, bool stranger) noexcept {
    left_ += places;
    strangers_left_ += stranger ? places : 0;
  }

 private:
  static constexpr std::size_t share = 16;

  std::size_t left_;
  std::size_t strangers_left_;
};

}  // namespace syncbus::inline v1::core
