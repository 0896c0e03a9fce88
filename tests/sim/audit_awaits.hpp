// Promise 3: whether an await that succeeded had its replicas, and one that failed early could not have had them.
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
#include <syncbus/quorum.hpp>

#include "sim/audit_resyncs.hpp"

namespace sim {

class AwaitAudit : public ResyncAudit {
 public:
  void await_opened(records::Await await) { awaits_.push_back(std::move(await)); }
  void await_has(NodeNumber node, std::uint64_t ticket, EventNumber event) {
    for (records::Await& await : awaits_) {
      if (await.node == node && await.ticket == ticket) await.events.push_back(event);
    }
  }
  void await_ended(NodeNumber node, std::uint64_t ticket, std::error_code error,
                   const std::vector<syncbus::NodeId>& replicas, TimePoint now) {
    const auto await = std::ranges::find_if(
        awaits_, [&](const records::Await& open) { return open.node == node && open.ticket == ticket; });
    if (await == awaits_.end()) return fail("an await ended that was not open");
    if (!error) {
      check_success(*await, replicas, now);
    } else if (error == syncbus::Errc::quorum_not_satisfied && now < await->deadline) {
      check_early_failure(*await, now);
    } else if (now < await->deadline) {
      fail("an await ended with " + error.message());
    }
    awaits_.erase(await);
  }

 protected:
  std::vector<records::Await> awaits_;

 private:
  [[nodiscard]] bool heard(const records::Await& await, SubscriberNumber subscriber, std::size_t event) const noexcept {
    return std::ranges::any_of(await.heard, [&](const records::Await::Heard& entry) {
      return entry.subscriber == subscriber && entry.event == event;
    });
  }

  enum class Word : std::uint8_t { applied, nothing_matches, missing };

  /// What a node can say of an await, by what its handlers did.
  [[nodiscard]] Word word_of(const records::Await& await, NodeNumber node) const noexcept {
    bool any = false;
    for (SubscriberNumber number = 0; number != subscribers_.size(); ++number) {
      const records::Subscriber& subscriber = subscribers_[number];
      if (subscriber.node != node) continue;
      for (std::size_t i = 0; i != await.events.size(); ++i) {
        const records::Event& event = events_[await.events[i]];
        if (!subscriber.matches(event.key)) continue;
        const bool has = heard(await, number, i);
        any = any || has;
        if (!has && subscriber.alive && subscriber.step < event.step) return Word::missing;
      }
    }
    return any ? Word::applied : Word::nothing_matches;
  }

  void check_success(const records::Await& await, const std::vector<syncbus::NodeId>& replicas, TimePoint now) {
    std::vector<int> zones;
    for (std::size_t i = 0; i != replicas.size(); ++i) {
      const auto node = std::ranges::find(nodes_, replicas[i], &records::Node::id);
      const auto number = static_cast<NodeNumber>(node - nodes_.begin());
      const bool twice = std::find(replicas.begin(), replicas.begin() + static_cast<std::ptrdiff_t>(i), replicas[i]) !=
                         replicas.begin() + static_cast<std::ptrdiff_t>(i);
      if (twice || node == nodes_.end() || word_of(await, number) != Word::applied) {
        return fail("promise 3: replica " + number_of(replicas[i]) + " of an await of node " +
                    std::to_string(await.node) +
                    (twice ? " is counted twice" : " has not heard all"));
      }
      if (node->zone != 0 && std::ranges::find(zones, node->zone) == zones.end()) zones.push_back(node->zone);
    }
    const auto wanted = static_cast<std::size_t>(await.quorum.count());
    const auto unit = await.quorum.unit();
    if (unit == syncbus::Quorum::Unit::everyone) return check_everyone(await, now);
    if ((unit == syncbus::Quorum::Unit::nodes ? replicas.size() : zones.size()) < wanted) {
      fail("promise 3: too few replicas for an await of node " + std::to_string(await.node));
    }
  }

  /// Everyone whom the publisher cannot but take for alive.
  void check_everyone(const records::Await& await, TimePoint now) {
    for (NodeNumber node = 0; node != nodes_.size(); ++node) {
      const records::Pair& got = pair(node, await.node);
      const bool known = node == await.node ? await.heard_here
                                            : got.met < await.opened && !got.goodbye && !nodes_[node].publish_only &&
                                                  now - got.heard < rules_.peer_timeout;
      if (known && nodes_[node].alive && word_of(await, node) == Word::missing) {
        fail("promise 3: an await of node " + std::to_string(await.node) + " for everyone has not heard of node " +
             std::to_string(node));
      }
    }
  }

  /// Whether nothing keeps a node from being a replica: known before, reachable both ways all the time, matching.
  [[nodiscard]] bool could_be_replica(const records::Await& await, NodeNumber number) const noexcept {
    const records::Node& node = nodes_[number];
    const records::Node& publisher = nodes_[await.node];
    if (!node.alive || node.publish_only) return false;
    if (node.stalled_until >= await.opened || publisher.stalled_until >= await.opened) return false;
    if (number == await.node && !await.heard_here) return false;
    if (number != await.node) {
      const records::Pair& there = pair(await.node, number);
      const records::Pair& back = pair(number, await.node);
      const bool whole = there.lost < await.opened && back.lost < await.opened;
      const bool connected =
          node.connected && publisher.connected && node.cut < await.opened && publisher.cut < await.opened;
      if (!whole || !connected || back.met >= await.opened || back.goodbye) return false;
    }
    bool matches = false;
    for (const records::Subscriber& subscriber : subscribers_) {
      if (subscriber.node != number) continue;
      for (const EventNumber event : await.events) {
        if (!subscriber.matches(events_[event].key)) continue;
        if (subscriber.throwing) return false;
        matches = matches || (subscriber.alive && subscriber.step < events_[event].step);
      }
    }
    return matches;
  }

  void check_early_failure(const records::Await& await, TimePoint now) {
    std::vector<int> zones;
    std::size_t count = 0;
    for (NodeNumber node = 0; node != nodes_.size(); ++node) {
      if (!could_be_replica(await, node)) continue;
      ++count;
      if (nodes_[node].zone != 0 && std::ranges::find(zones, nodes_[node].zone) == zones.end()) {
        zones.push_back(nodes_[node].zone);
      }
    }
    const auto wanted = static_cast<std::size_t>(await.quorum.count());
    const bool enough = await.quorum.unit() == syncbus::Quorum::Unit::nodes   ? count >= wanted
                        : await.quorum.unit() == syncbus::Quorum::Unit::zones ? zones.size() >= wanted
                                                                              : nobody_throws();
    if (!enough) return;
    fail("promise 3: an await of node " + std::to_string(await.node) + " failed " + microseconds(await.deadline - now) +
         " before its deadline, and " + std::to_string(count) + " nodes could have heard it");
  }

  [[nodiscard]] bool nobody_throws() const noexcept {
    return std::ranges::none_of(subscribers_, &records::Subscriber::throwing);
  }
};

}  // namespace sim
