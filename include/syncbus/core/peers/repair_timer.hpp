// When to request a missing frame (a delay, then backoff), and when to give it up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <syncbus/base/time.hpp>

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
/// heard, it will not come. While it waits for its turn, because enough is under way of others, its time stands still.
///
/// It also estimates what is under way, in bytes: frames that were asked for, each as large as the largest of late.
class RepairTimer {
 public:
  static constexpr std::size_t full_frame = std::size_t{32} << 10U;  ///< as is assumed before one has come
  static constexpr Duration grace = std::chrono::milliseconds{1};
  static constexpr Duration first_pause = std::chrono::milliseconds{60};  ///< longer than RepairQueue::quiet
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
    expected_ = ahead_ = 0;
    batch_ = false;
    waits_since_.reset();
  }

  /// The peer can be asked again, after a time in which it could not: all begins anew.
  void restart(TimePoint now) noexcept { found(now, Duration::zero(), true); }

  /// A missing frame came, others still are. With the last that a request could bring, the next request goes at once.
  void filled(TimePoint now, std::size_t bytes = full_frame) noexcept {
    progress_ = now;
    pause_ = first_pause;
    frame_bytes_ = (std::max)(bytes, frame_bytes_ - frame_bytes_ / 32);
    if (waits_since_) {
      waits_since_ = now;
      return;
    }
    expected_ -= expected_ == 0 ? 0U : 1U;
    due_ = expected_ == 0 && batch_ ? now : (std::max)(due_, now + pause_);
    batch_ = batch_ && expected_ != 0;
  }

  /// It is due, and not its turn.
  void wait(TimePoint now) noexcept {
    if (!waits_since_) waits_since_ = now;
  }

  /// A request is sent, which brings `expected` frames if all goes well; 0: nobody knows. Within `answer_time` they may
  /// come, or after the `ahead` bytes that are under way from others.
  void asked(TimePoint now, std::uint64_t expected, Duration answer_time, std::size_t ahead = 0) noexcept {
    if (waits_since_) progress_ += now - *waits_since_;
    waits_since_.reset();
    expected_ = expected;
    batch_ = expected != 0;
    ahead_ = ahead;
    due_ = now + (std::max)(pause_, answer_time);
    pause_ = (std::min)(2 * pause_, longest_pause);
  }

  /// Frames came from other publishers. All come by one connection: the frames that were asked for may be behind them.
  void others_came(TimePoint now, std::size_t bytes) noexcept {
    ahead_ -= (std::min)(ahead_, bytes);
    if (ahead_ == 0 || now >= due_) return;
    progress_ = now;
    due_ = (std::max)(due_, now + first_pause);
  }

  /// When it wanted to ask: peers that wait are asked in this order.
  [[nodiscard]] TimePoint asks_at() const noexcept { return due_; }
  /// What it asked for last has not brought anything.
  [[nodiscard]] bool unanswered() const noexcept { return pause_ != first_pause; }

  [[nodiscard]] std::uint64_t frames_under_way(TimePoint now) const noexcept { return now < due_ ? expected_ : 0; }
  [[nodiscard]] std::size_t frame_bytes() const noexcept { return frame_bytes_; }

  /// When it is to ask; never, while it waits for its turn.
  [[nodiscard]] TimePoint due() const noexcept { return waits_since_ ? detail::never : due_; }

  /// The time at which nothing has come for `timeout` although the peer could answer, because it is still heard by
  /// then, or has said goodbye. Never, as long as neither is so.
  [[nodiscard]] TimePoint gives_up_at(Duration timeout, TimePoint peer_heard, bool peer_gone) const noexcept {
    if (waits_since_ && !peer_gone) return detail::never;
    const TimePoint end = progress_ + timeout;
    return peer_gone || peer_heard >= end ? end : detail::never;
  }

 private:
  TimePoint progress_{};
  TimePoint due_{};
  Duration pause_ = first_pause;
  std::uint64_t expected_ = 0;  ///< frames of the last request that have not come
  bool batch_ = false;          ///< some of it has not
  std::size_t frame_bytes_ = full_frame;
  std::size_t ahead_ = 0;
  std::optional<TimePoint> waits_since_{};
};

}  // namespace syncbus::inline v1::core
