// What all parts of a simulated world share: its plan, its time, its nodes, what is under way, who judges it.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string_view>
#include <vector>

#include <syncbus/event.hpp>

#include "sim/auditor.hpp"
#include "sim/node.hpp"
#include "sim/plan.hpp"
#include "sim/random.hpp"
#include "sim/timeline.hpp"

namespace sim {

struct Tally {
  std::uint64_t gaps = 0;
  std::uint64_t repairs = 0;  ///< frames that were sent again for a receiver
  std::uint64_t events = 0;
  std::array<std::uint64_t, syncbus::resync_cause_count> resyncs{};  ///< by cause
  std::uint64_t quorums = 0;
  std::uint64_t moments = 0;

  Tally& operator+=(const Tally& other) noexcept {
    gaps += other.gaps;
    repairs += other.repairs;
    events += other.events;
    for (std::size_t i = 0; i != resyncs.size(); ++i) resyncs[i] += other.resyncs[i];
    quorums += other.quorums;
    moments += other.moments;
    return *this;
  }
};

/// The parts of a world build on one another: the link on this, handlers on the link, publishers on handlers, fates
/// on publishers, the world on all.
class Stage {
 protected:
  static constexpr TimePoint start{std::chrono::hours{1}};

  Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage() = default;

  /// To be called after every input to a node's machine: does what it asks for.
  virtual void settle(Node& node) = 0;

  void plan_at(TimePoint at, Moment moment) {
    moment.at = at;
    timeline_.plan(moment);
  }
  void plan_for(const Node& node, TimePoint at, Moment::Kind kind, std::uint64_t what = 0) {
    plan_at(at, {.what = what, .stamp = node.epoch, .node = static_cast<std::uint16_t>(node.number), .kind = kind});
  }

  /// Whether the bug in question has been planted in this world.
  [[nodiscard]] bool sabotaged(Sabotage how) const noexcept { return plan_.sabotage == how; }

  [[nodiscard]] NodeNumber number_of(syncbus::NodeId id) const noexcept {
    NodeNumber number = 0;
    while (number != nodes_.size() && nodes_[number]->id != id) ++number;
    return number;
  }

  template <class Write>
  void tell(const Write& write) {
    if (trace_ == nullptr) return;
    *trace_ << std::chrono::duration_cast<std::chrono::microseconds>(now_ - start).count() << ' ';
    write(*trace_);
    *trace_ << '\n';
  }
  void tell_frame(const char* what, NodeNumber node, const Label& label, syncbus::NodeId to) {
    tell([&](std::ostream& out) {
      constexpr std::array<const char*, 7> kinds{"events",  "heartbeat", "goodbye", "acknowledgement",
                                                 "request", "repair",    "welcome"};
      out << "node " << node << ' ' << what << ' ' << kinds[static_cast<std::size_t>(label.kind)] << ' '
          << label.sequence;
      if (to != syncbus::NodeId{}) out << " to node " << number_of(to);
    });
  }

  Plan plan_;
  Auditor auditor_;
  Random random_{0};
  std::ostream* trace_ = nullptr;  ///< none: nobody wants to know
  TimePoint now_{};
  bool healed_ = false;
  Timeline timeline_;
  Flight flight_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Tally tally_;
};

}  // namespace sim
