// What the auditor of a simulated world writes down: nodes, subscriptions, events, awaits, and what became of copies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>

namespace sim {

using syncbus::Duration, syncbus::TimePoint;

using NodeNumber = std::size_t;
using SubscriberNumber = std::size_t;
using EventNumber = std::size_t;
using Key = int;
inline constexpr Key every_key = -1;
inline constexpr std::size_t max_nodes = 20;

/// What a frame says, as far as an auditor has to know.
struct Label {
  enum class Kind : std::uint8_t { events, heartbeat, goodbye, acknowledgement, question, repair };

  Kind kind = Kind::events;
  bool whole = false;          ///< a valid frame
  bool directed = false;
  std::uint64_t sequence = 0;  ///< of events and repairs
  std::size_t bytes = 0;

  [[nodiscard]] bool carries_events() const noexcept { return kind == Kind::events || kind == Kind::repair; }

  /// Whether it tells a stranger how far its sender is.
  [[nodiscard]] bool introduces() const noexcept {
    return carries_events() || kind == Kind::heartbeat || kind == Kind::goodbye;
  }
};

namespace records {

inline constexpr TimePoint never = (TimePoint::max)();
inline constexpr TimePoint before_time = (TimePoint::min)();

struct Node {
  syncbus::NodeId id{};
  int zone = 0;  ///< 0: none
  bool publish_only = false;
  bool alive = true;
  bool connected = false;
  bool waited = false;  ///< events of its own had to wait, and could join
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
  std::size_t handed_over_bytes = 0;
  std::size_t clearings = 0;  ///< publish_all
};

/// What one node got of another.
struct Pair {
  TimePoint met = never;              ///< by a broadcast or a repair
  bool met_at_all = false;            ///< by whatever
  std::uint64_t behind_when_met = 0;  ///< sequences that it had handed over
  bool subscribed_when_met = false;
  TimePoint heard = before_time;
  TimePoint told = before_time;  ///< it said how far it was, last
  TimePoint back = before_time;  ///< it was heard again after a silence, last
  TimePoint lost = before_time;  ///< a copy was, last
  TimePoint lost_before = before_time;  ///< and the last but one
  bool goodbye = false;
  std::size_t clearings_heard = 0;
  std::vector<TimePoint> got;    ///< by sequence: when it came first
};

struct Event {
  NodeNumber publisher = 0;
  Key key = every_key;  ///< every_key: publish_all
  std::uint64_t version = 0;
  std::uint64_t step = 0;
  TimePoint accepted{};
  bool flushed = true;  ///< of an ended publisher: whether a flush behind it had succeeded
};

struct Subscriber {
  NodeNumber node = 0;
  Key key = every_key;
  bool throwing = false;
  bool alive = true;
  std::uint64_t step = 0;
  std::vector<EventNumber> owed{};  ///< not heard yet, nor covered
  std::array<std::uint64_t, max_nodes> newest{};  ///< by publisher: the highest version heard

  [[nodiscard]] bool matches(Key of) const noexcept { return key == every_key || of == every_key || key == of; }
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

  /// Whether it stands for an event: that event, a join of its key, or everything.
  [[nodiscard]] bool covers(const Event& event) const noexcept {
    if (step < event.step) return false;
    if (resync) return true;
    return event.key != every_key && event.key == key && event.publisher == publisher &&
           (version == 0 || version >= event.version);
  }
};

struct Await {
  struct Heard {
    SubscriberNumber subscriber = 0;
    std::size_t event = 0;  ///< which of the await's
  };

  NodeNumber node = 0;
  std::uint64_t ticket = 0;
  syncbus::Quorum quorum{1};
  TimePoint opened{};
  TimePoint deadline{};
  bool heard_here = false;
  std::vector<EventNumber> events{};
  std::vector<Heard> heard{};  ///< returned, and did not throw
};

}  // namespace records

}  // namespace sim
