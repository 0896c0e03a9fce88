// A duration that doubles each time it is asked for, up to a bound. Pure.
#pragma once

#include <algorithm>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// From `least` up to `most`; from `most`, if that is less.
class Doubling {
 public:
  Doubling(Duration least, Duration most) noexcept
      : most_{std::clamp(most, Duration{1}, longest_time)}, least_{std::clamp(least, Duration{1}, most_)} {}

  [[nodiscard]] Duration next() noexcept {
    const Duration value = next_;
    next_ = next_ > most_ / 2 ? most_ : next_ * 2;
    return value;
  }

  /// It begins again at `least`.
  void reset() noexcept { next_ = least_; }

 private:
  Duration most_;
  Duration least_;
  Duration next_ = least_;
};

}  // namespace syncbus::inline v1::detail
