// How many bytes of repairs a publisher sends in a time: a token bucket.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// A request of some bytes is answered with megabytes, and anybody can write one in anybody's name. Nodes that were cut
/// off need the history once, and share it when there are many; four times that a second is more than they take.
class RepairBudget {
 public:
  explicit RepairBudget(std::size_t history_bytes) noexcept
      : most_{static_cast<double>((std::max)(history_bytes, least))}, left_{most_} {}

  /// Whether so much more may be sent now.
  [[nodiscard]] bool spend(std::size_t bytes, TimePoint now) noexcept {
    const std::chrono::duration<double> passed = now - filled_at_;
    left_ = (std::min)(most_, left_ + refills_a_second * most_ * passed.count());
    filled_at_ = now;
    if (left_ < static_cast<double>(bytes)) return false;
    left_ -= static_cast<double>(bytes);
    return true;
  }

 private:
  static constexpr std::size_t least = std::size_t{1} << 20U;
  static constexpr double refills_a_second = 4;

  double most_;
  double left_;
  TimePoint filled_at_{};
};

}  // namespace syncbus::inline v1::core
