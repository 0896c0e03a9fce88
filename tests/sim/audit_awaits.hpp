// Promise 3: whether an await that succeeded had its replicas, and one that failed could not have had them.
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
  void await_opened(records::Await await) {
    for (records::Await& other : awaits_) {
      if (other.node != await.node) continue;
      ++other.together;
      ++await.together;
    }
    awaits_.push_back(std::move(await));
  }
  void await_canceled(NodeNumber node, std::uint64_t await_id) {
    for (records::Await& await : awaits_) {
      await.canceled = await.canceled || (await.node == node && await.await_id == await_id);
    }
  }
  void await_has(NodeNumber node, std::uint64_t await_id, EventNumber event) {
    for (records::Await& await : awaits_) {
      if (await.node != node || await.await_id != await_id) continue;
      await.events.push_back(event);
      await.up_to = nodes_[node].accepted;
      await.no_room = await.no_room || may_have_no_room(node);
    }
  }
  void handed_over(NodeNumber from, const Label& label) {
    records::Node& node = nodes_[from];
    const bool fresh = label.kind == Label::Kind::events && label.sequence > node.handed_over;
    CopyAudit::handed_over(from, label);
    const std::size_t stands_for_many = label.tops[static_cast<std::size_t>(syncbus::ResyncCause::overflow)];
    if (fresh) went_out(from, node.out + label.entries - stands_for_many);
  }
  void at_rest(NodeNumber node) {
    CopyAudit::at_rest(node);
    if (nodes_[node].unsaved == 0) went_out(node, nodes_[node].accepted);
  }
  /// What a node sent has come back to it.
  void echo_came(NodeNumber node, const Label& label, TimePoint now) {
    if (label.solicits && !label.directed) nodes_[node].asked_everyone = now;
    const bool tells = label.kind == Label::Kind::events || label.kind == Label::Kind::heartbeat;
    for (records::Await& await : awaits_) {
      if (!tells || label.directed || await.node != node || await.frame == 0 || label.sequence < await.frame) continue;
      await.echoed = (std::min)(await.echoed, now);
    }
  }
  /// With none open there is no table that could be full.
  void await_refused(NodeNumber node) {
    if (std::ranges::find(awaits_, node, &records::Await::node) != awaits_.end()) return;
    fail("promise 3: node " + std::to_string(node) + " refuses an await, and has none open");
  }
  void await_ended(NodeNumber node, std::uint64_t await_id, std::error_code error,
                   const std::vector<syncbus::NodeId>& replicas, TimePoint now) {
    const auto await = std::ranges::find_if(
        awaits_, [&](const records::Await& open) { return open.node == node && open.await_id == await_id; });
    if (await == awaits_.end()) return fail("an await ended that was not open");
    check_replicas(*await, replicas, now);
    if (rules_.lied) {
      static_cast<void>(error);
    } else if (!error) {
      check_success(*await, replicas, now);
    } else if (error == syncbus::Errc::canceled && await->canceled) {
      static_cast<void>(error);
    } else if (error == syncbus::Errc::quorum_not_satisfied && now < await->deadline) {
      check_early_failure(*await, now);
      if (await->heard_elsewhere) check_asked(*await);
      check_zones(*await, replicas, now);
    } else if (error == syncbus::Errc::quorum_not_satisfied) {
      check_late_failure(*await);
    } else {
      fail("promise 3: an await ended with " + error.message());
    }
    awaits_.erase(await);
  }

 protected:
  std::vector<records::Await> awaits_;

 private:
  enum class Word : std::uint8_t { applied, nothing_matches, missing };

  /// What a node can say of an await at a time, by what its handlers had done.
  [[nodiscard]] Word word_of(const records::Await& await, NodeNumber node, TimePoint by) const noexcept {
    bool any = false;
    for (SubscriberNumber number = 0; number != subscribers_.size(); ++number) {
      const records::Subscriber& subscriber = subscribers_[number];
      if (subscriber.node != node || nodes_[node].observer) continue;
      for (std::size_t i = 0; i != await.events.size(); ++i) {
        const records::Event& event = events_[await.events[i]];
        if (!subscriber.matches(event.key)) continue;
        const bool has = std::ranges::any_of(await.heard, [&](const records::Await::Heard& entry) {
          return entry.subscriber == number && entry.event == i && entry.returned <= by;
        });
        any = any || has;
        if (!has && subscriber.alive && subscriber.step < event.step) return Word::missing;
      }
    }
    return any ? Word::applied : Word::nothing_matches;
  }

  /// Whatever becomes of an await, who is named has applied it.
  void check_replicas(const records::Await& await, const std::vector<syncbus::NodeId>& replicas, TimePoint now) {
    for (std::size_t i = 0; i != replicas.size(); ++i) {
      const auto node = std::ranges::find(nodes_, replicas[i], &records::Node::id);
      const auto number = static_cast<NodeNumber>(node - nodes_.begin());
      const bool twice = std::find(replicas.begin(), replicas.begin() + static_cast<std::ptrdiff_t>(i), replicas[i]) !=
                         replicas.begin() + static_cast<std::ptrdiff_t>(i);
      if (twice || node == nodes_.end() || word_of(await, number, now) != Word::applied) {
        return fail("promise 3: replica " + number_of(replicas[i]) + " of an await of node " +
                    std::to_string(await.node) +
                    (twice ? " is counted twice" : " has not heard all"));
      }
    }
  }

  void check_success(const records::Await& await, const std::vector<syncbus::NodeId>& replicas, TimePoint now) {
    std::vector<int> zones;
    for (const syncbus::NodeId replica : replicas) {
      const auto node = std::ranges::find(nodes_, replica, &records::Node::id);
      if (node == nodes_.end()) return;
      if (node->zone != 0 && std::ranges::find(zones, node->zone) == zones.end()) zones.push_back(node->zone);
    }
    const auto wanted = static_cast<std::size_t>(await.quorum.count());
    const auto unit = await.quorum.unit();
    if (unit == syncbus::Quorum::Unit::everyone) return check_everyone(await, now);
    if ((unit == syncbus::Quorum::Unit::nodes ? replicas.size() : zones.size()) < wanted) {
      fail("promise 3: too few replicas for an await of node " + std::to_string(await.node));
    }
    check_in_time(await, now);
  }

  /// Where nothing fails no answer has to be asked for: it comes as soon as the handlers have returned.
  void check_in_time(const records::Await& await, TimePoint now) {
    if (!rules_.nothing_fails || !rules_.lossless) return;
    for (const EventNumber event : await.events) {
      if (events_[event].version == 0) return;  // others of its key may have been heard for it
    }
    if (!std::ranges::all_of(await.heard, &records::Await::Heard::itself)) return;
    if (may_miss_answers(await)) return;
    const TimePoint by = now - rules_.way_back;
    const std::size_t count = count_if(await, [&](NodeNumber node) { return has_answered(await, node, by); });
    if (count < static_cast<std::size_t>(await.quorum.count())) return;
    fail("promise 7: an await of node " + std::to_string(await.node) + " is satisfied more than " +
         microseconds(rules_.way_back) + " after enough had heard it");
  }

  /// Whether the event that a node accepted last may have found history full of what is not confirmed, and the quarter
  /// of it that is for what is awaited full as well: then its await ends at its deadline.
  [[nodiscard]] bool may_have_no_room(NodeNumber number) const noexcept {
    const records::Node& node = nodes_[number];
    std::size_t awaited = 0;
    for (const records::Await& await : awaits_) awaited += await.node == number ? await.events.size() : 0;
    const std::size_t most_each = (std::max)(rules_.most_event_bytes, node.frame_limit);
    return !rules_.ample_history && node.unsaved * rules_.most_event_bytes >= rules_.history_bytes / 4 * 3 &&
           awaited * most_each > rules_.history_bytes / 4;
  }

  /// Whoever has more peers than it has room for cannot know all, nor the zones of those that it does not know; and of
  /// their answers it keeps but few, over all of its awaits.
  [[nodiscard]] bool may_miss_answers(const records::Await& await) const noexcept {
    if (!crowded(nodes_[await.node])) return false;
    if (await.quorum.unit() != syncbus::Quorum::Unit::nodes) return true;
    return await.together * nodes_.size() > rules_.answers_of_strangers;
  }

  /// Everyone whom the publisher cannot but take for alive; where nothing fails, whoever is there.
  void check_everyone(const records::Await& await, TimePoint now) {
    for (NodeNumber node = 0; node != nodes_.size(); ++node) {
      const records::Pair& got = pair(node, await.node);
      const bool others = node != await.node && await.heard_elsewhere && !got.goodbye && !nodes_[node].publish_only;
      const bool heard = got.met < await.opened && now - (std::max)(got.heard, got.met) < rules_.peer_timeout;
      const bool there = rules_.nothing_fails && nodes_[node].entered < await.opened;
      const bool counts = node == await.node ? await.heard_here : others && (heard || there);
      if (counts && nodes_[node].alive && word_of(await, node, now) == Word::missing) {
        fail("promise 3: an await of node " + std::to_string(await.node) + " for everyone has not heard of node " +
             std::to_string(node));
      }
    }
  }

  /// Whether nothing has befallen a node or the publisher that keeps its answer from coming.
  [[nodiscard]] bool could_answer(const records::Await& await, NodeNumber number) const noexcept {
    return could_answer(await, number, await.opened);
  }
  /// The same for one that is asked in the publisher's present session, `since` it began.
  [[nodiscard]] bool could_answer(const records::Await& await, NodeNumber number, TimePoint since) const noexcept {
    const records::Node& node = nodes_[number];
    const records::Node& publisher = nodes_[await.node];
    if (!node.alive || node.publish_only || node.observer) return false;
    if (node.stalled_until >= since || publisher.stalled_until >= since) return false;
    if (number == await.node) return await.heard_here;
    if (!await.heard_elsewhere) return false;
    const records::Pair& there = pair(await.node, number);
    const records::Pair& back = pair(number, await.node);
    const bool whole = there.lost < since && back.lost < since;
    const bool connected = node.connected && publisher.connected && !node.half_open && !publisher.half_open &&
                           node.cut < since && publisher.cut < since;
    return whole && connected && back.met < since && !back.goodbye;
  }

  /// Whether its subscribers allow it to be a replica: one matches, and no one that does throws.
  [[nodiscard]] bool could_apply(const records::Await& await, NodeNumber number) const noexcept {
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

  /// Whether its answer to each event was given by a time: that nothing matches is said in no order that is known here.
  [[nodiscard]] bool has_answered(const records::Await& await, NodeNumber node, TimePoint by) const noexcept {
    if (word_of(await, node, by) != Word::applied) return false;
    if (node == await.node) return true;
    for (std::size_t i = 0; i != await.events.size(); ++i) {
      if (std::ranges::none_of(await.heard, [&](const records::Await::Heard& entry) {
            return subscribers_[entry.subscriber].node == node && entry.event == i && entry.returned <= by &&
                   entry.itself;
          })) {
        return false;
      }
    }
    return true;
  }

  /// How many nodes, or zones if those count, could have been counted for an await.
  template <class Can>
  [[nodiscard]] std::size_t count_if(const records::Await& await, const Can& can) const {
    return count_if(await, await.opened, can);
  }
  template <class Can>
  [[nodiscard]] std::size_t count_if(const records::Await& await, TimePoint since, const Can& can) const {
    std::vector<int> zones;
    std::size_t count = 0;
    for (NodeNumber node = 0; node != nodes_.size(); ++node) {
      if (!could_answer(await, node, since) || !could_apply(await, node) || !can(node)) continue;
      ++count;
      if (nodes_[node].zone != 0 && std::ranges::find(zones, nodes_[node].zone) == zones.end()) {
        zones.push_back(nodes_[node].zone);
      }
    }
    return await.quorum.unit() == syncbus::Quorum::Unit::zones ? zones.size() : count;
  }

  void check_early_failure(const records::Await& await, TimePoint now) {
    const std::size_t count = count_if(await, [](NodeNumber) { return true; });
    const bool everyone = await.quorum.unit() == syncbus::Quorum::Unit::everyone;
    if (everyone ? !nobody_throws() : (std::max)(count, asked_again(await, now)) < wanted(await)) return;
    fail("promise 3: an await of node " + std::to_string(await.node) + " failed " + microseconds(await.deadline - now) +
         " before its deadline, and " + std::to_string(count) + " could have heard it");
  }

  /// What was asked in an earlier session may have been lost with it, and the answers.
  void check_asked(const records::Await& await) {
    const records::Node& node = nodes_[await.node];
    if (node.asked_everyone >= (std::max)(node.connected_since, await.opened)) return;
    fail("promise 3: an await of node " + std::to_string(await.node) +
         " failed before its deadline, and nobody was asked in this session");
  }

  /// Nobody's zone counts for nothing before it is known.
  void check_zones(const records::Await& await, const std::vector<syncbus::NodeId>& replicas, TimePoint now) {
    if (await.quorum.unit() != syncbus::Quorum::Unit::zones) return;
    std::vector<int> zones;
    for (const syncbus::NodeId replica : replicas) {
      const auto node = std::ranges::find(nodes_, replica, &records::Node::id);
      if (node == nodes_.end() || node->zone == 0) continue;
      const records::Pair& got = pair(static_cast<NodeNumber>(node - nodes_.begin()), await.node);
      const bool heard = got.heard != records::before_time && now - got.heard < rules_.peer_timeout;
      const bool itself = replica == nodes_[await.node].id;
      if ((heard || itself) && std::ranges::find(zones, node->zone) == zones.end()) zones.push_back(node->zone);
    }
    if (zones.size() < wanted(await)) return;
    fail("promise 3: an await of node " + std::to_string(await.node) +
         " failed before its deadline, and its replicas are in zones enough");
  }

  /// How many have applied it before an interruption took their answers, and are there to be asked again.
  [[nodiscard]] std::size_t asked_again(const records::Await& await, TimePoint now) const {
    const TimePoint since = nodes_[await.node].connected_since;
    if (since < await.opened) return 0;
    std::size_t count = 0;
    for (NodeNumber node = 0; node != nodes_.size(); ++node) {
      const bool there = node != await.node && nodes_[node].connected_since < since;
      if (there && could_answer(await, node, since) && could_apply(await, node)) {
        count += has_answered(await, node, now) ? 1U : 0U;
      }
    }
    return await.quorum.unit() == syncbus::Quorum::Unit::zones ? 0 : count;
  }
  [[nodiscard]] static std::size_t wanted(const records::Await& await) noexcept {
    return static_cast<std::size_t>(await.quorum.count());
  }

  /// An await has missed its deadline, which is a fault if nothing hindered it: it had much time, or enough nodes heard
  /// it early enough for their answers to have come.
  void check_late_failure(const records::Await& await) {
    const bool long_enough = await.deadline - await.opened >= rules_.await_time;
    const TimePoint by = await.deadline - rules_.answer_time;
    const auto answers = [&](NodeNumber node) { return long_enough || has_answered(await, node, by); };
    const bool everyone = await.quorum.unit() == syncbus::Quorum::Unit::everyone;
    if (await.no_room || may_miss_answers(await)) return;
    if (!everyone) check_patient(await);
    if (everyone ? !knew_who_is_there(await, long_enough) || !everyone_if(await, answers)
                 : count_if(await, answers) < static_cast<std::size_t>(await.quorum.count())) {
      return;
    }
    fail("promise 3: an await of node " + std::to_string(await.node) + " was not satisfied within " +
         microseconds(await.deadline - await.opened) + ", though nothing hindered it");
  }

  /// Whatever was lost: since the last of it there was time to ask again, for the answer or for the frame.
  void check_patient(const records::Await& await) {
    const TimePoint since = await.deadline - rules_.patience;
    if (rules_.patience == Duration{} || since < await.opened) return;
    if (count_if(await, since, [](NodeNumber) { return true; }) < wanted(await)) return;
    fail("promise 3: an await of node " + std::to_string(await.node) + " was not satisfied within " +
         microseconds(await.deadline - await.opened) + ", though nothing has hindered it for " +
         microseconds(rules_.patience));
  }

  /// Of a node's events so many have gone out, at least: those that joined another on the way are not counted before it
  /// is at rest.
  void went_out(NodeNumber number, std::uint64_t events) {
    records::Node& node = nodes_[number];
    node.out = events;
    for (records::Await& await : awaits_) {
      if (await.node == number && await.frame == 0 && await.up_to <= node.out) await.frame = node.handed_over;
    }
  }

  /// Whether the publisher was joined all the time, or had much time to join again, and its frames came back to it: the
  /// awaited one too, unless it had much time for that.
  [[nodiscard]] bool knew_who_is_there(const records::Await& await, bool long_enough) const noexcept {
    const records::Node& publisher = nodes_[await.node];
    const bool whole = pair(await.node, await.node).lost < await.opened && publisher.stalled_until < await.opened;
    const bool echoed = long_enough || await.echoed < await.deadline;
    const bool hears_itself = (whole && echoed && !publisher.half_open) || !await.heard_elsewhere;
    return publisher.connected && publisher.cut < await.opened && hears_itself && (long_enough || publisher.cuts == 0);
  }

  /// Whether everyone could have been counted whom the publisher may wait for, those that have ended among them.
  template <class Can>
  [[nodiscard]] bool everyone_if(const records::Await& await, const Can& can) const {
    for (NodeNumber node = 0; node != nodes_.size(); ++node) {
      const records::Pair& back = pair(node, await.node);
      const bool cannot_count = nodes_[node].publish_only || nodes_[node].observer;
      const bool known_not_to = cannot_count && back.introduced < await.deadline;
      if (node == await.node || known_not_to || back.goodbye || !await.heard_elsewhere) continue;
      if (!could_answer(await, node) || !can(node)) return false;
    }
    return nobody_throws();
  }

  [[nodiscard]] bool nobody_throws() const noexcept {
    return std::ranges::none_of(subscribers_, &records::Subscriber::throwing);
  }
};

}  // namespace sim
