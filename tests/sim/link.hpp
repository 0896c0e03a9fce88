// The link of a simulated world: one broker, sessions that begin and break, copies and what becomes of each.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "sim/stage.hpp"

namespace sim {

/// Whatever a node sends goes to the broker in order, and from there a copy of it to each node. What is unreachable,
/// lost, doubled, late or damaged is decided for each copy, until the link has healed; of a node's own copies, only
/// whether it is deaf. Between those at one of several places all copies come. A broken session loses what is on the way
/// to the node, and the rest of what is on the way from it.
class Link : public Stage {
 protected:
  // --- sessions

  void begin_session(Node& node) {
    node.connected = true;
    node.half_open = false;
    ++node.epoch;
    node.sent_until = node.confirmed_until = now_;
    std::ranges::fill(node.heard_until, now_);
    if (plan_.servers != 1) choose_server(node);
    const std::size_t limit = some_limit();
    auditor_.connected(node.number, limit, now_);
    if (std::exchange(node.broker, restarts_) != restarts_ && node.sessions != 0 && plan_.fails_over) {
      auditor_.moved(node.number, now_);
      node.protocol.on_lost(node.listeners != 0, true);
    }
    tell([&](std::ostream& out) { out << "node " << node.number << " is ready, session " << node.sessions + 1; });
    if (plan_.places != 0) node.protocol.on_place(1 + restarts_ * plan_.places + node.number % plan_.places);
    node.protocol.on_ready(++node.sessions, limit, node.listeners != 0, now_);
    settle(node);
    if (node.sessions == 1 || healed_ || !random_.chance(plan_.flaps)) return;
    plan_for(node, now_ + random_.between({}, std::chrono::milliseconds{30}), Moment::Kind::session_ends);
  }

  void interrupt(Node& node) {
    if (!node.connected) return;
    tell([&](std::ostream& out) { out << "node " << node.number << " is interrupted"; });
    node.connected = false;
    node.reaches_until = now_ + random_.between({}, 2 * plan_.delay);
    ++node.epoch;
    auditor_.interrupted(node.number, now_);
    if (now_ < node.paused_until) return plan_for(node, node.paused_until, Moment::Kind::session_ended);
    notice_interruption(node);
  }
  void notice_interruption(Node& node) {
    node.protocol.on_interrupted(now_);
    const TimePoint from = (std::max)(now_, node.away_until);
    plan_for(node, from + random_.between(std::chrono::milliseconds{1}, plan_.longest_outage), Moment::Kind::ready);
    settle(node);
  }

  /// Its connection is dead, and neither it nor the broker notices. What is under way to the broker is lost.
  void go_half_open(Node& node) {
    if (!node.connected) return;
    tell([&](std::ostream& out) { out << "node " << node.number << "'s connection is half open"; });
    node.half_open = true;
    auditor_.went_half_open(node.number);
  }

  /// Of the broker, which may be another one with every session.
  [[nodiscard]] std::size_t some_limit() {
    constexpr std::size_t limits[] = {512, 1'024, 4'096};
    if (!plan_.limit_changes || healed_) return plan_.frame_limit;
    return (std::min)(random_.pick(limits), plan_.history_bytes / 2);
  }

  void break_all() {
    ++restarts_;
    for (const auto& node : nodes_) {
      if (node->alive) interrupt(*node);
      node->reaches_until = now_;
    }
  }

  // --- servers, of which a plan may have several

  void begin_servers() {
    servers_.assign(plan_.servers, {});
    lives_ = 0;
    for (Server& server : servers_) server.life = ++lives_;
  }

  /// Where its session is. One that comes back goes elsewhere now and then, and from a server that is down always, if
  /// there is one that is not.
  void choose_server(Node& node) {
    if (node.sessions == 0) {
      node.server = plan_.begin_at_one ? 0 : node.number % plan_.servers;
    } else if (node.goes_to >= 0) {
      node.server = static_cast<std::size_t>(std::exchange(node.goes_to, -1));
    } else if (now_ < servers_[node.server].down_until || random_.chance(0.3)) {
      for (std::size_t tries = 0; tries != 2 * plan_.servers; ++tries) {
        node.server = random_.below(plan_.servers);
        if (now_ >= servers_[node.server].down_until) break;
      }
    }
    tell([&](std::ostream& out) { out << "node " << node.number << " is at server " << node.server; });
    node.protocol.on_place(plan_.places_told ? servers_[node.server].life : 0);
  }

  /// Its nodes are thrown out; it comes back as another one.
  void end_server() {
    const std::size_t which = random_.below(plan_.servers);
    servers_[which] = {.life = ++lives_, .down_until = now_ + random_.between({}, plan_.peer_timeout)};
    tell([&](std::ostream& out) { out << "server " << which << " ends"; });
    for (const auto& node : nodes_) {
      if (node->alive && node->server == which) interrupt(*node);
      if (node->server == which) node->reaches_until = now_;
    }
  }

  /// A node goes to another server, speaks there while its old one hears nothing of it, and dies.
  void flee(Node& node) {
    if (!node.connected) return;
    const std::size_t other = (node.server + 1 + random_.below(plan_.servers - 1)) % plan_.servers;
    const TimePoint back = now_ + random_.between(std::chrono::milliseconds{1}, 2 * plan_.silence());
    const TimePoint end = back + random_.between(std::chrono::milliseconds{5}, std::chrono::milliseconds{200});
    if (end >= start + plan_.chaos) return;
    servers_[node.server].cut_from[other] = servers_[other].cut_from[node.server] = end + plan_.peer_timeout;
    tell([&](std::ostream& out) { out << "node " << node.number << " flees to server " << other; });
    node.away_until = back;
    node.goes_to = static_cast<int>(other);
    interrupt(node);
    plan_for(node, back + std::chrono::milliseconds{1}, Moment::Kind::speaks);
    plan_for(node, end, Moment::Kind::dies);
  }

  /// Two servers hear nothing of each other for a while.
  void cut_servers() {
    const std::size_t one = random_.below(plan_.servers);
    const std::size_t other = (one + 1 + random_.below(plan_.servers - 1)) % plan_.servers;
    servers_[one].cut_from[other] = servers_[other].cut_from[one] =
        now_ + random_.between(std::chrono::milliseconds{5}, 3 * plan_.peer_timeout);
    tell([&](std::ostream& out) { out << "servers " << one << " and " << other << " are cut off from each other"; });
  }

  /// Nothing goes to a node or comes from it for a while.
  void stall(Node& node) {
    const TimePoint until = now_ + random_.between({}, 2 * plan_.peer_timeout);
    tell([&](std::ostream& out) { out << "node " << node.number << "'s link stalls"; });
    auditor_.stalled(node.number, until);
    for (TimePoint* const lane :
         {&node.sent_until, &node.heard_until[0], &node.heard_until[1], &node.heard_until[2], &node.confirmed_until}) {
      *lane = (std::max)(*lane, until);
    }
  }

  // --- the link

  void hand_over(Node& node, const syncbus::core::Action& action) {
    const std::size_t number = flight_.add(action.bytes, node.number, action.destination, action.sequence);
    const Label& label = flight_[number].label;
    if (!label.whole) auditor_.fail("node " + std::to_string(node.number) + " sends what is no frame");
    if (label.kind == Label::Kind::repair) ++tally_.repairs;
    auditor_.handed_over(node.number, label);
    auditor_.said(node.number, label, now_);
    tell_frame("sends", node.number, label, action.destination);
    const bool late = sabotaged(Sabotage::dawdle) && label.kind == Label::Kind::events;
    node.sent_until = (std::max)(node.sent_until, now_ + node.delay + std::chrono::seconds{late ? 1 : 0});
    plan_for(node, node.sent_until, Moment::Kind::at_broker, number);
  }

  void reach_broker(const Moment& moment) {
    const std::size_t number = static_cast<std::size_t>(moment.what);
    Node& from = *nodes_[moment.node];
    const bool same_session = moment.stamp == from.epoch && from.connected && !from.half_open;
    if (same_session || now_ < from.reaches_until) {
      if (same_session) {
        from.confirmed_until =
            (std::max)(from.confirmed_until, now_ + from.delay + random_.between({}, plan_.confirmation));
        plan_for(from, from.confirmed_until, Moment::Kind::confirmation, flight_[number].sequence);
      }
      const std::size_t before = flight_[number].copies;
      for (const auto& to : nodes_) forward(number, *to);
      auditor_.delivered(from.number, flight_[number].label, flight_[number].copies - before, now_);
    } else {
      for (const auto& to : nodes_) auditor_.copy_lost(from.number, to->number, now_);
    }
    flight_.release(number);
  }

  void forward(std::size_t number, Node& to) {
    Flight::Frame& frame = flight_[number];
    if (!to.alive || to.publish_only) return;
    if (frame.destination != syncbus::NodeId{} && frame.destination != to.id) return;
    const bool bad = is_bad(frame.from, to.number);
    const bool presents = frame.label.is_heartbeat() || frame.label.kind == Label::Kind::welcome;
    if (bad && presents && random_.chance(plan_.mute)) return lose(frame, to);
    const bool cut = unreachable(frame.from, to.number) || servers_are_cut(*nodes_[frame.from], to);
    if (!to.connected || to.half_open || cut || (bad && random_.chance(plan_.drop))) {
      return lose(frame, to);
    }
    const std::size_t copies = bad && random_.chance(plan_.duplicate) ? 2 : 1;
    for (std::size_t i = 0; i != copies; ++i) {
      ++frame.copies;
      plan_for(to, bad && random_.chance(plan_.reorder) ? strays_until(to) : follows_until(to, frame),
               Moment::Kind::copy, number);
    }
  }

  void lose(const Flight::Frame& frame, const Node& to) {
    auditor_.copy_lost(frame.from, to.number, now_);
    tell_frame("lost on the way to", to.number, frame.label, frame.destination);
  }

  [[nodiscard]] TimePoint follows_until(Node& to, const Flight::Frame& frame) {
    const bool foreign = nodes_[frame.from]->server != to.server;
    TimePoint& lane = to.heard_until[foreign ? 2 : plan_.direct_overtakes && frame.label.directed ? 1 : 0];
    lane = (std::max)(lane, now_ + to.delay + (foreign ? plan_.delay : Duration{}) + random_.between({}, plan_.jitter));
    return lane;
  }
  [[nodiscard]] TimePoint strays_until(const Node& to) {
    return now_ + to.delay + random_.between({}, plan_.reorder_by);
  }

  void arrive(const Moment& moment) {
    const std::size_t number = static_cast<std::size_t>(moment.what);
    Node& to = *nodes_[moment.node];
    const Flight::Frame& frame = flight_[number];
    if (to.alive) {
      if (moment.stamp != to.epoch) {
        lose(frame, to);
      } else if (is_bad(frame.from, to.number) && random_.chance(plan_.damage)) {
        lose(frame, to);
        receive_damaged(to, frame.bytes);
      } else {
        receive(to, frame);
      }
    }
    flight_.release(number);
  }

  void receive(Node& to, const Flight::Frame& frame) {
    const bool echo = frame.from == to.number;
    tell_frame("gets", to.number, frame.label, {});
    if (echo) {
      auditor_.echo_came(to.number, frame.label, now_);
    } else {
      auditor_.copy_came(frame.from, to.number, frame.label, now_);
    }
    if (echo || sabotaged(Sabotage::none)) {
      give(to, frame.bytes);
    } else {
      give_sabotaged(to, frame);
    }
    settle(to);
    if (frame.label.kind == Label::Kind::request) auditor_.requested(to.number, frame.label, now_);
  }

  void give(Node& to, syncbus::Bytes bytes) { to.protocol.on_frame(bytes, to.listeners != 0, now_); }

  void give_sabotaged(Node& to, const Flight::Frame& frame) {
    namespace core = syncbus::core;
    const Label::Kind kind = frame.label.kind;
    if (sabotaged(Sabotage::ignore_heartbeats) && healed_ && kind == Label::Kind::heartbeat) return;
    std::vector<std::byte> bytes = frame.bytes;
    if (sabotaged(Sabotage::withhold_events) && kind == Label::Kind::events && random_.chance(0.1)) {
      bytes.resize(core::events_header_bytes);
      core::seal_events_frame(bytes, frame.label.sequence);
    }
    give(to, bytes);
    if (sabotaged(Sabotage::forge_answer) && kind == Label::Kind::acknowledgement) {
      bytes[core::origin_offset] ^= std::byte{1};
      core::seal_frame(bytes);
      give(to, bytes);
    }
  }

  void receive_damaged(Node& to, const std::vector<std::byte>& bytes) {
    damaged_ = bytes;
    const std::size_t bits = 1 + random_.below(3);
    for (std::size_t i = 0; i != bits; ++i) {
      damaged_[random_.below(damaged_.size())] ^= static_cast<std::byte>(1U << random_.below(8));
    }
    if (random_.chance(0.2)) damaged_.resize(random_.below(damaged_.size()));
    if (damaged_ == bytes) return;
    give(to, damaged_);
    settle(to);
  }

  void confirm(Node& node, const Moment& moment) {
    if (moment.stamp != node.epoch) return;
    auditor_.confirmed(node.number, moment.what);
    node.protocol.on_confirmed(moment.what);
    settle(node);
  }

  void cut(NodeNumber from, NodeNumber to, TimePoint until) {
    if (from != to && at_one_place(from, to)) return;
    tell([&](std::ostream& out) { out << "node " << to << " does not hear node " << from; });
    unreachable(from, to) = true;
    plan_for(*nodes_[from], until, Moment::Kind::reachable_again, to);
  }
  void uncut(NodeNumber from, NodeNumber to) { unreachable(from, to) = false; }
  void uncut_all() {
    unreachable_.assign(plan_.most_nodes * plan_.most_nodes, false);
  }

  std::uint64_t restarts_ = 0;  ///< of the broker: each makes it another place

 private:
  struct Server {
    std::uint64_t life = 0;  ///< another one when it has ended
    TimePoint down_until{};
    std::array<TimePoint, 3> cut_from{};  ///< others, until then
  };

  [[nodiscard]] bool servers_are_cut(const Node& from, const Node& to) const noexcept {
    return plan_.servers != 1 && !healed_ && now_ < servers_[from.server].cut_from[to.server];
  }

  /// Whether copies may be lost, doubled, late or damaged on this way.
  [[nodiscard]] bool is_bad(NodeNumber from, NodeNumber to) const noexcept {
    return from != to && !healed_ && !at_one_place(from, to);
  }
  [[nodiscard]] bool at_one_place(NodeNumber a, NodeNumber b) const noexcept {
    return records::at_one_place(plan_.places, a, b);
  }

  [[nodiscard]] std::vector<bool>::reference unreachable(NodeNumber from, NodeNumber to) {
    return unreachable_[from * plan_.most_nodes + to];
  }

  std::vector<Server> servers_;
  std::uint64_t lives_ = 0;  ///< of servers, so far
  std::vector<bool> unreachable_;
  std::vector<std::byte> damaged_;
};

}  // namespace sim
