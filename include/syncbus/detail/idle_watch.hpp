// Tells when a silent connection is to be asked for a sign of life, and when it is dead. Pure.
#pragma once

#include <cstdint>

#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

/// Nothing heard for a quarter of the patience: ask; nothing for the other three quarters: dead. Only an unanswered
/// question kills, so a program that was stopped itself for a while does not take its own pause for the server's.
class IdleWatch {
 public:
  enum class Verdict : std::uint8_t { fine, ask, dead };

  IdleWatch(Duration patience, TimePoint now) noexcept : patience_{patience}, since_{now} {}

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
    const Duration quarter = patience_ / 4;
    return since_ + (asked_ ? patience_ - quarter : quarter);
  }

 private:
  Duration patience_;
  TimePoint since_;  // when it was heard, or asked
  bool asked_ = false;
};

}  // namespace syncbus::inline v1::detail
