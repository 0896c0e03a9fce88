// Judges a simulated world by the promises of the library, from its own records of what happened and nothing else.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>

#include "sim/audit_awaits.hpp"

namespace sim {

/// Knows the vocabulary that users know, and of the machine under test nothing: the world tells what it did and saw, in
/// the order in which it happened. What is wrong is told once, in a sentence, by problem().
class Auditor final : public AwaitAudit {
 public:
  void begin(const Rules& rules) {
    rules_ = rules;
    pairs_.resize((std::max)(pairs_.size(), rules.most_nodes * rules.most_nodes));
    step_ = 0;
    nodes_.clear();
    events_.clear();
    subscribers_.clear();
    awaits_.clear();
    problem_.clear();
    begin_heartbeats();
  }

  // --- nodes

  /// Its constructor has returned.
  void entered(NodeNumber number, TimePoint now) {
    records::Node& node = nodes_[number];
    node.entered = now;
    if (!rules_.nothing_fails || now - node.connected_since <= rules_.joining_time) return;
    fail("budget: node " + std::to_string(number) + " has joined after " + microseconds(now - node.connected_since));
  }

  NodeNumber node_began(syncbus::NodeId id, int zone, bool publish_only, bool observer = false) {
    const NodeNumber number = nodes_.size();
    nodes_.push_back({.id = id, .zone = zone, .publish_only = publish_only, .observer = observer});
    for (NodeNumber other = 0; other <= number; ++other) {
      reset(pair(number, other));
      reset(pair(other, number));
    }
    return number;
  }

  /// To a broker that takes frames of so many bytes.
  void connected(NodeNumber number, std::size_t frame_limit, TimePoint now) {
    records::Node& node = nodes_[number];
    node.connected = true;
    node.half_open = false;
    node.connected_since = now;
    const bool smaller = frame_limit < std::exchange(node.frame_limit, frame_limit);
    if (smaller && node.unsaved != 0) node.too_large = true;
    node.shrunk = node.shrunk || smaller;
  }
  /// Its link brings nothing until then.
  void stalled(NodeNumber node, TimePoint until) {
    nodes_[node].stalled_until = (std::max)(nodes_[node].stalled_until, until);
  }
  void went_half_open(NodeNumber node) { nodes_[node].half_open = true; }
  void interrupted(NodeNumber node, TimePoint now) {
    nodes_[node].connected = nodes_[node].half_open = false;
    nodes_[node].cut = now;
    ++nodes_[node].cuts;
    ++nodes_[node].met_again;
  }

  void node_ended(NodeNumber number, bool goodbye, TimePoint now) {
    records::Node& node = nodes_[number];
    node.alive = false;
    node.goodbye = goodbye;
    node.ended = now;
    std::erase_if(awaits_, [&](const records::Await& await) { return await.node == number; });
    for (records::Subscriber& subscriber : subscribers_) {
      if (subscriber.node == number) subscriber.alive = false;
      std::erase_if(subscriber.owed, [&](EventNumber event) { return !must_hear(subscriber.node, event); });
    }
  }

  // --- subscribers

  SubscriberNumber subscribed(NodeNumber node, Key key, bool throwing, TimePoint now) {
    nodes_[node].first_subscribed = (std::min)(nodes_[node].first_subscribed, now);
    subscribers_.push_back({.node = node, .key = key, .throwing = throwing, .step = ++step_});
    subscribers_.back().newest.resize(rules_.most_nodes);
    return subscribers_.size() - 1;
  }
  void unsubscribed(SubscriberNumber subscriber) {
    subscribers_[subscriber].alive = false;
    subscribers_[subscriber].owed.clear();
  }

  // --- events

  EventNumber accepted(NodeNumber publisher, Key key, syncbus::EventType type, std::uint64_t version, TimePoint now) {
    const EventNumber number = accepted_here(publisher, key, type, version, now);
    events_.back().heard_elsewhere = true;
    records::Node& node = nodes_[publisher];
    ++node.unsaved;
    ++node.accepted;
    node.clearings += key == every_key ? 1U : 0U;
    for (records::Subscriber& subscriber : subscribers_) {
      if (subscriber.alive && subscriber.node != publisher && subscriber.matches(key)) {
        subscriber.owed.push_back(number);
      }
    }
    return number;
  }

  /// One that no other node is to hear.
  EventNumber accepted_here(NodeNumber publisher, Key key, syncbus::EventType type, std::uint64_t version,
                            TimePoint now) {
    events_.push_back({.publisher = publisher,
                       .key = key,
                       .type = type,
                       .version = version,
                       .step = ++step_,
                       .accepted = now,
                       .heard_elsewhere = false});
    return events_.size() - 1;
  }

  /// To a broker that may lack what the last one had, of whomever.
  void moved(NodeNumber at, TimePoint now) {
    if (!listens(at)) return;
    ++nodes_[at].moves;
    owe_resync(at, now);
  }

  /// What a frame of another version says may be anything.
  void other_version_came(NodeNumber at, TimePoint now) {
    happened(at, syncbus::ResyncCause::incompatible);
    nodes_[at].other_version = (std::min)(nodes_[at].other_version, now);
    owe_resync(at, now);
  }

  // --- handlers

  [[nodiscard]] records::Call event_begins(SubscriberNumber subscriber, syncbus::EventType type, NodeNumber publisher,
                                           Key key, std::uint64_t version) {
    records::Subscriber& at = subscribers_[subscriber];
    if (!was_published(at.node, type, publisher, key, version)) {
      fail("subscriber " + name(subscriber) + " heard version " + std::to_string(version) + " of " + text_of(key) +
           " of node " + std::to_string(publisher) + ", type " + std::to_string(static_cast<int>(type)) +
           ", which nobody has published");
    }
    if (version != 0) {
      const bool is_value = type == syncbus::EventType::set || type == syncbus::EventType::remove;
      const std::uint64_t newest = at.newest[publisher].version;
      if (at.newest[publisher].hear(version) && (rules_.heard_once || rules_.remembered) && rules_.room_for_all()) {
        fail("subscriber " + name(subscriber) + " heard version " + std::to_string(version) + " of node " +
             std::to_string(publisher) + " twice");
      }
      if (version < newest && (is_value || (rules_.strict_order && owed_to(at, publisher, version)))) {
        fail("promise 6: subscriber " + name(subscriber) + " heard version " + std::to_string(version) + " of node " +
             std::to_string(publisher) + " behind version " + std::to_string(newest));
      }
    }
    return {.subscriber = subscriber,
            .publisher = publisher,
            .key = key,
            .version = version,
            .step = ++step_,
            .type = type};
  }
  [[nodiscard]] records::Call resync_begins(SubscriberNumber subscriber) {
    return {.subscriber = subscriber, .resync = true, .step = ++step_};
  }

  void returned(const records::Call& call, TimePoint now) {
    records::Subscriber& at = subscribers_[call.subscriber];
    std::erase_if(at.owed, [&](EventNumber event) { return call.covers(events_[event]); });
    if (call.resync || call.threw) return;
    for (records::Await& await : awaits_) {
      for (std::size_t i = 0; i != await.events.size(); ++i) {
        const records::Event& event = events_[await.events[i]];
        if (!call.covers(event)) continue;
        await.heard.push_back({call.subscriber, i, now, call.version != 0 || has_no_like(await.events[i])});
      }
    }
  }

  // --- now and then: promises 2 and 5

  void sample(NodeNumber node, bool joined, Duration staleness, const syncbus::Metrics& metrics, TimePoint now) {
    if (metrics.history_bytes > rules_.history_bytes) {
      fail("promise 5: history of " + std::to_string(metrics.history_bytes));
    }
    if (metrics.queue_bytes > rules_.queue_bytes + rules_.pending_bytes) {
      fail("promise 5: queue of " + std::to_string(metrics.queue_bytes));
    }
    check_punctual(node, now);
    if (!rules_.one_order || !joined) return;
    for (SubscriberNumber number = 0; number != subscribers_.size(); ++number) {
      if (subscribers_[number].node == node && subscribers_[number].alive) check_staleness(number, staleness, now);
    }
    for (NodeNumber peer = 0; peer != nodes_.size(); ++peer) {
      if (peer != node && nodes_[peer].publish_only) check_missing(peer, node, staleness, now);
    }
  }

  // --- the end: promises 1 and 4

  /// What a node counted in all its life.
  void check_counters(NodeNumber node, const syncbus::Metrics& metrics) {
    if (!rules_.nothing_fails || !rules_.lossless || metrics.gaps == 0) return;
    fail("promise 4: node " + std::to_string(node) + " found " + std::to_string(metrics.gaps) +
         " frames missing where nothing is lost");
  }

  [[nodiscard]] bool settled() const noexcept {
    return awaits_.empty() && std::ranges::all_of(subscribers_, [this](const records::Subscriber& subscriber) {
      return !subscriber.alive || std::ranges::none_of(subscriber.owed, [&](EventNumber event) {
        return must_hear(subscriber.node, event);
      });
    });
  }

  void check_end() {
    for (SubscriberNumber number = 0; number != subscribers_.size(); ++number) {
      const records::Subscriber& subscriber = subscribers_[number];
      if (!subscriber.alive) continue;
      for (const EventNumber event : subscriber.owed) {
        if (must_hear(subscriber.node, event)) {
          fail("promise 1: subscriber " + name(number) + " never heard " + text_of(events_[event]));
        }
      }
    }
    if (!awaits_.empty()) fail("an await of node " + std::to_string(awaits_.front().node) + " never ended");
  }

  /// What one that lives says about its peers once nothing befalls them any more; empty: as it should be.
  [[nodiscard]] std::string unconverged(NodeNumber at, const std::vector<syncbus::Peer>& peers,
                                        Duration staleness) const {
    const std::string who = "node " + std::to_string(at);
    if (crowded(nodes_[at])) return unconverged_in_crowd(who, peers);
    for (NodeNumber other = 0; other != nodes_.size(); ++other) {
      if (other == at || !nodes_[other].alive) continue;
      const auto peer = std::ranges::find(peers, nodes_[other].id, &syncbus::Peer::id);
      if (peer == peers.end()) return who + " does not know node " + std::to_string(other);
      if (peer->lag != 0) return who + " misses frames of node " + std::to_string(other);
      if (peer->silent_for >= rules_.heard_within) return who + " does not hear node " + std::to_string(other);
    }
    return staleness <= rules_.least_staleness ? "" : who + " remains " + microseconds(staleness) + " behind";
  }

 private:
  /// Whoever listens at a node has to hear one.
  void owe_resync(NodeNumber at, TimePoint now) {
    const EventNumber number = accepted_here(stranger, every_key, syncbus::EventType::resync, 0, now);
    for (records::Subscriber& subscriber : subscribers_) {
      if (subscriber.alive && subscriber.node == at) subscriber.owed.push_back(number);
    }
  }

  /// Of one that may have too little room: it knows as many as it can, and misses nothing of them.
  [[nodiscard]] std::string unconverged_in_crowd(const std::string& who,
                                                 const std::vector<syncbus::Peer>& peers) const {
    const auto alive = std::ranges::count_if(nodes_, &records::Node::alive);
    if (peers.size() < (std::min)(rules_.max_peers, static_cast<std::size_t>(alive - 1))) {
      return who + " knows fewer peers than it has room for";
    }
    if (peers.size() > rules_.max_peers) return "promise 5: " + who + " knows too many peers";
    for (const syncbus::Peer& peer : peers) {
      const auto node = std::ranges::find(nodes_, peer.id, &records::Node::id);
      if (node != nodes_.end() && node->alive && peer.lag != 0) return who + " misses frames of " + number_of(peer.id);
    }
    return {};
  }

  /// Whether no event that was published before can be heard for this one, which then waits behind it.
  [[nodiscard]] bool has_no_like(EventNumber number) const noexcept {
    const records::Event& event = events_[number];
    const auto before = events_.begin() + static_cast<std::ptrdiff_t>(number);
    return event.version == 0 && std::none_of(events_.begin(), before, [&](const records::Event& other) {
             return other.publisher == event.publisher && other.key == event.key && other.version == 0;
           });
  }

  static void reset(records::Pair& pair) {
    auto got = std::move(pair.got);
    auto known_at = std::move(pair.known_at);
    got.clear();
    known_at.clear();
    pair = {};
    pair.got = std::move(got);
    pair.known_at = std::move(known_at);
  }

  /// Of a publisher that lives: always. One that ended must have been known, its event saved as by a flush, and it must
  /// have been heard since or not long before: whoever had given it up before has heard its resync before.
  [[nodiscard]] bool must_hear(NodeNumber at, EventNumber number) const noexcept {
    const records::Event& event = events_[number];
    if (event.publisher == stranger) return true;
    if (rules_.lied_over) return false;
    const records::Node& publisher = nodes_[event.publisher];
    const records::Pair& got = pair(event.publisher, at);
    if (publisher.alive) return true;
    if (number >= publisher.saved) return false;
    const bool heard_all = heard_all_since(nodes_[at], event.accepted);
    const bool whole = rules_.lossless || rules_.some_move || (heard_all && at_one_place(at, event.publisher));
    const bool hides_nothing = !got.told && whole;
    const bool silent = got.heard < event.accepted - rules_.peer_timeout;
    const bool given_up =
        got.met >= event.accepted || (silent && (!hides_nothing || got.heard == records::before_time));
    return !given_up || (rules_.lossless && heard_all);
  }

  /// Whether a session of a node has gone on since, so that the broker has given it all that it had from then on.
  [[nodiscard]] static bool heard_all_since(const records::Node& node, TimePoint since) noexcept {
    return node.connected && node.connected_since < since;
  }

  /// Whether an event, or a join of several, can be what a node hears. A join has a version of theirs, or none if one
  /// of them has none, and their type, or it is an invalidation.
  [[nodiscard]] bool was_published(NodeNumber at, syncbus::EventType type, NodeNumber publisher, Key key,
                                   std::uint64_t version) const noexcept {
    return std::any_of(events_.rbegin(), events_.rend(), [&](const records::Event& event) {
      const bool joined = type == syncbus::EventType::invalidate && event.type != syncbus::EventType::lease_revoked;
      return event.publisher == publisher && event.key == key && event.version == version &&
             (event.type == type || joined) && (event.heard_elsewhere || publisher == at);
    });
  }

  /// Whether a versioned event is younger than a subscriber. An older one is nothing that is owed to it: where it is
  /// awaited, its publisher's question may bring it all the same, late.
  [[nodiscard]] bool owed_to(const records::Subscriber& subscriber, NodeNumber publisher, std::uint64_t version) const {
    return std::any_of(events_.rbegin(), events_.rend(), [&](const records::Event& event) {
      return event.publisher == publisher && event.version == version && event.step > subscriber.step;
    });
  }

  // --- promise 2

  /// Who publishes only proves nothing; but what is known to be missing of it counts.
  void check_missing(NodeNumber publisher, NodeNumber at, Duration staleness, TimePoint now) {
    const records::Pair& got = pair(publisher, at);
    for (std::uint64_t sequence = got.covered + 1; sequence < got.known_at.size(); ++sequence) {
      const bool came = sequence < got.got.size() && got.got[sequence] != records::never;
      if (came || got.known_at[sequence] == records::never || staleness >= now - got.known_at[sequence]) continue;
      fail("promise 2: node " + std::to_string(at) + " says that it is " + microseconds(staleness) +
           " behind, and has missed for " + microseconds(now - got.known_at[sequence]) + " frame " +
           std::to_string(sequence) + " of node " + std::to_string(publisher));
    }
  }

  void check_staleness(SubscriberNumber number, Duration staleness, TimePoint now) {
    const records::Subscriber& subscriber = subscribers_[number];
    const records::Node& node = nodes_[subscriber.node];
    for (const EventNumber owed : subscriber.owed) {
      const records::Event& event = events_[owed];
      if (event.publisher == stranger) continue;
      const records::Pair& got = pair(event.publisher, subscriber.node);
      const TimePoint hears_until = node.connected ? now : node.cut;
      const bool known = got.met < event.accepted || (got.met <= now && got.past_is_ours);
      const bool recent = got.heard != records::before_time && hears_until - got.heard < rules_.peer_timeout;
      const bool heard = known && recent && !got.goodbye;
      const records::Node& publisher = nodes_[event.publisher];  // a publish-only one hears nobody, and proves nothing
      if (heard && publisher.alive && !publisher.publish_only && staleness < now - event.accepted) {
        fail("promise 2: node " + std::to_string(subscriber.node) + " says that it is " + microseconds(staleness) +
             " behind, and has not heard for " + microseconds(now - event.accepted) + " " + text_of(event));
      }
    }
  }
};

}  // namespace sim
