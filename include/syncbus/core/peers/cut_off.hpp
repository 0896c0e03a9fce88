// The span in which a node hears nobody: its staleness counts from there.
#pragma once

#include <cstdint>
#include <optional>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::core {

/// It begins when a session ends or is deaf. It is over when the next session's join window has closed and handlers
/// have returned from all that came by then.
class CutOff {
 public:
  /// From `since` on nothing of others may have come, in `session`.
  void begin(TimePoint since, std::uint64_t session) noexcept {
    if (!since_) since_ = since;
    until_.reset();
    in_ = session;
  }

  /// The join window of `session` has closed, with `pushed` in the queue.
  void joined(std::uint64_t session, std::uint64_t pushed) noexcept {
    if (since_ && in_ != session) until_ = pushed;
  }

  void end() noexcept { since_.reset(); }

  /// When it began, if it is not over once the queue is `settled` so far.
  [[nodiscard]] std::optional<TimePoint> since(std::uint64_t settled) noexcept {
    if (until_ && settled >= *until_) {
      since_.reset();
      until_.reset();
    }
    return since_;
  }

 private:
  std::optional<TimePoint> since_;
  std::uint64_t in_ = 0;                // our session that ended, or is deaf: only the next one ends it
  std::optional<std::uint64_t> until_;  // the position in the queue behind which it is over
};

}  // namespace syncbus::inline v1::core
