// What the auditor of a simulated world writes down: nodes, subscriptions, events, awaits, and what became of copies.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>

#include "sim/label.hpp"

namespace sim {

using syncbus::Duration, syncbus::TimePoint;

using NodeNumber = std::size_t;
using SubscriberNumber = std::size_t;
using EventNumber = std::size_t;
using Key = int;
inline constexpr Key every_key = -1;
/// Leases are keys from this one on: what hears all keys hears none of them.
inline constexpr Key first_lease = 16;
/// Whoever publishes in frames that nobody here can read.
inline constexpr NodeNumber stranger = static_cast<NodeNumber>(-1);

namespace records {

inline constexpr TimePoint never = (TimePoint::max)();
inline constexpr TimePoint before_time = (TimePoint::min)();
/// When a frame came that was sent before its publisher was met: as long as it has not come, and once it has.
inline constexpr TimePoint past = before_time, past_came = before_time + Duration{1};

/// Whether two nodes are at the same of so many places, where they are by turns; 0: nobody knows where anybody is.
[[nodiscard]] constexpr bool at_one_place(std::size_t places, NodeNumber a, NodeNumber b) noexcept {
  return places != 0 && a % places == b % places;
}

/// What may explain a resync and has not yet, by cause.
using Incidents = std::array<std::uint32_t, syncbus::resync_cause_count>;

struct Node {
  syncbus::NodeId id{};
  int zone = 0;  ///< 0: none
  bool publish_only = false;
  bool observer = false;
  bool alive = true;
  bool connected = false;
  bool half_open = false;           ///< and nothing goes through
  TimePoint entered = never;        ///< it had joined
  TimePoint connected_since = never;  ///< its session began
  bool goodbye = false;
  TimePoint ended = never;
  TimePoint cut = before_time;  ///< when it was interrupted last
  std::size_t cuts = 0;
  TimePoint first_subscribed = never;
  std::size_t backlog = 0;       ///< bytes received and not heard yet
  std::size_t peak_backlog = 0;  ///< since it was empty last
  TimePoint busy_since = before_time;  ///< its dispatcher had nothing to do, last
  TimePoint stalled_until = before_time;
  std::uint64_t handed_over = 0;
  std::uint64_t confirmed = 0;
  std::uint64_t accepted = 0;       ///< of its events: how many were to go out
  std::uint64_t out = 0;            ///< and how many have, at least
  EventNumber saved = 0;      ///< its events before this one are with the broker, or in a frame that was lost
  std::size_t unsaved = 0;    ///< how many are not
  std::size_t frame_limit = 0;
  bool too_large = false;     ///< what is not saved may be, for the broker that it came to
  bool shrunk = false;        ///< that was larger once, and frames of then cannot be sent again
  std::size_t clearings = 0;  ///< publish_all, not handed over yet
  TimePoint last_frame = before_time;      ///< of events, that it handed over
  TimePoint last_heartbeat = before_time;  ///< to all
  bool silent_from_now = false;            ///< it has said goodbye
  std::uint64_t heartbeats = 0;            ///< to all
  std::int64_t other_versions = 0;         ///< resyncs for frames of one
  TimePoint other_version = never;         ///< when the first of those came
  std::uint64_t reasons = 0;               ///< to say how far it is: frames, and questions of others
  TimePoint asked_everyone = before_time;  ///< about awaits, and heard itself ask
  std::size_t moves = 0;                   ///< to other brokers, of which it has heard no resync yet
  std::size_t losses = 0;                  ///< resyncs for what was lost
  Incidents incidents{};
  // what its last broadcast heartbeat said of its history, and how far it was then
  TimePoint history_told = before_time;
  std::uint64_t history_from = 0, history_to = 0;
  std::uint64_t accepted_then = 0, confirmed_then = 0;
  std::vector<TimePoint> repaired{};  ///< by sequence: when it sent it again
  // of one whose table of peers is small
  std::size_t peers = 0;            ///< others whom it has heard, or heard of
  TimePoint crowded_since = never;  ///< those have been more than it has room for
  std::size_t crowd_resyncs = 0;    ///< which it raised for that
  std::size_t met_again = 0;        ///< who was forgotten may be a stranger again
};

/// What one node got of another.
/// A welcome that comes, perhaps in several frames.
struct Welcome {
  std::uint64_t number = 0;
  std::vector<bool> came{};  ///< by part
  bool names_it = false;     ///< the receiver is one whom it answers
  std::vector<Label::Name> names{};

  [[nodiscard]] bool whole() const noexcept { return !came.empty() && std::ranges::find(came, false) == came.end(); }
};

struct Pair {
  TimePoint met = never;              ///< by a broadcast, a repair or a welcome
  bool past_is_ours = false;          ///< and of what it had sent before it was, somebody listened already
  bool known_of = false;              ///< one of `peers`
  bool past_missed = false;           ///< what it had sent before was too much to be asked for
  std::uint64_t known = 0;            ///< the last sequence that it has told of
  TimePoint heard = before_time;
  TimePoint told_at = before_time;  ///< it said how far it was, last
  TimePoint back = before_time;  ///< it was heard again after a silence, last
  TimePoint lost = before_time;  ///< a copy was, last
  TimePoint lost_before = before_time;  ///< and the last but one
  TimePoint introduced = never;  ///< it said who it is
  bool goodbye = false;
  TimePoint left = never;        ///< when that came first
  bool silence_noted = false;    ///< this one, as an incident
  Incidents incidents{};
  std::vector<TimePoint> got;    ///< by sequence: when it came first
  std::vector<TimePoint> known_at;  ///< by sequence: when somebody who listened could know of it first
  bool told = false;                ///< since it was heard last, a resync was
  std::uint64_t covered = 0;        ///< up to this one a resync stands for what has not come
  Welcome welcome{};                ///< the latest
};

struct Event {
  NodeNumber publisher = 0;
  Key key = every_key;  ///< every_key: publish_all
  syncbus::EventType type = syncbus::EventType::invalidate;
  std::uint64_t version = 0;
  std::uint64_t step = 0;
  TimePoint accepted{};
  bool heard_elsewhere = true;  ///< not only by subscribers of the publisher's own node
};

/// The highest version of a publisher that was heard, and which of the 64 up to it were.
struct Newest {
  std::uint64_t version = 0;
  std::uint64_t heard = 0;

  /// Whether it was heard before, as far as is remembered.
  bool hear(std::uint64_t other) noexcept {
    if (other > version) {
      const std::uint64_t shift = other - version;
      heard = (shift < 64 ? heard << shift : 0) | 1U;
      version = other;
      return false;
    }
    if (version - other >= 64) return false;
    const std::uint64_t bit = std::uint64_t{1} << (version - other);
    return (std::exchange(heard, heard | bit) & bit) != 0;
  }
};

struct Subscriber {
  NodeNumber node = 0;
  Key key = every_key;
  bool throwing = false;
  bool alive = true;
  std::uint64_t step = 0;
  std::vector<EventNumber> owed{};  ///< not heard yet, nor covered
  std::vector<Newest> newest{};  ///< by publisher

  [[nodiscard]] bool matches(Key of) const noexcept {
    return key == of || of == every_key || (key == every_key && of < first_lease);
  }
};

/// One call of a handler.
struct Call {
  SubscriberNumber subscriber = 0;
  bool resync = false;
  bool threw = false;
  NodeNumber publisher = 0;
  Key key = every_key;
  std::uint64_t version = 0;
  std::uint64_t step = 0;  ///< when it began
  syncbus::EventType type = syncbus::EventType::resync;

  /// Whether it stands for an event: that event, a join of its key, or everything. What has no version is heard
  /// without one, whatever it joins, and what joins another type is an invalidation.
  [[nodiscard]] bool covers(const Event& event) const noexcept {
    if (step < event.step) return false;
    if (resync) return true;
    return event.key != every_key && event.key == key && event.publisher == publisher &&
           (type == event.type || type == syncbus::EventType::invalidate) &&
           (version == 0 || (event.version != 0 && version >= event.version));
  }
};

struct Await {
  struct Heard {
    SubscriberNumber subscriber = 0;
    std::size_t event = 0;  ///< which of the await's
    TimePoint returned{};
    bool itself = true;     ///< or one behind it; not an earlier one of its key, which stands for it, too
  };

  NodeNumber node = 0;
  std::uint64_t await_id = 0;
  syncbus::Quorum quorum{1};
  TimePoint opened{};
  TimePoint deadline{};
  bool heard_here = false;
  bool heard_elsewhere = true;
  bool canceled = false;
  std::size_t together = 1;      ///< with those of its publisher that were open at any time while it was
  bool no_room = false;          ///< an event of it may have found none
  std::vector<EventNumber> events{};
  std::uint64_t up_to = 0;       ///< its last one is the publisher's so-manieth that is to go out
  std::uint64_t frame = 0;       ///< which has gone out by this one; 0: it is not known to have
  TimePoint echoed = never;      ///< that frame, or one behind it, came back to the publisher
  std::vector<Heard> heard{};  ///< returned, and did not throw
};

}  // namespace records

}  // namespace sim
