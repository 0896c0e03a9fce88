// What is lost of the past while a node joins is one loss: its resyncs wait for each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include <syncbus/core/cut_off.hpp>
#include <syncbus/core/pending_events.hpp>
#include <syncbus/core/receiving.hpp>
#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// Every resync that a node finds reason for goes through here to its handlers. Inside the join window those for what
/// was lost before it (*joined*, *interrupted*) are held back, and go as one at its end; all others go at once.
/// What is held back, and an interruption that is not over, count as waiting, from when they were known.
class ResyncGate {
 public:
  explicit ResyncGate(Receiving& receiving) noexcept : receiving_{receiving} {}

  /// There is reason for a resync, known `since`.
  void raise(const Resync& resync, TimePoint since, bool window_open) noexcept {
    const bool of_the_past = resync.cause == ResyncCause::joined || resync.cause == ResyncCause::interrupted;
    if (!of_the_past || !window_open) return receiving_.push(resync, since);
    held_back_since_ = held_back_ ? (std::min)(held_back_since_, since) : since;
    held_back_ = held_back_ ? join(*held_back_, resync) : resync;
  }

  /// The join window of `session` has closed.
  void window_closed(std::uint64_t session) noexcept {
    if (held_back_) receiving_.push(*std::exchange(held_back_, std::nullopt), held_back_since_);
    cut_off_.joined(session, receiving_.inbox().pushed());
  }

  /// From `since` on nothing of others may have come, in `session`.
  void cut_off(TimePoint since, std::uint64_t session) noexcept { cut_off_.begin(since, session); }
  /// This node hears nobody anyway.
  void hears_nobody() noexcept { cut_off_.end(); }

  /// Whether a resync is held back: nothing is proved meanwhile.
  [[nodiscard]] bool holds() const noexcept { return held_back_.has_value(); }

  /// Since when it is known that handlers have something to hear yet, or may have; `now`: nothing is known.
  [[nodiscard]] TimePoint waiting_since(TimePoint now) noexcept {
    const TimePoint cut_off_at = cut_off_.since(receiving_.inbox().settled()).value_or(now);
    const TimePoint waiting = (std::min)(cut_off_at, receiving_.waiting_since(now));
    return held_back_ ? (std::min)(waiting, held_back_since_) : waiting;
  }

 private:
  Receiving& receiving_;
  std::optional<Resync> held_back_;  // until the join window closes
  TimePoint held_back_since_{};
  CutOff cut_off_;
};

}  // namespace syncbus::inline v1::core
