// A token bucket: limits the bytes that may be sent in a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// For answers: a request of some bytes is answered with megabytes, and anybody can write one in anybody's name.
class ByteBudget {
 public:
  /// So many bytes at once, above zero, and in the long run so many a second.
  ByteBudget(std::size_t most, std::size_t a_second) noexcept
      : most_{static_cast<double>(most)}, a_second_{static_cast<double>(a_second)}, left_{most_} {}

  /// How much may be sent now.
  [[nodiscard]] std::size_t left(TimePoint now) noexcept {
    const std::chrono::duration<double> passed = now - filled_at_;
    left_ = (std::min)(most_, left_ + a_second_ * passed.count());
    filled_at_ = now;
    return left_ <= 0 ? 0 : static_cast<std::size_t>(left_);
  }

  /// Whether so much more may be sent now. It is spent then.
  [[nodiscard]] bool spend(std::size_t bytes, TimePoint now) noexcept {
    if (left(now) < bytes) return false;
    owe(bytes);
    return true;
  }

  /// So much is sent at the time of the last left(), whether there was so much or not.
  void owe(std::size_t bytes) noexcept { left_ -= static_cast<double>(bytes); }
  /// How long from then until nothing is owed.
  [[nodiscard]] Duration until_paid() const noexcept {
    const std::chrono::duration<double> seconds{(std::max)(0.0, -left_ / a_second_)};
    return std::chrono::ceil<Duration>(seconds);
  }

 private:
  double most_;
  double a_second_;
  double left_;
  TimePoint filled_at_{};
};

}  // namespace syncbus::inline v1::detail
