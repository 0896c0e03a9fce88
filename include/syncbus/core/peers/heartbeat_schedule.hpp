// When to send the next heartbeat: soon after the last frame, then ever more rarely, within the cluster's control rate.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::core {

/// Deliveries a second that `nodes` nodes may cause together, told as the least time between two broadcasts of one of
/// them: each is delivered to all.
[[nodiscard]] inline Duration broadcast_spacing(std::size_t nodes, std::size_t control_rate) noexcept {
  const double seconds = static_cast<double>(nodes) * static_cast<double>(nodes) /
                         static_cast<double>((std::max)(control_rate, std::size_t{1}));
  constexpr double most = 24.0 * 3600.0;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>{(std::min)(seconds, most)});
}

/// The same for messages to one node.
[[nodiscard]] inline Duration direct_spacing(std::size_t nodes, std::size_t control_rate) noexcept {
  return broadcast_spacing(nodes, control_rate) / static_cast<Duration::rep>((std::max)(nodes, std::size_t{1}));
}

/// A heartbeat goes `tail` after the last frame, so that the loss of the last one is noticed, then after twice that,
/// and so on up to `heartbeat`. While frames go out without a pause one goes every `heartbeat` all the same. The
/// spacing that keeps the cluster under its control rate comes first; a tenth of that is for answers.
class HeartbeatSchedule {
 public:
  static constexpr Duration tail = std::chrono::milliseconds{20};

  HeartbeatSchedule(Duration heartbeat, std::size_t control_rate) noexcept
      : heartbeat_{(std::max)(heartbeat, tail)},
        answer_rate_{(std::max)(control_rate / 20, std::size_t{1})},
        broadcast_rate_{control_rate - (std::min)((std::max)(control_rate / 10, std::size_t{1}), control_rate)} {}

  /// A session begins: the first heartbeat, a hello, goes at `hello`.
  void begin_session(TimePoint hello) noexcept {
    began_ = true;
    step_ = tail;
    quiet_at_ = hello;
    last_ = hello - heartbeat_;
    spacing_ = heartbeat_;
  }

  /// Between two broadcasts of a node that has nothing new to say, in a cluster of so many.
  [[nodiscard]] Duration interval(std::size_t nodes) const noexcept {
    return (std::max)(heartbeat_, broadcast_spacing(nodes, broadcast_rate_));
  }

  /// The longest interval that is believed of another node. Its options may differ from ours, but a node that announces
  /// to be heard in a day would hide for days that it has crashed.
  [[nodiscard]] Duration longest_believed(std::size_t nodes) const noexcept {
    return (std::max)(10 * interval(nodes), Duration{std::chrono::minutes{1}});
  }

  /// The longest that a hello is to wait when all say one at once; zero in a cluster whose hellos are no storm.
  [[nodiscard]] Duration hello_spread(std::size_t nodes) const noexcept {
    const Duration spread = broadcast_spacing(nodes, broadcast_rate_);
    return spread > tail ? spread : Duration::zero();
  }

  /// How long between two heartbeats of a node, in a cluster of so many that is quiet.
  [[nodiscard]] Duration usual(std::size_t nodes) const noexcept { return broadcast_spacing(nodes, broadcast_rate_); }

  /// This node knows now how many there are. If many began with it, each is to send its next heartbeat at its own time:
  /// this one `slot` from now; zero: at the pace of its hello. Heartbeats of all at one moment prove the least.
  void joined(TimePoint now, Duration slot) noexcept {
    if (slot == Duration::zero()) {
      if (quiet_at_ <= now) quiet_at_ += ((now - quiet_at_) / tail + 1) * tail;
      return;
    }
    spacing_ = (std::max)(spacing_, now + slot - last_);
    quiet_at_ = last_ + spacing_;
  }

  /// So many are there now: more than at the last heartbeat.
  void slow_down(std::size_t nodes) noexcept {
    spacing_ = (std::max)(spacing_, broadcast_spacing(nodes, broadcast_rate_));
  }

  /// Something is to be said at once.
  void say(TimePoint now) noexcept {
    spacing_ = Duration::zero();
    quiet_at_ = now;
  }

  /// Deliveries a second that welcomes may take: more than other answers, for a hello that is not answered in time is
  /// said again, to everybody.
  [[nodiscard]] std::size_t welcome_rate() const noexcept { return 4 * answer_rate_; }

  /// Something happened that others should hear about soon: a frame was sent, a peer was met, several asked.
  void restart(TimePoint now) noexcept {
    step_ = (std::min)(2 * tail, heartbeat_);
    quiet_at_ = now + tail;
  }

  /// The same, but what is due already is not put off.
  void hasten(TimePoint now) noexcept {
    step_ = (std::min)(2 * tail, heartbeat_);
    quiet_at_ = (std::min)(quiet_at_, now + tail);
  }

  /// One is sent; how long until the next, at the latest.
  Duration sent(TimePoint now, std::size_t nodes) noexcept {
    last_ = now;
    spacing_ = broadcast_spacing(nodes, broadcast_rate_);
    quiet_at_ = now + step_;
    step_ = (std::min)(2 * step_, heartbeat_);
    return due() - now;
  }

  [[nodiscard]] TimePoint due() const noexcept {
    if (!began_) return detail::never;
    return (std::max)(last_ + spacing_, (std::min)(quiet_at_, last_ + heartbeat_));
  }

  /// Whether a hello may be answered to its sender alone; otherwise the next broadcast answers it with all others.
  [[nodiscard]] bool may_answer(TimePoint now, std::size_t nodes) noexcept {
    if (now < answer_again_at_) return false;
    answer_again_at_ = now + direct_spacing(nodes, answer_rate_);
    return true;
  }

 private:
  Duration heartbeat_;
  std::size_t answer_rate_;     // the share of the control rate that answers to who is back may take
  std::size_t broadcast_rate_;  // the rest
  bool began_ = false;
  Duration step_ = tail;     // how long after the next heartbeat the one behind it is due
  Duration spacing_{};
  TimePoint last_{};
  TimePoint quiet_at_{};     // when the next is due if no frame is sent
  TimePoint answer_again_at_{};
};

}  // namespace syncbus::inline v1::core
