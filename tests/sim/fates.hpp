// What befalls the nodes of a simulated world: they begin and end, crash and leave, are cut off and made to wait.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <ostream>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/event.hpp>

#include "sim/label.hpp"
#include "sim/lies.hpp"
#include "sim/publishers.hpp"

namespace sim {

class Fates : public Publishers {
 protected:
  static constexpr std::size_t max_awaits = 64;

  Node& add_node(Duration after) {
    const NodeNumber number = nodes_.size();
    const bool publish_only = number != 0 && random_.chance(plan_.publish_only);
    const bool observer = plan_.observers != 0 && !publish_only && random_.chance(plan_.observers);
    const int zone = static_cast<int>(random_.below(4));
    const syncbus::NodeId id{random_.next() | 1U};
    auditor_.node_began(id, zone, publish_only, observer);
    constexpr std::array<const char*, 4> zones{"", "a", "b", "c"};
    syncbus::core::ProtocolOptions options{.self = id,
                                           .zone = zones[static_cast<std::size_t>(zone)],
                                           .publish_only = publish_only,
                                           .observer = observer,
                                           .lossless_sessions = plan_.lossless(),
                                           .heartbeat = plan_.heartbeat,
                                           .peer_timeout = plan_.peer_timeout,
                                           .repair_timeout = plan_.repair_timeout,
                                           .control_rate = plan_.control_rate,
                                           .history_bytes = plan_.history_bytes,
                                           .queue_bytes = plan_.queue_bytes,
                                           .pending_bytes = plan_.pending_bytes,
                                           .max_peers = plan_.max_peers,
                                           .max_awaits = max_awaits};
    if (sabotaged(Sabotage::hoard_history)) options.history_bytes *= 8;
    if (sabotaged(Sabotage::hoard_frames)) options.queue_bytes *= 8;
    nodes_.push_back(std::make_unique<Node>(number, options));
    Node& node = *nodes_.back();
    node.delay = random_.between(std::chrono::microseconds{10}, plan_.delay);
    tell([&](std::ostream& out) {
      out << "node " << number << (publish_only ? ", publish only" : observer ? ", observer" : "") << ", zone " << zone;
    });
    plan_for(node, now_ + after, Moment::Kind::begin);
    return node;
  }

  [[nodiscard]] Node* some_node() {
    if (nodes_.empty()) return nullptr;
    Node& node = *nodes_[random_.below(nodes_.size())];
    return node.alive && node.started && !node.leaving && now_ >= node.paused_until ? &node : nullptr;
  }

  [[nodiscard]] Happening some_happening() {
    unsigned all = 0;
    for (const unsigned weight : plan_.weights) all += weight;
    auto left = static_cast<unsigned>(random_.below(all));
    for (std::size_t i = 0;; ++i) {
      if (left < plan_.weights[i]) return static_cast<Happening>(i);
      left -= plan_.weights[i];
    }
  }

  void befall() {
    using enum Happening;
    const Happening what = some_happening();
    if (what == join) return add_late_nodes();
    if (what == restart_broker) return plan_.servers == 1 ? break_all() : end_server();
    if (what == Happening::cut_servers) return Link::cut_servers();
    if (what == partition) return cut_some();
    if (what == speak_other_version) return tell_of_the_future();
    if (what == lie) return tell_a_lie();
    Node* const node = some_node();
    if (node == nullptr) return;
    switch (what) {
      case publish: return want(*node, some_wish());
      case burst:
        for (std::size_t left = 5 + random_.below(plan_.longest_burst - 5); left != 0; --left) want(*node, some_wish());
        return;
      case rush:
        for (std::size_t left = 4 + random_.below(20); left != 0; --left) {
          if (random_.chance(0.3)) open_await(*node);
          want(*node, some_wish());
        }
        return;
      case publish_all: return want(*node, {.key = every_key, .type = syncbus::EventType::resync});
      case await: return open_await(*node);
      case cancel_await: return cancel_one(*node);
      case deafen: return cut(node->number, node->number, now_ + random_.between({}, 2 * plan_.peer_timeout));
      case subscribe:
        if (!node->publish_only) add_subscription(*node);
        return;
      case unsubscribe: return drop_subscription(*node);
      case crash: return crash_node(*node);
      case leave: return leave_world(*node);
      case break_session: return interrupt(*node);
      case stall_link: return stall(*node);
      case go_half_open: return Link::go_half_open(*node);
      case pause: return suspend(*node);
      case Happening::flee:
        if (!node->publish_only) Link::flee(*node);
        return;
      case last_words: return speak_unheard(*node);
      case stall_dispatcher:
        node->stalled_until = now_ + random_.between({}, std::chrono::milliseconds{200});
        return;
      default: return;
    }
  }

  void add_late_nodes() {
    for (std::size_t left = 1 + random_.below(plan_.join_together); left != 0; --left) {
      if (nodes_.size() < plan_.most_nodes) add_node(random_.between({}, std::chrono::milliseconds{5}));
    }
  }

  /// Its process stands still, also for longer than every timeout; then all comes at once that has waited.
  void suspend(Node& node) {
    node.paused_until = (std::min)(now_ + random_.between({}, 3 * plan_.peer_timeout), start + plan_.chaos);
    tell([&](std::ostream& out) { out << "node " << node.number << " stands still"; });
    auditor_.stalled(node.number, node.paused_until);
  }

  /// It stands still until it is given up, and speaks again before it dies: while another one is cut off, who thinks
  /// that it has heard it to the end.
  void speak_unheard(Node& node) {
    using std::chrono::milliseconds;
    Node* const other = some_node();
    const Duration silence = plan_.silence();
    const TimePoint until = now_ + random_.between(silence + plan_.heartbeat, 2 * silence);
    const TimePoint end = until + random_.between(milliseconds{5}, milliseconds{120});
    if (node.publish_only || other == nullptr || other == &node || end >= start + plan_.chaos) return;
    node.paused_until = until;
    tell([&](std::ostream& out) { out << "node " << node.number << " stands still, and will die"; });
    auditor_.stalled(node.number, until);
    plan_for(*other, until - random_.between({}, milliseconds{100}), Moment::Kind::is_cut_off);
    plan_for(node, until, Moment::Kind::speaks);
    plan_for(node, end, Moment::Kind::dies);
  }

  /// A node of a later version says something to all.
  void tell_of_the_future() {
    namespace core = syncbus::core;
    std::vector<std::byte> frame(core::max_heartbeat_bytes);
    frame.resize(core::encode_heartbeat(frame, syncbus::NodeId{random_.next() | 1U}, {}, {.number = 1}));
    frame[core::version_offset] = std::byte{core::protocol_version + 1};
    core::seal_frame(frame);
    for (const auto& node : nodes_) {
      const bool hears = node->connected && !node->half_open && !node->publish_only;
      if (!node->alive || !hears || now_ < node->paused_until) continue;
      tell([&](std::ostream& out) { out << "node " << node->number << " gets a frame of another version"; });
      auditor_.other_version_came(node->number, now_);
      if (!sabotaged(Sabotage::ignore_versions)) give(*node, frame);
      settle(*node);
    }
  }

  /// About a node that is there, or was, or is not.
  void tell_a_lie() {
    const Node& about = *nodes_[random_.below(nodes_.size())];
    const Node& to = *nodes_[random_.below(nodes_.size())];
    const bool invented = random_.chance(0.1);
    const bool lives = !invented && about.alive && !plan_.may(Happening::crash) && !plan_.may(Happening::leave);
    Liar liar{random_, invented ? syncbus::NodeId{random_.next() | 1U} : about.id, lives, to.id};
    const auto frame = liar.frame();
    const Label label = LabelReader::read(frame);
    for (const auto& node : nodes_) {
      const bool hears = node->connected && !node->half_open && !node->publish_only;
      if (!node->alive || !hears || now_ < node->paused_until) continue;
      if (label.directed && node->id != to.id) continue;
      tell_frame("gets a forged", node->number, label, {});
      give(*node, frame);
      settle(*node);
    }
  }

  void crash_node(Node& node) {
    node.reaches_until = now_ + random_.between({}, 2 * plan_.delay);
    end(node, false);
    if (nodes_.size() < plan_.most_nodes && random_.chance(0.7)) {
      add_node(random_.between({}, std::chrono::milliseconds{200}));
    }
  }

  /// Flush, goodbye, the end: what close does.
  void leave_world(Node& node) {
    node.leaving = true;
    plan_for(node, now_ + std::chrono::milliseconds{500}, Moment::Kind::goodbye);
    settle(node);
  }

  void end(Node& node, bool goodbye) {
    tell([&](std::ostream& out) { out << "node " << node.number << (goodbye ? " has left" : " ends"); });
    node.alive = node.connected = false;
    ++node.epoch;
    auditor_.node_ended(node.number, goodbye, now_);
  }

  /// Half of all are cut off from the others: their sessions end, or they just do not hear them.
  void cut_half() {
    const TimePoint until = now_ + plan_.outage;
    for (const auto& node : nodes_) {
      if (node->number % 2 != 0) continue;
      node->away_until = until;
      if (plan_.outage_is_told) interrupt(*node);
      for (NodeNumber other = 1; other < nodes_.size() && !plan_.outage_is_told; other += 2) {
        cut(node->number, other, until);
        cut(other, node->number, until);
      }
    }
  }

  void cut_some() {
    const std::size_t from = random_.below(nodes_.size());
    const std::size_t to = random_.below(nodes_.size());
    const bool both = random_.chance(0.5);
    const bool from_all = random_.chance(0.3);
    const TimePoint until = now_ + random_.between(std::chrono::milliseconds{5}, 2 * plan_.peer_timeout);
    for (std::size_t other = 0; other != nodes_.size(); ++other) {
      if (other == from || !(from_all || other == to)) continue;
      cut(from, other, until);
      if (both) cut(other, from, until);
    }
  }
};

}  // namespace sim
