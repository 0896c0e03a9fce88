// Decides when a silent connection is asked for a sign of life, and when it is dead. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// Nothing heard for a quarter of the patience, or for `keep_alive` if that is less: ask; nothing for the rest: dead.
/// Only an unanswered question kills, so a program that was stopped itself for a while does not take its own pause for
/// the server's.
class IdleWatch {
 public:
  enum class Verdict : std::uint8_t { fine, ask, dead };

  IdleWatch(Duration patience, TimePoint now, Duration keep_alive = (Duration::max)()) noexcept
      : patience_{patience}, ask_after_{(std::min)(patience / 4, keep_alive)}, since_{now} {}

  void heard(TimePoint now) noexcept {
    since_ = now;
    asked_ = false;
  }

  /// `ask` means that the caller asks now.
  [[nodiscard]] Verdict check(TimePoint now) noexcept {
    if (now < due()) return Verdict::fine;
    if (asked_) return Verdict::dead;
    asked_ = true;
    since_ = now;
    return Verdict::ask;
  }

  /// When check() will have something to say.
  [[nodiscard]] TimePoint due() const noexcept {
    return since_ + (asked_ ? patience_ - ask_after_ : ask_after_);
  }

 private:
  Duration patience_;
  Duration ask_after_;
  TimePoint since_;  // when it was heard, or asked
  bool asked_ = false;
};

}  // namespace syncbus::inline v1::detail
