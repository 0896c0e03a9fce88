// Schedules a transport's attempts at a session: when, how long each, and when to give up. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/session/backoff.hpp>
#include <syncbus/transport/session/reconnect_tuning.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// The seed of a node's choices among servers and times, so that no two nodes make the same.
[[nodiscard]] inline std::uint64_t attempts_seed(const TransportSettings& settings, TimePoint now) noexcept {
  return settings.self.value ^ static_cast<std::uint64_t>(now.time_since_epoch().count());
}

/// The first session is attempted once, and again until wait_for_broker has passed; a later one for ever. The first
/// attempt after an interruption is a short one: most of what makes an attempt hang is over when it is made anew. Where
/// that is not so, as with a server many round trips away, no number of short attempts would do: the limit doubles.
class Attempts {
 public:
  /// `longest`: the limit of an attempt grows up to it, and connect_timeout, with each that fails. The wait for the
  /// broker begins `now`.
  Attempts(const TransportSettings& settings, const ReconnectTuning& tuning, Duration longest, TimePoint now)
      : first_limit_{settings.connect_timeout},
        waits_until_{deadline_after(now, settings.wait_for_broker)},
        limit_{tuning.attempt_timeout, (std::min)(longest, settings.connect_timeout)},
        backoff_{tuning.min_backoff, tuning.max_backoff, attempts_seed(settings, now)} {}

  /// When the next one is due.
  [[nodiscard]] TimePoint due() const noexcept { return due_; }

  /// How long the one that begins now may take.
  [[nodiscard]] Duration limit() noexcept { return had_session_ ? limit_.next() : first_limit_; }

  /// Whether there was a session.
  [[nodiscard]] bool had_session() const noexcept { return had_session_; }

  /// A session has begun.
  void succeeded() noexcept {
    had_session_ = true;
    limit_.reset();
  }

  /// The session was of use: the next attempt begins with the shortest pause again.
  void did_well() noexcept { backoff_.reset(); }

  /// An attempt failed, or a session has ended. False if no other is to be made.
  [[nodiscard]] bool failed(Errc why, TimePoint now) noexcept {
    due_ = now + backoff_.next();
    if (had_session_) return true;
    due_ = (std::min)(due_, waits_until_);  // a broker that comes at the last moment is still found
    return is_worth_waiting(why) && now < waits_until_;
  }

 private:
  Duration first_limit_;
  TimePoint waits_until_;
  Doubling limit_;
  Backoff backoff_;
  TimePoint due_{};
  bool had_session_ = false;
};

}  // namespace syncbus::inline v1::detail
