// A cluster of the machines under test, joined by a bad link, in virtual time: one seed decides everything.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

#include <syncbus/core/protocol.hpp>
#include <syncbus/metrics.hpp>

#include "sim/fates.hpp"
#include "sim/make_plan.hpp"

namespace sim {

/// Chaos for a while; then the link heals and nothing befalls the nodes any more; then everything has to converge. The
/// memory is used again by the next run.
class World final : public Fates {
 public:
  /// What is wrong, in a sentence; empty: nothing. With a `trace` every moment is told.
  [[nodiscard]] const std::string& run(std::uint64_t seed, std::ostream* trace = nullptr,
                                       Sabotage sabotage = Sabotage::none) {
    plan_ = make_plan(seed);
    plan_.sabotage = sabotage;
    set_up(seed, trace);
    const TimePoint end = start + plan_.chaos + grace + 10 * plan_.interval();
    TimePoint look_at = start + plan_.chaos;
    TimePoint settled_since = records::never;
    for (tally_.moments = 0; auditor_.problem().empty() && !timeline_.empty(); ++tally_.moments) {
      if (tally_.moments == (plan_.nodes < 64 ? most_moments : most_of_a_crowd)) auditor_.fail("the world does not come to rest");
      TimePoint next = timeline_.next_at();
      if (next >= look_at) {
        if (!healed_) heal();
        next = timeline_.next_at();  // it may plan something sooner
        look_at = next + watch;
        settled_since = settled() ? (std::min)(settled_since, next) : records::never;
        if (next >= end || next - stays_for_ >= settled_since) break;
      }
      now_ = (std::max)(now_, next);
      happen(timeline_.take());
    }
    for (const auto& node : nodes_) {
      auditor_.check_counters(node->number, node->protocol.metrics());
      auditor_.check_thrifty(node->number, start, now_);
    }
    if (auditor_.problem().empty()) auditor_.check_end();
    if (auditor_.problem().empty()) auditor_.fail(unconverged());
    count();
    return auditor_.problem();
  }

  [[nodiscard]] const Tally& tally() const noexcept { return tally_; }

 private:
  using Action = syncbus::core::Action;

  static constexpr Duration grace = std::chrono::seconds{30};  ///< after the chaos: everything has to have converged
  static constexpr Duration joining_time = std::chrono::milliseconds{250};
  static constexpr Duration slow_joining_time = std::chrono::seconds{5};  ///< where few may speak
  static constexpr Duration watch = std::chrono::milliseconds{50};
  static constexpr std::uint64_t most_moments = 1'000'000, most_of_a_crowd = 50'000'000;

  // --- the beginning and the end

  void set_up(std::uint64_t seed, std::ostream* trace) {
    trace_ = trace;
    random_ = Random{seed ^ 0x5EEDU};
    now_ = start;
    healed_ = false;
    stays_for_ = plan_.long_watch ? std::chrono::seconds{8} : plan_.peer_timeout / 2;
    nodes_.clear();
    timeline_.clear();
    flight_.clear();
    restarts_ = 0;
    begin_servers();
    uncut_all();
    tally_ = {};
    const bool calm = plan_.nothing_fails();
    const bool short_outage = plan_.outage < plan_.peer_timeout;
    const bool roomy = plan_.ample_history() && plan_.queue_bytes >= Plan::ample;  // no awaited event joins a resync
    const bool prompt = plan_.ample_history() && plan_.slow == 0 && !plan_.may(Happening::stall_dispatcher);
    auditor_.begin({.nothing_fails = calm,
                    .lied = plan_.lies(),
                    .lied_over = plan_.lies() && !plan_.only_lies,
                    .strict_order = calm && plan_.lossless() && !(plan_.may_await() && plan_.may_join()),
                    .heard_once = !plan_.may_await() && !plan_.lies(),
                    .remembered = roomy && !plan_.breaks(),
                    .lossless = plan_.lossless(),
                    .places = plan_.places,
                    .one_order = plan_.reorder == 0 && !plan_.lies() && plan_.servers == 1,
                    .ample_history = plan_.ample_history(),
                    .some_end = plan_.may(Happening::crash) || plan_.may(Happening::leave) ||
                                plan_.may(Happening::last_words),
                    .some_move = plan_.servers != 1,
                    .losses = plan_.outage == Duration{} ? 0U : plan_.outage_is_told || short_outage ? 1U : 2U,
                    .most_event_bytes = plan_.long_keys ? 4'400U : 256U,
                    .peer_timeout = calm ? plan_.silence() : plan_.peer_timeout,
                    .heard_within = plan_.rarely_heard() ? plan_.silence() : plan_.peer_timeout,
                    .repair_timeout = plan_.repair_timeout,
                    .way_back = std::chrono::milliseconds{15},
                    .answer_time = roomy ? std::chrono::milliseconds{150} : grace,
                    .await_time = prompt ? std::chrono::milliseconds{roomy ? 400 : 750} : grace,
                    .patience = plan_.family == Family::patient ? std::chrono::milliseconds{1'200} : Duration{},
                    .waits = 2 * plan_.interval(),
                    .least_staleness = 3 * plan_.interval(),
                    .joining_time = plan_.family == Family::paced ? slow_joining_time : joining_time,
                    .heartbeat = plan_.heartbeat,
                    .control_rate = plan_.control_rate,
                    .most_nodes = plan_.most_nodes,
                    .max_peers = plan_.max_peers,
                    .answers_of_strangers = max_awaits,
                    .crowd_pause = 12 * plan_.peer_timeout,
                    .history_bytes = plan_.history_bytes,
                    .queue_bytes = plan_.queue_bytes,
                    .pending_bytes = plan_.pending_bytes});
    for (std::size_t i = 0; i != plan_.nodes; ++i) add_node(random_.between({}, plan_.start_within));
    for (std::size_t i = 0; i != plan_.operations; ++i) plan_at(some_time(), {.kind = Moment::Kind::operation});
    for (std::size_t i = 0; i != 6; ++i) plan_at(some_time(), {.kind = Moment::Kind::sample});
    if (plan_.outage != Duration{}) {
      plan_at(start + std::chrono::seconds{1}, {.kind = Moment::Kind::half_is_cut_off});
    }
  }

  [[nodiscard]] TimePoint some_time() { return start + random_.between({}, plan_.chaos); }

  void heal() {
    healed_ = true;
    tell([](std::ostream& out) { out << "--- healed"; });
    uncut_all();
    for (const auto& node : nodes_) {
      node->stalled_until = now_;
      if (node->alive && node->half_open) interrupt(*node);
    }
    if (plan_.may_await()) {  // of nodes that have not heard of each other again yet
      for (const auto& node : nodes_) {
        if (node->alive && node->started && !node->leaving && random_.chance(0.3)) open_await(*node);
      }
    }
    for (std::size_t i = 1; i != 6; ++i) {
      plan_at(now_ + i * std::chrono::milliseconds{150}, {.kind = Moment::Kind::sample});
    }
  }

  [[nodiscard]] bool settled() { return auditor_.settled() && unconverged().empty(); }

  [[nodiscard]] std::string unconverged() {
    for (const auto& node : nodes_) {
      if (!node->alive || node->publish_only) continue;
      const Duration staleness = node->protocol.health(now_).staleness;
      if (auto problem = auditor_.unconverged(node->number, node->protocol.peers(now_), staleness); !problem.empty()) {
        return problem;
      }
    }
    return {};
  }

  void count() {
    for (const auto& node : nodes_) {
      const syncbus::Metrics metrics = node->protocol.metrics();
      tally_.gaps += metrics.gaps;
      tally_.quorums += metrics.quorums_satisfied;
    }
  }

  // --- moments

  void happen(const Moment& moment) {
    using enum Moment::Kind;
    switch (moment.kind) {
      case operation: return befall();
      case sample: return look();
      case half_is_cut_off: return cut_half();
      case at_broker: return reach_broker(moment);
      case reachable_again: return uncut(moment.node, static_cast<NodeNumber>(moment.what));
      default: break;
    }
    Node& node = *nodes_[moment.node];
    if (node.alive && now_ < node.paused_until) return plan_at(node.paused_until, moment);
    if (moment.kind == copy) return arrive(moment);
    if (!node.alive) return;
    switch (moment.kind) {
      case begin:
      case ready: return begin_session(node);
      case wake: return wake_up(node);
      case confirmation: return confirm(node, moment);
      case dispatch:
        node.dispatch_planned = false;
        return run_dispatcher(node);
      case handled:
        finish_item(node);
        return run_dispatcher(node);
      case patience_ends:
        node.patience_planned = false;
        return submit_waiting(node, true);
      case goodbye:
        node.reaches_until = now_ + 2 * plan_.delay;
        return end(node, node.said_goodbye);
      case session_ends:
        if (moment.stamp == node.epoch && !healed_) interrupt(node);
        return;
      case session_ended: return notice_interruption(node);
      case is_cut_off:
        if (!healed_) interrupt(node);
        return;
      case speaks: return want(node, some_wish());
      case dies: return crash_node(node);
      default: return;
    }
  }

  void look() {
    for (const auto& node : nodes_) {
      if (node->alive && now_ >= node->paused_until) look_at(*node);
    }
  }
  void look_at(Node& node) {
    Duration staleness = node.protocol.health(now_).staleness;
    if (sabotaged(Sabotage::feign_freshness)) staleness = {};
    auditor_.sample(node.number, node.started, staleness, node.protocol.metrics(), now_);
  }

  // --- the shell

  void wake_up(Node& node) {
    if (now_ < node.wake) return;
    node.wake = records::never;
    node.protocol.tick(now_);
    settle(node);
  }

  void settle(Node& node) override {
    do {
      run_actions(node);
      if (!node.started && node.protocol.joined()) enter(node);
      if (std::exchange(node.room, false)) submit_waiting(node, false);
      auditor_.at_rest(node.number);
      say_goodbye_if_flushed(node);
    } while (run_actions(node) || node.room);
    if (plan_.close_watch && node.alive) look_at(node);
  }

  void say_goodbye_if_flushed(Node& node) {
    if (!node.leaving || node.said_goodbye || !node.waiting.empty()) return;
    const auto point = node.protocol.flush_point();
    const bool flushed = point && node.protocol.confirmed() >= *point;
    if (!flushed && !sabotaged(Sabotage::cut_flush_short)) return;
    auditor_.flushed(node.number);
    node.said_goodbye = true;
    node.protocol.say_goodbye();
    plan_for(node, now_ + std::chrono::milliseconds{1}, Moment::Kind::goodbye);
  }

  /// Whether there were any.
  bool run_actions(Node& node) {
    bool any = false;
    for (std::size_t left = 10'000;; --left, any = true) {
      const Action action = node.protocol.next_action(now_);
      if (action.kind == Action::Kind::none) return any;
      if (left == 0) {
        auditor_.fail("the actions of node " + std::to_string(node.number) + " do not end");
        return false;
      }
      run(node, action);
    }
  }

  void run(Node& node, const Action& action) {
    switch (action.kind) {
      case Action::Kind::broadcast:
      case Action::Kind::send: return hand_over(node, action);
      case Action::Kind::dispatch: return plan_dispatch(node);
      case Action::Kind::room: node.room = true; return;
      case Action::Kind::complete: return complete(node);
      case Action::Kind::reopen: return interrupt(node);
      case Action::Kind::wake:
        node.wake = (std::max)(action.at, now_);
        return plan_for(node, node.wake, Moment::Kind::wake);
      case Action::Kind::health:
      case Action::Kind::left_out:
      case Action::Kind::doubled:
      case Action::Kind::none: return;
    }
  }

  /// What waited for the constructor to return.
  void enter(Node& node) {
    node.started = true;
    auditor_.entered(node.number, now_);
    tell([&](std::ostream& out) { out << "node " << node.number << " has joined"; });
    if (node.publish_only) return;
    for (std::size_t left = random_.below(4); left != 0; --left) add_subscription(node);
    if (random_.chance(plan_.awaits_at_once)) open_await(node, 0);
  }

  Duration stays_for_{};
};

}  // namespace sim
