// Another node with our id: a machine was cloned, or a snapshot of it restored, while the process ran.
#pragma once

#include <optional>
#include <utility>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::core {

/// An id is drawn by every bus anew, so two nodes have one only when the memory of a process was copied. Such a node is
/// noticed when a broadcast comes in our name that we did not send: the number of its heartbeat, or its sequence, is
/// above ours, or is that of one of ours with another checksum. Bytes that we sent may come back in any order and more
/// than once. A broadcast that is so old that its checksum is not remembered proves nothing.
///
/// Of the two nobody can tell which is which: their sequences, heartbeats and answers contradict each other. So each
/// says so in its heartbeats once it knows; the other, which may be too far ahead to notice by itself, learns it from
/// these. A peer that hears that keeps nothing about this id: the two are heard like peers for whom there is no room,
/// see LeftOut, and so they hear each other. Answers to the awaits of either reach both, and count for neither.
class Namesake {
 public:
  /// A frame of it came. Whether that is news.
  [[nodiscard]] bool heard(TimePoint now) noexcept {
    heard_ = now;
    return !std::exchange(there_, true);
  }

  [[nodiscard]] bool there() const noexcept { return there_; }

  /// Whether it is gone from now on: it was not heard for longer than `limit`, in which we provably heard.
  [[nodiscard]] bool end(Duration limit, std::optional<TimePoint> heard_until) noexcept {
    if (!there_ || !heard_until || *heard_until - heard_ <= limit) return false;
    there_ = false;
    return true;
  }

 private:
  bool there_ = false;
  TimePoint heard_{};
};

}  // namespace syncbus::inline v1::core
