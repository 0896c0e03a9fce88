// Counts the acknowledgements of an await against its quorum: pending, satisfied, or impossible.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <syncbus/core/wire/acknowledgement_frame.hpp>
#include <syncbus/event.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::core {

/// A stranger who can write to the channel can answer in as many names as it likes, and a few bytes answer all events
/// of a frame. So the answers that are kept are counted in *places*; an await of many events needs more of them for
/// each node. Unknown nodes get a sixteenth of all places at most. An answer without a place is treated as lost: its
/// node is asked again.
class VoterRoom {
 public:
  /// For so many awaited events: sixteen places for each; or one for each of so many peers and the node itself, if that
  /// is more, up to a million in all.
  explicit VoterRoom(std::size_t max_awaits, std::size_t max_peers = 0) noexcept
      : left_{places_for(max_awaits, max_peers)}, strangers_left_{left_ / share} {}

  /// Whether there is room for the answers of one more node.
  [[nodiscard]] bool has(std::size_t places, bool stranger) const noexcept {
    return places <= left_ && (!stranger || places <= strangers_left_);
  }
  /// Precondition: there is.
  void take(std::size_t places, bool stranger) noexcept {
    assert(has(places, stranger));
    left_ -= places;
    strangers_left_ -= stranger ? places : 0;
  }
  void give_back(std::size_t places, bool stranger) noexcept {
    left_ += places;
    strangers_left_ += stranger ? places : 0;
  }

 private:
  static constexpr std::size_t share = 16;
  static constexpr std::size_t for_few_awaits = std::size_t{1} << 20U;  ///< of 56 bytes

  [[nodiscard]] static std::size_t places_for(std::size_t max_awaits, std::size_t max_peers) noexcept {
    const std::size_t each = (std::min)(max_peers, for_few_awaits) + 1;
    const std::size_t all = max_awaits > for_few_awaits / each ? for_few_awaits : each * max_awaits;
    return (std::max)(share * max_awaits, all);
  }

  std::size_t left_;
  std::size_t strangers_left_;
};

enum class QuorumVerdict : std::uint8_t { pending, satisfied, impossible };

/// The answers to one await, of one or several events. A node's answer to an event is its final word: applied, no
/// subscriber, or failed; what comes later, or twice, changes nothing. A node is a *replica* once it has answered all
/// events, applied at least one, and failed none. It counts once.
///
/// What it keeps is bounded, by itself and by a room that it shares with others, because forged answers cost little.
class QuorumTracker {
 public:
  /// Nodes beyond so many are not counted: more than any cluster has.
  static constexpr std::size_t max_voters = std::size_t{1} << 16U;
  /// Nodes that nobody knows and that have said nothing but that they are not done yet.
  static constexpr std::size_t max_pending_strangers = 64;

  /// `room`, if there is one, outlives the tracker.
  QuorumTracker(Quorum quorum, std::uint32_t events, VoterRoom* room = nullptr) noexcept
      : quorum_{quorum}, events_{events}, room_{room} {}

  QuorumTracker(const QuorumTracker&) = delete;
  QuorumTracker& operator=(const QuorumTracker&) = delete;
  ~QuorumTracker() {
    if (room_ == nullptr) return;
    for (const Voter& voter : voters_) room_->give_back(places(), voter.stranger);
  }

  /// Takes an answer; returns whether it was a final word that was not known. A stranger that says it is not done yet
  /// is expected to answer; a node that is `known` is expected to anyway.
  bool answer(NodeId node, std::uint32_t event, AcknowledgementStatus status, bool known = false) {
    if (status == AcknowledgementStatus::requested || event >= events_) return false;
    Voter* const voter = find_or_add(node, status == AcknowledgementStatus::pending, !known);
    if (voter == nullptr || status == AcknowledgementStatus::pending || has_answered(*voter, event)) return false;
    if (events_ > 1 && voter->answered.empty()) voter->answered.resize(events_);
    if (events_ > 1) voter->answered[event] = true;
    pending_strangers_ -= voter->stranger && voter->answers == 0 ? 1U : 0U;
    ++voter->answers;
    voter->applied = voter->applied || status == AcknowledgementStatus::applied;
    voter->failed = voter->failed || status == AcknowledgementStatus::failed;
    replicas_ += is_replica(*voter) ? 1 : 0;  // with its last answer
    return true;
  }

  /// Whether a node has said its final word about an event.
  [[nodiscard]] bool answered(NodeId node, std::uint32_t event) const noexcept {
    const Voter* const voter = find(node);
    return voter != nullptr && has_answered(*voter, event);
  }

  /// Whether the quorum is there. `electorate.for_each(visit)` calls visit(NodeId) for every node that can still
  /// answer, `electorate.whole()` is whether these are all that there are now, `electorate.knows(node)` is whether it
  /// is one that can, or one of which it is known that it cannot, and `electorate.zone_of(node)` names a node's zone,
  /// empty when it has none; none while it is not known.
  template <class Electorate>
  [[nodiscard]] bool satisfied(const Electorate& electorate) const {
    switch (quorum_.unit()) {
      case Quorum::Unit::everyone: return all_well(electorate);
      case Quorum::Unit::nodes: return replicas_ >= quorum_.count();
      case Quorum::Unit::zones: return replicas_ >= quorum_.count() && zone_count(electorate) >= quorum_.count();
    }
    return false;
  }

  /// What the answers amount to: impossible when nobody who has not said its final word is known, and no replica of a
  /// zone that is not.
  template <class Electorate>
  [[nodiscard]] QuorumVerdict verdict(const Electorate& electorate) const {
    if (satisfied(electorate)) return QuorumVerdict::satisfied;
    bool expected = std::ranges::any_of(
        voters_, [&](const Voter& voter) { return voter.answers != events_ && !electorate.knows(voter.node); });
    electorate.for_each([&](NodeId node) { expected = expected || !complete(find(node)); });
    expected = expected || (quorum_.unit() == Quorum::Unit::zones && waits_for_zone(electorate));
    return expected ? QuorumVerdict::pending : QuorumVerdict::impossible;
  }

  /// Nodes whose answers are kept.
  [[nodiscard]] std::size_t voters() const noexcept { return voters_.size(); }

  [[nodiscard]] std::vector<NodeId> replicas() const {
    std::vector<NodeId> nodes;
    for (const Voter& voter : voters_) {
      if (is_replica(voter)) nodes.push_back(voter.node);
    }
    return nodes;
  }

 private:
  struct Voter {
    NodeId node;
    bool stranger = false;       ///< when it first answered
    bool applied = false;
    bool failed = false;
    std::uint32_t answers = 0;
    std::vector<bool> answered{};  ///< by event, of several; none, before the first final word
  };

  /// The places that a node's answers take: one place is the memory of a node that answers about one event.
  [[nodiscard]] std::size_t places() const noexcept { return 1 + events_ / (8 * sizeof(Voter)); }

  [[nodiscard]] bool has_answered(const Voter& voter, std::uint32_t event) const noexcept {
    return events_ == 1 ? voter.answers != 0 : !voter.answered.empty() && voter.answered[event];
  }

  /// nullptr: it is not kept.
  [[nodiscard]] Voter* find_or_add(NodeId node, bool pending, bool stranger) {
    const auto place = std::ranges::lower_bound(voters_, node, {}, &Voter::node);
    if (place != voters_.end() && place->node == node) return &*place;
    const bool needless = pending && (!stranger || pending_strangers_ >= max_pending_strangers);
    if (needless || voters_.size() >= max_voters) return nullptr;
    if (room_ != nullptr && !room_->has(places(), stranger)) return nullptr;
    Voter* const added = &*voters_.insert(place, Voter{.node = node, .stranger = stranger});
    if (room_ != nullptr) room_->take(places(), stranger);
    pending_strangers_ += stranger ? 1U : 0U;
    return added;
  }

  [[nodiscard]] bool is_replica(const Voter& voter) const noexcept {
    return voter.answers == events_ && voter.applied && !voter.failed;
  }

  [[nodiscard]] bool complete(const Voter* voter) const noexcept {
    return voter != nullptr && voter->answers == events_;
  }

  [[nodiscard]] bool is_well(const Voter* voter) const noexcept { return complete(voter) && !voter->failed; }

  template <class Electorate>
  [[nodiscard]] bool all_well(const Electorate& electorate) const {
    if (!electorate.whole()) return false;  // one that we do not hear now may have it to apply
    bool all_well = std::ranges::all_of(  // who is not known may be a forgotten one that is back
        voters_, [&](const Voter& voter) { return is_well(&voter) || electorate.knows(voter.node); });
    electorate.for_each([&](NodeId node) { all_well = all_well && is_well(find(node)); });
    return all_well;
  }

  template <class Electorate>
  [[nodiscard]] std::int64_t zone_count(const Electorate& electorate) const {
    std::vector<std::string_view> zones;
    for (const Voter& voter : voters_) {
      if (!is_replica(voter)) continue;
      const std::string_view zone = electorate.zone_of(voter.node).value_or(std::string_view{});
      if (!zone.empty() && std::ranges::find(zones, zone) == zones.end()) zones.push_back(zone);
    }
    return static_cast<std::int64_t>(zones.size());
  }

  template <class Electorate>
  [[nodiscard]] bool waits_for_zone(const Electorate& electorate) const {
    return std::ranges::any_of(
        voters_, [&](const Voter& voter) { return is_replica(voter) && !electorate.zone_of(voter.node); });
  }

  [[nodiscard]] const Voter* find(NodeId node) const noexcept {
    const auto voter = std::ranges::lower_bound(voters_, node, {}, &Voter::node);
    return voter == voters_.end() || voter->node != node ? nullptr : &*voter;
  }

  Quorum quorum_;
  std::uint32_t events_;
  VoterRoom* room_;
  std::vector<Voter> voters_;          ///< by node
  std::size_t pending_strangers_ = 0;  ///< without a final word
  std::int64_t replicas_ = 0;
};

}  // namespace syncbus::inline v1::core
