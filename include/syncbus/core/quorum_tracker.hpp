// Who acknowledged an await, and what that amounts to: pending, satisfied, or impossible.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <syncbus/core/acknowledgement_frame.hpp>
#include <syncbus/event.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::core {

enum class QuorumVerdict : std::uint8_t { pending, satisfied, impossible };

/// The answers to one await, of one or several events. A node's answer to an event is its final word: applied, no
/// subscriber, or failed; what comes later, or twice, changes nothing. A node is a *replica* once it has answered all
/// events, applied at least one, and failed none. It counts once.
class QuorumTracker {
 public:
  /// Nodes beyond so many are not counted: more than any cluster has, so that forged answers cannot fill the memory.
  static constexpr std::size_t max_voters = std::size_t{1} << 16U;

  QuorumTracker(Quorum quorum, std::uint32_t events) noexcept : quorum_{quorum}, events_{events} {}

  /// Takes an answer; whether it told something new.
  bool answer(NodeId node, std::uint32_t event, AcknowledgementStatus status) {
    if (status == AcknowledgementStatus::pending || status == AcknowledgementStatus::requested) return false;
    if (event >= events_) return false;
    Voter* const known = find(node);
    if (known == nullptr && voters_.size() >= max_voters) return false;
    Voter& voter = known != nullptr ? *known : voters_.emplace_back(Voter{node, std::vector<bool>(events_)});
    if (voter.answered[event]) return false;
    voter.answered[event] = true;
    ++voter.answers;
    voter.applied = voter.applied || status == AcknowledgementStatus::applied;
    voter.failed = voter.failed || status == AcknowledgementStatus::failed;
    return true;
  }

  /// Whether a node has said its final word about every event.
  [[nodiscard]] bool complete(NodeId node) const noexcept {
    const auto voter = std::ranges::find(voters_, node, &Voter::node);
    return voter != voters_.end() && voter->answers == events_;
  }

  /// What the answers amount to. `electorate.for_each(visit)` calls visit(NodeId) for every node that can still answer, and
  /// `electorate.zone_of(node)` names a node's zone, empty when it has or is known to have none.
  template <class Electorate>
  [[nodiscard]] QuorumVerdict verdict(const Electorate& electorate) const {
    bool all_complete = true;
    bool all_well = true;
    electorate.for_each([&](NodeId node) {
      const auto voter = std::ranges::find(voters_, node, &Voter::node);
      const bool done = voter != voters_.end() && voter->answers == events_;
      all_complete = all_complete && done;
      all_well = all_well && done && !voter->failed;
    });
    if (satisfied(electorate, all_well)) return QuorumVerdict::satisfied;
    return all_complete ? QuorumVerdict::impossible : QuorumVerdict::pending;
  }

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
    std::vector<bool> answered;  ///< by event
    std::uint32_t answers = 0;
    bool applied = false;
    bool failed = false;
  };

  [[nodiscard]] bool is_replica(const Voter& voter) const noexcept {
    return voter.answers == events_ && voter.applied && !voter.failed;
  }

  template <class Electorate>
  [[nodiscard]] bool satisfied(const Electorate& electorate, bool all_well) const {
    switch (quorum_.unit()) {
      case Quorum::Unit::everyone: return all_well;
      case Quorum::Unit::nodes: return count(replica_count()) >= quorum_.count();
      case Quorum::Unit::zones: return count(zone_count(electorate)) >= quorum_.count();
    }
    return false;
  }

  [[nodiscard]] static std::int64_t count(std::size_t number) noexcept { return static_cast<std::int64_t>(number); }

  [[nodiscard]] std::size_t replica_count() const noexcept {
    return static_cast<std::size_t>(
        std::ranges::count_if(voters_, [this](const Voter& voter) { return is_replica(voter); }));
  }

  template <class Electorate>
  [[nodiscard]] std::size_t zone_count(const Electorate& electorate) const {
    std::vector<std::string_view> zones;
    for (const Voter& voter : voters_) {
      const std::string_view zone = is_replica(voter) ? electorate.zone_of(voter.node) : std::string_view{};
      if (!zone.empty() && std::ranges::find(zones, zone) == zones.end()) zones.push_back(zone);
    }
    return zones.size();
  }

  [[nodiscard]] Voter* find(NodeId node) noexcept {
    const auto voter = std::ranges::find(voters_, node, &Voter::node);
    return voter == voters_.end() ? nullptr : &*voter;
  }

  Quorum quorum_;
  std::uint32_t events_;
  std::vector<Voter> voters_;
};

}  // namespace syncbus::inline v1::core
