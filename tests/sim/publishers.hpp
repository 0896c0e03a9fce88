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
    return {static_cast<Key>(random_.below(plan_.keys)), random_.pick(types), random_.chance(0.7)};
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

  /// A key of every third number has events without a version.
  [[nodiscard]] static bool has_versions(Key key) noexcept { return key != every_key && key % 3 != 2; }

  [[nodiscard]] bool submit(Node& node, const Wish& wish, bool may_join,
                            std::optional<syncbus::core::Awaited> awaited) {
    using syncbus::core::Submitted;
    syncbus::core::WireEvent event{.type = wish.type};
    if (wish.key != every_key) event.key = key_names[static_cast<std::size_t>(wish.key)];
    if (has_versions(wish.key)) event.version = node.version + 1;
    if (node.protocol.submit(event, may_join, awaited) != Submitted::accepted) return false;
    if (has_versions(wish.key)) ++node.version;
    const EventNumber number = auditor_.accepted(node.number, wish.key, event.version, now_);
    ++tally_.events;
    tell([&](std::ostream& out) {
      out << "node " << node.number << " publishes version " << event.version << " of key " << wish.key
          << (awaited ? ", awaited" : "");
    });
    const std::uint64_t ticket = awaited ? awaited->ticket : 0;
    if (awaited) auditor_.await_has(node.number, ticket, number);
    if (wish.heard_here && wish.key != every_key) hear_own(node, wish, event.version, awaited);
    return true;
  }

  void hear_own(Node& node, const Wish& wish, std::uint64_t version, std::optional<syncbus::core::Awaited> awaited) {
    own_calls_.clear();
    const auto status = begin_calls(node, wish.type, node.number, wish.key, version, own_calls_);
    for (const records::Call& call : own_calls_) auditor_.returned(call, now_);
    if (awaited) node.protocol.heard_here(awaited->ticket, awaited->event, status);
  }

  void open_await(Node& node) {
    if (node.publish_only || !node.waiting.empty()) return;
    const std::size_t kind = random_.below(5);
    const auto some = static_cast<std::int32_t>(1 + random_.below(plan_.nodes));
    const syncbus::Quorum quorum = kind == 0   ? syncbus::Quorum::everyone()
                                   : kind == 1 ? syncbus::Quorum::zones(some)
                                               : syncbus::Quorum{some};
    const auto events = static_cast<std::uint32_t>(1 + random_.below(2));
    const bool heard_here = random_.chance(0.5);
    const TimePoint deadline = now_ + random_.between(std::chrono::milliseconds{20}, std::chrono::milliseconds{900});
    const auto ticket = node.protocol.open_await(
        {.quorum = quorum, .events = events, .deadline = deadline, .heard_here = heard_here}, now_);
    if (!ticket || sabotaged(Sabotage::refuse_awaits)) return auditor_.await_refused(node.number);
    tell([&](std::ostream& out) {
      out << "node " << node.number << " opens await " << *ticket << " of " << events << " events for "
          << (kind == 0 ? "everyone" : kind == 1 ? "zones" : "nodes") << " " << some;
    });
    auditor_.await_opened({.node = node.number,
                           .ticket = *ticket,
                           .quorum = quorum,
                           .opened = now_,
                           .deadline = deadline,
                           .heard_here = heard_here});
    for (std::uint32_t i = 0; i != events; ++i) {
      Wish wish = some_wish();
      wish.heard_here = heard_here;
      if (!submit(node, wish, true, syncbus::core::Awaited{*ticket, i})) auditor_.fail("an event was refused");
    }
    node.protocol.submitted(*ticket);
    if (sabotaged(Sabotage::give_up_at_once)) {
      node.protocol.cancel_await(*ticket, syncbus::Errc::quorum_not_satisfied);
    }
    settle(node);
  }

  void complete(Node& node) {
    while (auto completion = node.protocol.take_completion()) {
      if (sabotaged(Sabotage::name_twice) && !completion->replicas.empty()) {
        completion->replicas.push_back(completion->replicas.front());
      }
      tell([&](std::ostream& out) {
        out << "node " << node.number << "'s await " << completion->ticket << " ends: " << completion->error.message()
            << ", replicas " << completion->replicas.size();
      });
      auditor_.await_ended(node.number, completion->ticket, completion->error, completion->replicas, now_);
    }
  }

 private:
  std::vector<records::Call> own_calls_;
};

}  // namespace sim
