// The bound on the work that one frame of acknowledgements may cause.
#pragma once

#include <algorithm>
#include <cstddef>

namespace syncbus::inline v1::core {

/// An entry of a few bytes is about thousands of events, and a frame holds thousands of entries. Honest frames name
/// each event once, so work beyond what that takes is not done: a node that misses an answer asks again.
class FrameWork {
 public:
  /// Steps that every frame may take, for entries about others' events; one frame of answers holds about as many.
  static constexpr std::size_t least = 4'096;

  /// `awaited`: how many events of this node's a frame can be about.
  explicit FrameWork(std::size_t awaited) noexcept : left_{least + 2 * awaited} {}

  /// Whether one step more may be done.
  [[nodiscard]] bool spend() noexcept {
    if (left_ == 0) return false;
    --left_;
    return true;
  }

 private:
  std::size_t left_;
};

}  // namespace syncbus::inline v1::core
