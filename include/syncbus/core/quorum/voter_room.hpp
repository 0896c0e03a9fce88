// The bound on acknowledgements that all awaits of a node keep together.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>

namespace syncbus::inline v1::core {

/// A stranger who can write to the channel can answer in as many names as it likes, and a few bytes answer all events
/// of a frame. So the answers that are kept are counted in *places*; an await of many events needs more of them for
/// each node. Unknown nodes get a sixteenth of all places at most. An answer without a place is treated as lost: its
/// node is asked again.
class VoterRoom {
 public:
  /// For so many awaited events: sixteen places for each; or one for each of so many peers and the node itself, if that
  /// is more, up to a million in all.
  explicit VoterRoom(std::size_t max_awaits, std::size_t max_peers = 0) noexcept
      : left_{places_for(max_awaits, max_peers)}, strangers_left_{left_ / share} {}

  /// Whether there is room for the answers of one more node.
  [[nodiscard]] bool has(std::size_t places, bool stranger) const noexcept {
    return places <= left_ && (!stranger || places <= strangers_left_);
  }
  /// Precondition: there is.
  void take(std::size_t places, bool stranger) noexcept {
    assert(has(places, stranger));
    left_ -= places;
    strangers_left_ -= stranger ? places : 0;
  }
  void give_back(std::size_t places, bool stranger) noexcept {
    left_ += places;
    strangers_left_ += stranger ? places : 0;
  }

 private:
  static constexpr std::size_t share = 16;
  static constexpr std::size_t for_few_awaits = std::size_t{1} << 20U;  ///< of 56 bytes

  [[nodiscard]] static std::size_t places_for(std::size_t max_awaits, std::size_t max_peers) noexcept {
    const std::size_t each = (std::min)(max_peers, for_few_awaits) + 1;
    const std::size_t all = max_awaits > for_few_awaits / each ? for_few_awaits : each * max_awaits;
    return (std::max)(share * max_awaits, all);
  }

  std::size_t left_;
  std::size_t strangers_left_;
};

}  // namespace syncbus::inline v1::core
