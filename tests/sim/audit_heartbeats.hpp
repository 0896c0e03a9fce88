// Whether nodes say how far they are: soon after their last frame, regularly, and no more than they may.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "sim/audit_copies.hpp"

namespace sim {

/// What keeps promise 2 alive, and the control rate: neither can be seen in what handlers hear. A heartbeat goes 20 ms
/// after the last frame, then after twice that, up to the interval; and heartbeats and welcomes, of all nodes together,
/// stay under the rate. Hellos are counted apart: one a node, and where many begin together a few again.
class HeartbeatAudit : public CopyAudit {
 public:
  /// A node has something sent to the broker.
  void said(NodeNumber number, const Label& label, TimePoint now) {
    records::Node& node = nodes_[number];
    if (label.kind == Label::Kind::events) {
      node.last_frame = now;
      ++node.reasons;
    }
    if (label.kind == Label::Kind::repair) {
      if (node.repaired.size() <= label.sequence) node.repaired.resize(label.sequence + 1, records::before_time);
      node.repaired[label.sequence] = now;
    }
    if (label.directed || !label.is_heartbeat()) return;
    node.history_told = now;
    node.history_from = label.oldest;
    node.history_to = label.sequence;
    node.accepted_then = node.accepted;
    node.confirmed_then = node.confirmed;
    check_punctual(number, now);
    const bool first = node.last_heartbeat < node.connected_since;
    if (first && !label.asks && !node.publish_only && label.kind == Label::Kind::heartbeat) {
      fail("promise 1: node " + std::to_string(number) + " begins a session and asks nobody how far they are");
    }
    node.last_heartbeat = now;
    ++node.heartbeats;
    if (label.kind == Label::Kind::goodbye) node.silent_from_now = true;
  }

  /// Whether a heartbeat of a node is overdue.
  void check_punctual(NodeNumber number, TimePoint now) {
    const records::Node& node = nodes_[number];
    if (rules_.lied || few_ < nodes_.size()) return;
    if (!node.connected || node.entered == records::never || node.silent_from_now) return;
    if (node.last_heartbeat == records::before_time || node.connected_since == records::never) return;
    const TimePoint regular = node.last_heartbeat + rules_.heartbeat;
    const TimePoint tail = node.last_frame > node.last_heartbeat ? node.last_frame + tail_ : regular;
    const TimePoint due = (std::max)({node.last_heartbeat + spacing(), (std::min)(regular, tail),
                                      node.connected_since + 2 * turn(), node.stalled_until,
                                      node.entered + turn() + (std::min)(turn(), longest_rest_)});
    if (now <= due + slack_) return;
    fail("promise 2: node " + std::to_string(number) + " has said nothing for " +
         microseconds(now - node.last_heartbeat) + ", and was to say how far it is " + microseconds(now - due) +
         " ago");
  }

  /// At the end of a world that began at a time: how often it has said so.
  void check_thrifty(NodeNumber number, TimePoint began, TimePoint now) {
    const records::Node& node = nodes_[number];
    if (rules_.lied || few_ < nodes_.size()) return;
    const auto regular = static_cast<std::uint64_t>((now - began) / rules_.heartbeat);
    const std::uint64_t reasons = node.reasons + 3 * (node.cuts + 1) + 12 + nodes_.size();
    if (node.heartbeats <= regular + most_steps_ * reasons) return;
    fail("budget: node " + std::to_string(number) + " has said " + std::to_string(node.heartbeats) +
         " times how far it is, with " + std::to_string(reasons) + " reasons");
  }

  /// What a node says besides events is delivered to so many. A welcome counts once: that it is of several frames comes
  /// of the small ones of these worlds. Who hears nobody cannot know how many there are.
  void delivered(NodeNumber from, const Label& label, std::size_t copies, TimePoint now) {
    if (!rules_.nothing_fails || nodes_[from].publish_only || !rules_.room_for_all()) return;
    if (!label.is_heartbeat() && label.kind != Label::Kind::welcome) return;
    if (label.part != 0 || label.kind == Label::Kind::goodbye) return;
    if (label.hello != 0) return count_hello(label);
    if (now - second_began_ >= std::chrono::seconds{1} || now < second_began_) {
      second_began_ = now;
      deliveries_ = 0;
    }
    deliveries_ += copies;
    if (deliveries_ <= rules_.control_rate * 3 / 2) return;  // not every second is like the next
    fail("budget: " + std::to_string(deliveries_) + " deliveries besides events within a second, and more than " +
         std::to_string(rules_.control_rate));
  }

 protected:
  void begin_heartbeats() noexcept {
    second_began_ = {};
    deliveries_ = repeated_hellos_ = 0;
  }

 private:
  static constexpr Duration tail_ = std::chrono::milliseconds{20};
  static constexpr Duration longest_rest_ = std::chrono::seconds{1};  ///< after the hellos, before those turns
  static constexpr Duration slack_ = std::chrono::milliseconds{1};
  static constexpr std::uint64_t most_steps_ = 6;  ///< from 20 ms to the longest interval of a world
  static constexpr std::size_t few_ = 12;          ///< so many are under the rate whatever they say

  /// Between two broadcasts of a node.
  [[nodiscard]] Duration spacing() const noexcept {
    const double nodes = static_cast<double>(nodes_.size());
    const std::chrono::duration<double> seconds{nodes * nodes / (0.9 * static_cast<double>(rules_.control_rate))};
    return std::chrono::duration_cast<Duration>(seconds);
  }

  /// How long one waits for its turn where all say something at once, and that would be too much.
  [[nodiscard]] Duration turn() const noexcept { return spacing() > tail_ ? spacing() : Duration{}; }

  void count_hello(const Label& label) {
    repeated_hellos_ += label.hello > 1 ? 1U : 0U;
    if (repeated_hellos_ <= few_ + nodes_.size() / 2) return;
    fail("budget: " + std::to_string(nodes_.size()) + " nodes have said " + std::to_string(repeated_hellos_) +
         " hellos again");
  }

  TimePoint second_began_{};
  std::size_t deliveries_ = 0;
  std::size_t repeated_hellos_ = 0;
};

}  // namespace sim
