// A bus's own node, without a broker: its identity, options and subscribers, and the checks of a publish.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stop_token>
#include <string_view>
#include <system_error>
#include <utility>

#include <syncbus/base/fork_mark.hpp>
#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/base/random_hash_secret.hpp>
#include <syncbus/base/split_mix64.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/base/waiting.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/deliver.hpp>
#include <syncbus/local/random_node_id.hpp>
#include <syncbus/local/subscriber.hpp>
#include <syncbus/local/subscribers.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/submission.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: everything may be called from any thread. Publishing takes no lock.
class LocalNode {
 public:
  static constexpr std::size_t max_label_bytes = 255;  // they travel in heartbeats, behind a length of one byte

  static constexpr std::size_t least_history_bytes = 1'024;

  /// Throws std::system_error (invalid_argument) for options that no bus can have.
  explicit LocalNode(BusOptions options) : LocalNode{std::move(options), random_node_id(), random_hash_secret()} {}

  /// On a hub, where one seed decides what happens, the id decides how tables hash. `waiting`: how mailboxes wait
  /// there.
  LocalNode(BusOptions options, NodeId id, std::shared_ptr<Waiting> waiting)
      : LocalNode{std::move(options), id, hash_secret_of(id), std::move(waiting)} {}

  LocalNode(const LocalNode&) = delete;
  LocalNode& operator=(const LocalNode&) = delete;
  ~LocalNode() {
    if (!forked()) return;
    leave_behind(options_);
    leave_behind(subscribers_);
  }

  [[nodiscard]] NodeId id() const noexcept { return id_; }
  [[nodiscard]] const BusOptions& options() const noexcept { return *options_; }

  /// Whether this process is not the one that made the bus: see ForkMark.
  [[nodiscard]] bool forked() const noexcept { return fork_mark_.forked(); }
  [[nodiscard]] const std::shared_ptr<Subscribers>& subscribers() const noexcept { return subscribers_; }

  /// Throws std::system_error (invalid_argument) for options that no bus over a broker can have.
  void require_protocol_options() const {
    if (options_->heartbeat <= Duration::zero() || options_->peer_timeout <= Duration::zero()) {
      throw std::system_error{Errc::invalid_argument, "BusOptions: heartbeat and peer_timeout must be above zero"};
    }
    if (options_->observer && options_->publish_only) {
      throw std::system_error{Errc::invalid_argument,
                              "BusOptions: a bus is an observer, which only hears, or publish_only, not both"};
    }
    if (options_->history_bytes < least_history_bytes) {
      throw std::system_error{Errc::invalid_argument,
                              "BusOptions: history_bytes is too small for one frame; it is at least 1,024 bytes, and "
                              "usually some MiB"};
    }
  }

  /// What is wrong with a submission, before any of it is taken.
  [[nodiscard]] std::error_code check(const Submission& submission) const noexcept {
    if (closed_.load(std::memory_order_acquire)) return Errc::closed;
    if (forked()) [[unlikely]]
      return Errc::forked;
    const bool of_all = submission.type == EventType::resync;  // that has no keys, on the wire either
    if (submission.type > EventType::resync || (of_all && !submission.keys.empty())) [[unlikely]]
      return Errc::invalid_argument;
    for (const std::string_view key : submission.keys) {
      if (!valid(key)) return Errc::invalid_key;
    }
    return {};
  }

  /// Counts an accepted submission, and has this node's own subscribers hear it if its scope says so: now, or inside a
  /// handler when that handler's dispatch has ended.
  void deliver(const Submission& submission) noexcept {
    const bool heard = submission.scope != Scope::remote;
    if (submission.type == EventType::resync) return deliver_resync(heard);
    subscribers_->publish({.type = submission.type, .key = {}, .version = submission.version, .origin = id_},
                          submission.keys, heard);
  }

  /// What is wrong with an await, before any of it is taken; besides what check() finds.
  [[nodiscard]] std::error_code check(const Submission& submission, Quorum quorum,
                                      const std::stop_token& stop) const noexcept {
    if (const auto error = check(submission)) return error;
    if (submission.keys.empty() || !quorum.valid()) return Errc::invalid_argument;
    if (options_->publish_only) return Errc::quorum_unsupported;
    return stop.stop_requested() ? make_error_code(Errc::canceled) : std::error_code{};
  }

  /// As deliver, for an await: `on_answer(std::uint32_t, AcknowledgementStatus)` is called for each key, by its index,
  /// when its handlers have returned; not at all if the scope leaves this node out.
  template <class OnAnswer>
  void deliver(const Submission& submission, const OnAnswer& on_answer) {
    subscribers_->count_published(submission.keys.size());
    if (submission.scope == Scope::remote) return;
    std::uint32_t index = 0;
    for (const std::string_view key : submission.keys) {
      subscribers_->publish_counted(
          {submission.type, key, submission.version, id_},
          [on_answer, index](const DispatchTally& tally) { on_answer(index, status_of(tally)); });
      ++index;
    }
  }

  /// Throws std::system_error: closed, forked, invalid_argument for a null handler and when a publish_only bus is asked
  /// for what it cannot hear, invalid_key.
  [[nodiscard]] Subscription attach(const Interest& interest, Subscriber subscriber) const {
    if (closed_.load(std::memory_order_acquire)) throw std::system_error{Errc::closed, "subscribe"};
    if (options_->publish_only && interest.from != Scope::local) {
      throw std::system_error{Errc::invalid_argument,
                              "subscribe: this bus is publish_only and hears no other node; "
                              "subscribe with Scope::local, or make the bus without publish_only"};
    }
    const bool every_key = interest.space == KeySpace::prefix && interest.name.empty();
    if (!every_key && !valid(interest.name)) throw std::system_error{Errc::invalid_key, "subscribe"};
    if (subscriber.null()) throw std::system_error{Errc::invalid_argument, "subscribe: a handler is null"};
    subscriber.attached_to(waiting_, fork_mark_);
    return subscribers_->attach(interest.space, interest.name, std::move(subscriber), interest.from);
  }

  /// For the bus's destructor. Ends the process if it is called inside a handler of this very bus: that dispatch, and
  /// perhaps the publish around it, would go on in freed memory.
  void require_no_own_handler() const noexcept {
    if (forked() || !subscribers_->runs_own_handler()) return;
    std::fputs(
        "syncbus: a bus was destroyed inside one of its own handlers, whose dispatch still needs it; destroy it when "
        "the handler has returned\n",
        stderr);
    std::abort();
  }

  /// From here on publishes and subscriptions are refused. False in a forked child, which closes nothing.
  [[nodiscard]] bool refuse_all() noexcept {
    if (forked()) return false;
    closed_.store(true, std::memory_order_release);
    return true;
  }

  /// Nothing more will be heard: closes the mailboxes.
  void end() noexcept { subscribers_->close(); }

  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

 private:
  LocalNode(BusOptions options, NodeId id, const HashSecret& secret, std::shared_ptr<Waiting> waiting = nullptr)
      : id_{id},
        waiting_{std::move(waiting)},
        options_{std::make_shared<const BusOptions>(with_finite_times(std::move(options)))},
        max_key_bytes_{options_->max_key_bytes},
        subscribers_{std::make_shared<Subscribers>(options_->on_log, secret)} {
    if (options_->name.size() > max_label_bytes || options_->zone.size() > max_label_bytes) {
      throw std::system_error{Errc::invalid_argument, "BusOptions: name and zone are at most 255 bytes each"};
    }
    if (max_key_bytes_ == 0) {
      throw std::system_error{Errc::invalid_argument, "BusOptions: max_key_bytes is at least 1: a key has a byte"};
    }
  }

  [[nodiscard]] static HashSecret hash_secret_of(NodeId id) noexcept {
    SplitMix64 random{id.value};
    const std::uint64_t first = random.next();
    return {first, random.next()};
  }

  /// See longest_time.
  [[nodiscard]] static BusOptions with_finite_times(BusOptions options) {
    for (Duration* const time : {&options.connect_timeout, &options.wait_for_broker, &options.close_timeout,
                                 &options.send_wait, &options.heartbeat, &options.peer_timeout,
                                 &options.repair_timeout}) {
      *time = std::clamp(*time, Duration::zero(), longest_time);
    }
    return options;
  }

  [[nodiscard]] bool valid(std::string_view key) const noexcept {
    return !key.empty() && key.size() <= max_key_bytes_;
  }

  void deliver_resync(bool heard) noexcept {
    subscribers_->count_published(1);
    if (heard) subscribers_->publish_resync({ResyncCause::requested, id_});
  }

  const NodeId id_;
  const std::shared_ptr<Waiting> waiting_;
  const std::shared_ptr<const BusOptions> options_;
  const std::size_t max_key_bytes_;
  const std::shared_ptr<Subscribers> subscribers_;
  const ForkMark fork_mark_{subscribers_->fork_mark()};  // a copy: every publish asks it
  std::atomic<bool> closed_{false};
};

}  // namespace syncbus::inline v1::detail
