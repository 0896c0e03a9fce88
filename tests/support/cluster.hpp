// Several machines wired together by hand: a virtual clock, and a channel that does what a test says.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/machine.hpp"

namespace support {

/// Nodes on one channel: what one broadcasts all hear after `delay`, in one order, itself included, unless `loses` says
/// no.
class Cluster {
 public:
  Node& add(syncbus::core::ProtocolOptions options) {
    Node& node = *nodes_.emplace_back(std::make_unique<Node>(options, false, now_));
    node.hears_itself = false;
    node.handlers_run = true;
    node.on_ready(1);
    collect();
    return node;
  }
  Node& add(std::uint64_t id) { return add(roomy(syncbus::NodeId{id})); }

  void interrupt(Node& node) {
    away_[&node] = true;
    node.on_interrupted();
    collect();
  }
  void reconnect(Node& node) {
    away_[&node] = false;
    node.on_ready(node.session + 1);
    collect();
  }
  /// It is gone without a word.
  void crash(Node& node) {
    away_[&node] = true;
    node.wake.reset();
    crashed_[&node] = true;
  }

  /// Something was done to a node by hand.
  void collect() {
    for (const auto& node : nodes_) {
      for (; !node->wire.empty(); node->wire.pop_front()) post(*node, node->wire.front());
    }
  }

  void pass(syncbus::Duration time) {
    collect();
    const syncbus::TimePoint until = now_ + time;
    while (step(until)) collect();
    set_now(until);
  }

  [[nodiscard]] syncbus::TimePoint now() const { return now_; }

  syncbus::Duration delay = std::chrono::milliseconds{1};
  std::function<bool(const Node& from, const Node& to, const Sent& frame)> loses = [](auto&, auto&, auto&) {
    return false;
  };
  std::size_t deliveries = 0;  ///< of control frames, but
  std::size_t hellos = 0;      ///< those of first hellos

 private:
  struct Delivery {
    Node* to;
    Sent frame;
    bool confirmation = false;
    std::uint64_t session = 0;
    bool hello = false;  ///< the first of its sender
  };

  void post(Node& from, const Sent& frame) {
    if (away_[&from]) return;
    const bool all = frame.destination == syncbus::NodeId{};
    const bool hello = frame.type == syncbus::core::FrameType::heartbeat && heartbeat_of(frame).hello == 1;
    for (const auto& to : nodes_) {
      if (!all && to->self != frame.destination) continue;
      if (away_[to.get()] || loses(from, *to, frame)) continue;
      queue_.emplace(now_ + delay, Delivery{to.get(), frame, false, to->session, hello});
    }
    if (frame.type == syncbus::core::FrameType::events && all) {
      queue_.emplace(now_ + 2 * delay, Delivery{&from, frame, true, from.session});
    }
  }

  bool step(syncbus::TimePoint until) {
    Node* sleeper = nullptr;
    for (const auto& node : nodes_) {
      if (!node->wake || crashed_[node.get()]) continue;
      if (sleeper == nullptr || *node->wake < *sleeper->wake) sleeper = node.get();
    }
    const auto first = queue_.begin();
    const bool deliver = first != queue_.end() && (sleeper == nullptr || first->first <= *sleeper->wake);
    const auto at = deliver ? first->first : (sleeper != nullptr ? *sleeper->wake : (syncbus::TimePoint::max)());
    if (at > until) return false;
    now_ = (std::max)(now_, at);
    if (!deliver) {
      sleeper->now = now_;
      sleeper->wake_up();
      return true;
    }
    const Delivery delivery = std::move(first->second);
    queue_.erase(first);
    if (away_[delivery.to] || delivery.session != delivery.to->session) return true;
    delivery.to->now = now_;
    if (delivery.confirmation) {
      delivery.to->on_confirmed(delivery.frame.sequence);
    } else {
      (delivery.hello ? hellos : deliveries) += delivery.frame.type != syncbus::core::FrameType::events ? 1U : 0U;
      delivery.to->on_frame(delivery.frame.bytes);
    }
    return true;
  }

  void set_now(syncbus::TimePoint now) {
    now_ = (std::max)(now_, now);
    for (const auto& node : nodes_) node->now = now_;
  }

  syncbus::TimePoint now_ = start;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::map<const Node*, bool> away_;
  std::map<const Node*, bool> crashed_;
  std::multimap<syncbus::TimePoint, Delivery> queue_;
};

}  // namespace support
