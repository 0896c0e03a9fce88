// The subscribers of a simulated world and the dispatchers that have them hear: fast, slow, stalled, or throwing.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/event.hpp>

#include "sim/link.hpp"

namespace sim {

/// The names of the keys, by number; the first letter tells the number.
inline constexpr std::array<std::string_view, 16> key_names{
    "a", "b", "c with a name of some length", "d", "e, the longest of all of these names, for the sake of full frames",
    "f", "g", "h", "i", "j", "k, another long one, though not that long", "l", "m", "n", "o", "p"};

/// The same with as many bytes as a key may have, or few less, or far less.
[[nodiscard]] inline std::string_view long_name_of(std::size_t key) {
  static const std::array<std::string, 16> names = [] {
    constexpr std::array<std::size_t, 4> sizes{4'096, 1'500, 4'095, 40};
    std::array<std::string, 16> all;
    for (std::size_t i = 0; i != all.size(); ++i) {
      all[i].assign(sizes[i % sizes.size()], static_cast<char>('A' + i));
      all[i][0] = key_names[i][0];
    }
    return all;
  }();
  return names[key];
}

/// Leases have names of the same text, in a namespace of their own.
[[nodiscard]] inline std::string_view name_of(Key key, bool long_one) {
  if (key == every_key) return {};
  const auto number = static_cast<std::size_t>(key % first_lease);
  return long_one ? long_name_of(number) : key_names[number];
}
[[nodiscard]] inline Key key_of(std::string_view name, syncbus::EventType type) noexcept {
  if (name.empty()) return every_key;
  return name[0] - 'a' + (type == syncbus::EventType::lease_revoked ? first_lease : 0);
}

class Handlers : public Link {
 protected:
  [[nodiscard]] Key some_key() {
    if (random_.chance(plan_.leases)) return first_lease + static_cast<Key>(random_.below(2));
    return static_cast<Key>(random_.below(plan_.keys));
  }

  // --- subscribers

  void add_subscription(Node& node) {
    const Key key = random_.chance(0.4) ? every_key : some_key();
    const bool throwing = random_.chance(plan_.throwing);
    const SubscriberNumber number = auditor_.subscribed(node.number, key, throwing, now_);
    node.subscriptions.push_back({number, key, throwing});
    ++node.listeners;
    tell([&](std::ostream& out) { out << "node " << node.number << " has subscriber " << number << ", key " << key; });
  }

  void drop_subscription(Node& node) {
    if (node.subscriptions.empty()) return;
    Node::Subscription& one = node.subscriptions[random_.below(node.subscriptions.size())];
    if (!std::exchange(one.alive, false)) return;
    --node.listeners;
    auditor_.unsubscribed(one.number);
    tell([&](std::ostream& out) { out << "subscriber " << one.number << " ends"; });
  }

  /// The calls that an event of a publisher begins on a node; what becomes of it there.
  [[nodiscard]] syncbus::core::AcknowledgementStatus begin_calls(Node& node, syncbus::EventType type,
                                                                 NodeNumber publisher, Key key, std::uint64_t version,
                                                                 std::vector<records::Call>& calls) {
    using Status = syncbus::core::AcknowledgementStatus;
    Status status = Status::no_subscriber;
    for (const Node::Subscription& subscription : node.subscriptions) {
      if (!subscription.matches(key)) continue;
      if (sabotaged(Sabotage::skip_handler) && random_.chance(0.1)) {
        status = Status::applied;
        continue;
      }
      if (sabotaged(Sabotage::mistake_type) && type == syncbus::EventType::remove) type = syncbus::EventType::set;
      if (sabotaged(Sabotage::mistake_version) && version == 0) version = last_version_;
      last_version_ = version;
      records::Call call = auditor_.event_begins(subscription.number, type, publisher, key, version);
      call.threw = subscription.throwing && random_.chance(0.5);
      if (status != Status::failed) status = call.threw ? Status::failed : Status::applied;
      calls.push_back(call);
      tell([&](std::ostream& out) {
        out << "subscriber " << subscription.number << " hears version " << version << " of key " << key << " of node "
            << publisher << ", type " << static_cast<int>(type) << (call.threw ? ", and throws" : "");
      });
    }
    return status;
  }

  void begin_resync_calls(Node& node, const syncbus::Resync& resync) {
    ++tally_.resyncs[static_cast<std::size_t>(resync.cause)];
    tell([&](std::ostream& out) {
      out << "node " << node.number << " hears a resync: " << to_string(resync.cause) << ", peer " << resync.peer;
    });
    auditor_.resync_heard(node.number, resync, now_);
    if (sabotaged(Sabotage::repeat_resync)) auditor_.resync_heard(node.number, resync, now_);
    for (const Node::Subscription& subscription : node.subscriptions) {
      if (subscription.alive) node.calls.push_back(auditor_.resync_begins(subscription.number));
    }
  }

  // --- the dispatcher

  void plan_dispatch(Node& node) {
    if (node.busy || std::exchange(node.dispatch_planned, true)) return;
    plan_for(node, now_, Moment::Kind::dispatch);
  }

  void run_dispatcher(Node& node) {
    while (!node.busy) {
      if (now_ < node.stalled_until) {
        if (!std::exchange(node.dispatch_planned, true)) plan_for(node, node.stalled_until, Moment::Kind::dispatch);
        return;
      }
      if (!node.protocol.take(node.item)) return auditor_.idle(node.number, now_);
      node.busy = true;
      node.calls.clear();
      node.answers.clear();
      begin_item(node);
      if (random_.chance(plan_.slow)) {
        return plan_for(node, now_ + random_.between({}, std::chrono::milliseconds{30}), Moment::Kind::handled);
      }
      finish_item(node);
    }
  }

  void begin_item(Node& node) {
    using Item = syncbus::core::ReceiveQueue::Item;
    if (node.item.kind == Item::Kind::resync) return begin_resync_calls(node, node.item.resync);
    if (node.item.kind == Item::Kind::frame) return begin_frame(node);
    const syncbus::core::PendingEvent& event = node.item.event;
    const Key key = key_of(event.key, event.type);
    const auto status =
        begin_calls(node, event.type, number_of(event.origin), key, event.version, node.calls);
    for (const auto& place : event.awaited) {
      node.answers.push_back({event.origin, place.sequence, place.index, 1, status});
    }
  }

  void begin_frame(Node& node) {
    syncbus::core::EventsView events = syncbus::core::reread_events(node.item.frame);
    syncbus::core::WireEvent event;
    for (std::uint32_t index = 0; events.next(event); ++index) {
      if (event.type == syncbus::EventType::resync) {
        begin_resync_calls(node, {event.cause, events.origin()});
        continue;
      }
      const bool late = node.item.late && !sabotaged(Sabotage::disorder);
      const bool revoked = event.type == syncbus::EventType::lease_revoked;
      const auto type = late && !revoked ? syncbus::EventType::invalidate : event.type;
      const auto status =
          begin_calls(node, type, number_of(events.origin()), key_of(event.key, type), event.version, node.calls);
      if (event.awaited) node.answers.push_back({events.origin(), events.sequence(), index, 1, status});
    }
  }

  void finish_item(Node& node) {
    node.busy = false;
    for (const records::Call& call : node.calls) auditor_.returned(call, now_);
    if (sabotaged(Sabotage::swallow_answers)) node.answers.clear();
    if (sabotaged(Sabotage::invent_resync) && random_.chance(0.1)) {
      begin_resync_calls(node, {random_.pick(invented_causes), nodes_[random_.below(nodes_.size())]->id});
    }
    if (node.item.kind == syncbus::core::ReceiveQueue::Item::Kind::frame) {
      auditor_.dispatched(node.number, node.item.frame.size() + 64);
    }
    node.protocol.release(node.answers, now_);
    settle(node);
  }

 private:
  std::uint64_t last_version_ = 0;  ///< that was heard, by anybody
  static constexpr syncbus::ResyncCause invented_causes[] = {
      syncbus::ResyncCause::overflow,    syncbus::ResyncCause::unrepairable, syncbus::ResyncCause::peer_lost,
      syncbus::ResyncCause::interrupted, syncbus::ResyncCause::joined,       syncbus::ResyncCause::requested};
};

}  // namespace sim
