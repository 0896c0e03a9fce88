// The network of a hub: its nodes, its faults, and the frames on their way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/base/split_mix64.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/memory/hub_faults.hpp>
#include <syncbus/transport/memory/hub_node.hpp>
#include <syncbus/transport/memory/hub_queue.hpp>
#include <syncbus/transport/memory/hub_timeline.hpp>

namespace syncbus::inline v1::detail {

/// Without a clock, and not thread safe: the hub's lock guards it. A `hear(HubNode&, Bytes)` that it is given may
/// release that lock, and everything but the delivery of frames may be called meanwhile.
class HubNetwork {
 public:
  /// `longest_hold`: how long a copy that is held back waits to be overtaken.
  HubNetwork(std::uint64_t seed, Duration longest_hold) noexcept
      : longest_hold_{longest_hold}, faults_{seed}, ids_{~seed} {}

  /// For a new node; never 0, nor one that was drawn before.
  [[nodiscard]] NodeId draw_id() noexcept {
    const NodeId id{ids_.next()};
    return id == NodeId{} ? NodeId{ids_.next()} : id;
  }

  /// In the order of joining.
  [[nodiscard]] const std::vector<std::shared_ptr<HubNode>>& nodes() const noexcept { return nodes_; }

  void add(std::shared_ptr<HubNode> node) { nodes_.push_back(std::move(node)); }

  void remove(const std::shared_ptr<HubNode>& node) noexcept {
    std::erase(nodes_, node);
    node->sink = nullptr;
    lose_copies_to(*node);
  }

  [[nodiscard]] HubFaults& faults() noexcept { return faults_; }

  /// What is on its way across the new border is lost.
  void partition(std::span<const NodeId> group) {
    faults_.partition(group);
    timeline_.remove(
        [this](const HubCopy& copy, const HubNode& to) { return faults_.separated(copy.origin, to.id); });
    for (const auto& node : nodes_) {
      if (node->held && faults_.separated(node->held->origin, node->id)) node->held.reset();
    }
  }

  void crash(NodeId id) {
    const auto found = std::find_if(nodes_.begin(), nodes_.end(), [id](const auto& node) { return node->id == id; });
    if (found == nodes_.end()) {
      throw std::system_error{Errc::invalid_argument, "InMemoryHub::crash: no node of this id is on the hub"};
    }
    (*found)->crashed = true;
    lose_copies_to(**found);
  }

  void lose_copies_to(HubNode& node) noexcept {
    node.held.reset();
    timeline_.remove([&node](const HubCopy&, const HubNode& to) { return &to == &node; });
  }

  /// Sends the copies of one frame to one node, and has it hear those that arrive at once. A node's own frames meet no
  /// fault, but get in line like all: one order for all receivers is what staleness rests on.
  template <class Hear>
  void pass_on(HubItem& frame, const std::shared_ptr<HubNode>& to, TimePoint now, const Hear& hear) {
    const bool own = to == frame.origin;
    if ((own || faults_.none()) && !to->has_line()) return hear_alive(*to, frame.bytes, hear);
    if (!own && faults_.separated(frame.origin->id, to->id)) return;
    for (std::size_t copies = own ? 1 : faults_.draw_copies(); copies != 0; --copies) {
      HubCopy copy{.origin = frame.origin->id, .due = now, .bytes = shared_bytes(frame)};
      if (!own) copy.due = deadline_after(now, faults_.draw_delay());
      if (!own && !to->held && faults_.draw_reorder()) {
        to->held = std::move(copy);
        to->held_since = now;
        continue;
      }
      forward(to, std::move(copy), now, hear);
      release_held(to, now, hear);
    }
  }

  /// What time brings next.
  struct Due {
    enum class What : std::uint8_t { held, copy, wake };

    TimePoint at = never;
    What what = What::copy;
    std::shared_ptr<HubNode> node{};  // of a held copy and a wake
  };

  /// What is late counts as due at `earliest`. Of things that are due at one time the first is what was held back, then
  /// come copies, then wakes, each in the order of joining.
  [[nodiscard]] Due next_due(TimePoint earliest) const noexcept {
    Due first;
    const auto consider = [&](TimePoint at, Due::What what, const std::shared_ptr<HubNode>& node) {
      at = (std::max)(at, earliest);
      if (at < first.at) first = {at, what, node};
    };
    for (const auto& node : nodes_) {
      if (node->held) consider(node->held_since + longest_hold_, Due::What::held, node);
    }
    consider(timeline_.next(), Due::What::copy, nullptr);
    for (const auto& node : nodes_) consider(node->wake, Due::What::wake, node);
    return first;
  }

  /// Has the first copy of the timeline heard; there must be one.
  template <class Hear>
  void bring_copy(const Hear& hear) {
    const HubTimeline::Entry first = timeline_.take();
    hear_alive(*first.to, *first.copy.bytes, hear);
  }

  template <class Hear>
  void release_held(const std::shared_ptr<HubNode>& to, TimePoint now, const Hear& hear) {
    if (to->held) forward(to, *std::exchange(to->held, std::nullopt), now, hear);
  }

 private:
  template <class Hear>
  void forward(const std::shared_ptr<HubNode>& to, HubCopy copy, TimePoint now, const Hear& hear) {
    if (to->under_way == 0 && copy.due <= now) return hear_alive(*to, *copy.bytes, hear);
    if (to->sink != nullptr && !to->crashed) timeline_.add(to, std::move(copy));
  }

  template <class Hear>
  static void hear_alive(HubNode& node, Bytes bytes, const Hear& hear) {
    if (!node.crashed) hear(node, bytes);
  }

  [[nodiscard]] static const std::shared_ptr<const std::vector<std::byte>>& shared_bytes(HubItem& frame) {
    if (!frame.shared) frame.shared = std::make_shared<const std::vector<std::byte>>(frame.bytes);
    return frame.shared;
  }

  const Duration longest_hold_;
  HubFaults faults_;
  SplitMix64 ids_;  // from the seed too: a node's own random delays begin with its id
  HubTimeline timeline_;
  std::vector<std::shared_ptr<HubNode>> nodes_;
};

}  // namespace syncbus::inline v1::detail
