// Limits the resyncs that frames of other protocol versions cause.
#pragma once

#include <algorithm>
#include <optional>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::core {

/// A valid frame of a later version may say anything. The first raises a resync; all that come within a heartbeat
/// interval after it raise one more, at the end of the interval.
class OtherVersions {
 public:
  explicit OtherVersions(Duration interval) noexcept : interval_{interval} {}

  void came(TimePoint now) noexcept { due_ = since_ ? (std::max)(now, *since_ + interval_) : now; }

  [[nodiscard]] TimePoint due() const noexcept { return due_; }

  /// Whether a resync is to be raised now.
  [[nodiscard]] bool raise(TimePoint now) noexcept {
    if (now < due_) return false;
    since_ = now;
    due_ = detail::never;
    return true;
  }

 private:
  Duration interval_;
  std::optional<TimePoint> since_;         // when the last one was raised
  TimePoint due_ = detail::never;     // when the next one is to be
};

}  // namespace syncbus::inline v1::core
