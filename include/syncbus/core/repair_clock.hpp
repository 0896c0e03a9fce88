// When to ask a peer for what is missing of it, and when to give it up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// The longest random delay before a request: the more peers may miss the same frame, the longer, so that the answer to
/// the first makes most of the others needless.
[[nodiscard]] inline Duration repair_spread(std::size_t peers) noexcept {
  constexpr Duration a_peer = std::chrono::microseconds{100};
  constexpr Duration most = std::chrono::milliseconds{200};
  return peers < static_cast<std::size_t>(most / a_peer) ? static_cast<Duration::rep>(peers) * a_peer : most;
}

/// One peer's. A gap is asked for after a short grace, since the missing frame may only be late, and the random delay;
/// again when nothing has come of it, ever more slowly. Once nothing has come for the repair timeout while the peer was
/// heard, it will not come.
class RepairClock {
 public:
  static constexpr Duration grace = std::chrono::milliseconds{1};
  static constexpr Duration first_pause = std::chrono::milliseconds{60};  ///< longer than RepairAnswers::quiet
  static constexpr Duration longest_pause = std::chrono::milliseconds{240};

  /// Something is missing; `delay` is random, within repair_spread. `first`: nothing else was.
  void found(TimePoint now, Duration delay, bool first) noexcept {
    const TimePoint due = now + grace + delay;
    if (!first) {
      due_ = (std::min)(due_, due);
      return;
    }
    progress_ = now;
    pause_ = first_pause;
    due_ = due;
  }

  /// The peer can be asked again, after a time in which it could not: all begins anew.
  void restart(TimePoint now) noexcept { found(now, Duration::zero(), true); }

  /// A missing frame came, others still are. With the last that a request could bring, the next request goes at once.
  void filled(TimePoint now) noexcept {
    progress_ = now;
    pause_ = first_pause;
    expected_ -= expected_ == 0 ? 0U : 1U;
    due_ = expected_ == 0 && batch_ ? now : (std::max)(due_, now + pause_);
    batch_ = batch_ && expected_ != 0;
  }

  /// A request is sent, which brings `expected` frames if all goes well; 0: nobody knows. Within `answer_time` they may
  /// come.
  void asked(TimePoint now, std::uint64_t expected, Duration answer_time) noexcept {
    expected_ = expected;
    batch_ = expected != 0;
    due_ = now + (std::max)(pause_, answer_time);
    pause_ = (std::min)(2 * pause_, longest_pause);
  }

  [[nodiscard]] TimePoint due() const noexcept { return due_; }

  /// When nothing had come for `timeout`, though the peer could answer: it is still heard then, or has said that it
  /// ends. Never, as long as it is not.
  [[nodiscard]] TimePoint gives_up_at(Duration timeout, TimePoint peer_heard, bool peer_gone) const noexcept {
    const TimePoint end = progress_ + timeout;
    return peer_gone || peer_heard >= end ? end : (TimePoint::max)();
  }

 private:
  TimePoint progress_{};
  TimePoint due_{};
  Duration pause_ = first_pause;
  std::uint64_t expected_ = 0;  ///< frames of the last request that have not come
  bool batch_ = false;          ///< some of it has not
};

}  // namespace syncbus::inline v1::core
