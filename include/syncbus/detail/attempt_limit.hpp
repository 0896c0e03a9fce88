// How long an attempt to connect again may take: doubling, so that a server which is far away or slow is reached. Pure.
#pragma once

#include <algorithm>

#include <syncbus/detail/deadline.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

/// The first attempt after an interruption is a short one: most of what makes an attempt hang is over when it is made
/// anew. Where that is not so, as with a server many round trips away, no number of short attempts would do.
class AttemptLimit {
 public:
  AttemptLimit(Duration least, Duration most) noexcept
      : most_{std::clamp(most, Duration{1}, longest_time)}, least_{std::clamp(least, Duration{1}, most_)} {}

  /// The limit of the next attempt: `least`, and twice as long after each one, up to `most`.
  [[nodiscard]] Duration next() noexcept {
    const Duration limit = limit_;
    limit_ = limit_ > most_ / 2 ? most_ : limit_ * 2;
    return limit;
  }

  /// An attempt was successful.
  void reset() noexcept { limit_ = least_; }

 private:
  Duration most_;
  Duration least_;
  Duration limit_ = least_;
};

}  // namespace syncbus::inline v1::detail
