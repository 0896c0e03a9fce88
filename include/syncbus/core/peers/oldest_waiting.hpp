// The age of the oldest item of a queue, from two marks instead of a time for each item.
#pragma once

#include <algorithm>
#include <cstdint>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::core {

/// Items are numbered in the order in which they are settled. The answer may be too old, by as long as the last half of
/// them took to settle, and is never too young.
class OldestWaiting {
 public:
  /// What comes behind number `before` is known since `at`; up to `settled` nothing waits any more.
  void added(std::uint64_t before, std::uint64_t settled, TimePoint at) noexcept {
    advance(settled);
    if (before <= settled) {
      marks_[0] = {before, at};
      two_ = false;
      return;
    }
    marks_[0].since = (std::min)(marks_[0].since, at);
    if (two_) {
      marks_[1].since = (std::min)(marks_[1].since, at);
    } else {
      marks_[1] = {before, at};
      two_ = true;
    }
  }

  /// Precondition: something waits behind `settled`.
  [[nodiscard]] TimePoint since(std::uint64_t settled) noexcept {
    advance(settled);
    return marks_[0].since;
  }

 private:
  /// All behind number `before` is known since `since`, or later.
  struct Mark {
    std::uint64_t before = 0;
    TimePoint since{};
  };

  void advance(std::uint64_t settled) noexcept {
    if (!two_ || settled < marks_[1].before) return;
    marks_[0] = marks_[1];
    two_ = false;
  }

  Mark marks_[2]{};
  bool two_ = false;
};

}  // namespace syncbus::inline v1::core
