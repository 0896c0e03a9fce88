// The publishers of a simulated world: events that go, wait for room or join, and awaits.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/event.hpp>
#include <syncbus/quorum.hpp>

#include "sim/handlers.hpp"

namespace sim {

class Publishers : public Handlers {
 protected:
  // --- publishers

  [[nodiscard]] Wish some_wish() {
    using syncbus::EventType;
    constexpr EventType types[] = {EventType::set, EventType::set, EventType::remove, EventType::invalidate};
    const Key key = some_key();
    const EventType type = random_.pick(types);
    return {key, key < first_lease ? type : EventType::lease_revoked, random_.chance(0.7)};
  }

  void want(Node& node, const Wish& wish) {
    node.waiting.push_back(wish);
    if (node.waiting.size() == 1) submit_waiting(node, random_.chance(0.3));
  }

  void submit_waiting(Node& node, bool may_join) {
    while (!node.waiting.empty() && submit(node, node.waiting.front(), may_join, {})) node.waiting.pop_front();
    if (!node.waiting.empty() && !std::exchange(node.patience_planned, true)) {
      plan_for(node, now_ + random_.between({}, std::chrono::milliseconds{30}), Moment::Kind::patience_ends);
    }
    settle(node);
  }

  /// A key of every third number has events without a version; in some worlds only some of its events.
  [[nodiscard]] bool has_version(Key key) {
    if (key == every_key || key >= first_lease) return false;
    return key % 3 != 2 || (plan_.mixed_versions && random_.chance(0.5));
  }

  [[nodiscard]] bool submit(Node& node, const Wish& wish, bool may_join,
                            std::optional<syncbus::core::Awaited> awaited) {
    using syncbus::core::Submitted;
    syncbus::core::WireEvent event{.type = wish.type};
    event.key = name_of(wish.key, plan_.long_keys);
    if (has_version(wish.key)) event.version = node.version + 1;
    if (node.protocol.submit(event, may_join, awaited) != Submitted::accepted) return false;
    if (event.version != 0) ++node.version;
    const EventNumber number = auditor_.accepted(node.number, wish.key, wish.type, event.version, now_);
    ++tally_.events;
    tell([&](std::ostream& out) {
      out << "node " << node.number << " publishes version " << event.version << " of key " << wish.key
          << (awaited ? ", awaited" : "");
    });
    const std::uint64_t await_id = awaited ? awaited->await_id : 0;
    if (awaited) auditor_.await_has(node.number, await_id, number);
    if (wish.heard_here && wish.key != every_key) hear_own(node, wish, event.version, awaited);
    return true;
  }

  void hear_own(Node& node, const Wish& wish, std::uint64_t version, std::optional<syncbus::core::Awaited> awaited) {
    own_calls_.clear();
    const auto status = begin_calls(node, wish.type, node.number, wish.key, version, own_calls_);
    for (const records::Call& call : own_calls_) auditor_.returned(call, now_);
    if (awaited) node.protocol.heard_here(awaited->await_id, awaited->event, status);
  }

  void open_await(Node& node) { open_await(node, random_.below(5)); }

  void open_await(Node& node, std::size_t kind) {
    if (node.publish_only || !node.waiting.empty()) return;
    const auto some = static_cast<std::int32_t>(1 + random_.below(plan_.nodes));
    const syncbus::Quorum quorum = kind == 0   ? syncbus::Quorum::everyone()
                                   : kind == 1 ? syncbus::Quorum::zones(some)
                                               : syncbus::Quorum{some};
    const auto events = static_cast<std::uint32_t>(1 + random_.below(plan_.awaited_together));
    const bool heard_elsewhere = !random_.chance(plan_.local_awaits);
    const bool heard_here = random_.chance(0.5) || !heard_elsewhere;
    const TimePoint deadline = now_ + random_.between(std::chrono::milliseconds{20}, plan_.longest_await);
    const auto await_id = node.protocol.open_await(
        {.quorum = quorum,
         .events = events,
         .deadline = deadline,
         .heard_here = heard_here,
         .heard_elsewhere = heard_elsewhere},
        now_);
    if (!await_id || sabotaged(Sabotage::refuse_awaits)) return auditor_.await_refused(node.number);
    tell([&](std::ostream& out) {
      out << "node " << node.number << " opens await " << *await_id << " of " << events << " events for "
          << (kind == 0 ? "everyone" : kind == 1 ? "zones" : "nodes") << " " << some;
    });
    auditor_.await_opened({.node = node.number,
                           .await_id = *await_id,
                           .quorum = quorum,
                           .opened = now_,
                           .deadline = deadline,
                           .heard_here = heard_here,
                           .heard_elsewhere = heard_elsewhere});
    node.awaits.push_back(*await_id);
    for (std::uint32_t i = 0; i != events; ++i) {
      Wish wish = some_wish();
      wish.heard_here = heard_here;
      if (!heard_elsewhere) {
        hear_alone(node, wish, {*await_id, i});
      } else if (!submit(node, wish, true, syncbus::core::Awaited{*await_id, i})) {
        auditor_.fail("an event was refused");
      }
    }
    node.protocol.submitted(*await_id);
    if (random_.chance(plan_.awaits_cut)) {
      plan_for(node, now_ + random_.between(std::chrono::milliseconds{20}, std::chrono::milliseconds{80}),
               Moment::Kind::session_ends);
    }
    if (sabotaged(Sabotage::give_up_at_once)) {
      node.protocol.cancel_await(*await_id, syncbus::Errc::quorum_not_satisfied);
    }
    settle(node);
  }

  /// An awaited event that is for this node's own subscribers.
  void hear_alone(Node& node, const Wish& wish, const syncbus::core::Awaited& awaited) {
    auditor_.await_has(node.number, awaited.await_id,
                       auditor_.accepted_here(node.number, wish.key, wish.type, 0, now_));
    hear_own(node, wish, 0, awaited);
  }

  void cancel_one(Node& node) {
    if (node.awaits.empty()) return;
    const auto await_id = node.awaits[random_.below(node.awaits.size())];
    tell([&](std::ostream& out) { out << "node " << node.number << " cancels await " << await_id; });
    auditor_.await_canceled(node.number, await_id);
    node.protocol.cancel_await(await_id, syncbus::Errc::canceled);
    settle(node);
  }

  void complete(Node& node) {
    while (auto completion = node.protocol.take_completion()) {
      if (sabotaged(Sabotage::name_twice) && !completion->replicas.empty()) {
        completion->replicas.push_back(completion->replicas.front());
      }
      tell([&](std::ostream& out) {
        out << "node " << node.number << "'s await " << completion->await_id << " ends: " << completion->error.message()
            << ", replicas " << completion->replicas.size();
      });
      std::erase(node.awaits, completion->await_id);
      auditor_.await_ended(node.number, completion->await_id, completion->error, completion->replicas, now_);
    }
  }

 private:
  std::vector<records::Call> own_calls_;
};

}  // namespace sim
