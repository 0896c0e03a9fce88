// One node of a simulated world: the machine under test, and what the world has to know to play its shell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "sim/audit_records.hpp"

namespace sim {

/// What a user wants to publish.
struct Wish {
  Key key = every_key;  ///< every_key: publish_all
  syncbus::EventType type = syncbus::EventType::invalidate;
  bool heard_here = true;
};

struct Node {
  struct Subscription {
    SubscriberNumber number = 0;
    Key key = every_key;
    bool throwing = false;
    bool alive = true;

    [[nodiscard]] bool matches(Key of) const noexcept {
      return alive && (key == of || (key == every_key && of < first_lease));
    }
  };

  Node(NodeNumber which, const syncbus::core::ProtocolOptions& options)
      : number{which}, id{options.self}, publish_only{options.publish_only}, protocol{options} {}

  const NodeNumber number;
  const syncbus::NodeId id;
  const bool publish_only;
  syncbus::core::Protocol protocol;
  bool alive = true;
  bool started = false;  ///< what a constructor waits for has happened
  bool leaving = false;
  bool said_goodbye = false;
  TimePoint paused_until{};  ///< the process stands still

  // its connection
  bool connected = false;
  bool half_open = false;      ///< and nothing goes through, of which it learns nothing
  std::uint32_t epoch = 0;     ///< another one with every session, and without one
  std::uint64_t sessions = 0;
  Duration delay{};
  TimePoint reaches_until{};   ///< what it sent in an earlier session reaches the broker until then
  TimePoint sent_until{};      ///< what it sends now comes behind this at the broker
  TimePoint heard_until[3]{};  ///< what comes now comes behind this: by broadcast, directly, from other servers
  std::size_t server = 0;      ///< at which it is
  int goes_to = -1;            ///< a server, next; -1: to any
  std::uint64_t broker = 0;    ///< or, of those that follow one another, at which of them
  TimePoint away_until{};      ///< it does not come back before
  TimePoint confirmed_until{};
  TimePoint wake = records::never;

  // its subscribers and its dispatcher
  std::vector<Subscription> subscriptions;
  std::size_t listeners = 0;
  bool dispatch_planned = false;
  bool busy = false;
  TimePoint stalled_until{};
  syncbus::core::ReceiveQueue::Item item;
  std::vector<records::Call> calls;
  std::vector<syncbus::core::Acknowledgement> answers;

  // its publishers
  std::uint64_t version = 0;
  std::deque<Wish> waiting;  ///< for room
  std::vector<syncbus::core::AwaitId> awaits;  ///< that are open
  bool room = false;
  bool patience_planned = false;
};

}  // namespace sim
