// The pull form of a subscription: a bounded, conflating box of events that its owner reads when it has time.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/fork_mark.hpp>
#include <syncbus/base/process_mutex.hpp>
#include <syncbus/base/random_hash_secret.hpp>
#include <syncbus/base/waiting.hpp>
#include <syncbus/core/receiving/pending_events.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/subscriber.hpp>
#include <syncbus/options.hpp>
#include <syncbus/subscription.hpp>

namespace syncbus::inline v1 {

namespace detail {

/// What a Mailbox and the subscription that fills it share. It outlives whichever ends first.
class MailboxState final : public MailboxSink {
 public:
  /// `name` is the key, prefix or lease subscribed to: the key of the resyncs it yields. In a forked child it is closed
  /// and empty.
  MailboxState(std::string_view name, const MailboxOptions& options)
      : name_{name},
        pending_{options.capacity, (std::numeric_limits<std::size_t>::max)(), random_hash_secret()},
        on_stop_{options.stop_token, Close{*this}} {}

  void attached_to(std::shared_ptr<Waiting> waiting, const ForkMark& fork_mark) noexcept override {
    mutex_.locked([&] { waiting_ = std::move(waiting); });  // a stop may be requested meanwhile
    mutex_.belongs_to(fork_mark);
  }

  PutResult put(const Event& event) noexcept override {
    const PutResult result = mutex_.locked(
        [&]() -> PutResult {
          if (closed_) return {.stored = false};
          const auto put = pending_.put({.type = event.type, .key = event.key, .version = event.version}, event.origin);
          return {.overflowed = put.overflowed, .joined = static_cast<std::uint32_t>(put.absorbed)};
        },
        PutResult{.stored = false});
    if (result.stored) announce();
    return result;
  }

  PutResult put_resync(const Resync& resync) noexcept override {
    const PutResult result = mutex_.locked(
        [&]() -> PutResult {
          if (closed_) return {.stored = false};
          return {.joined = static_cast<std::uint32_t>(pending_.put_resync(resync))};
        },
        PutResult{.stored = false});
    if (result.stored) announce();
    return result;
  }

  void close() noexcept override {
    wake_all([this] { closed_ = true; });
  }

  [[nodiscard]] bool closed() const noexcept {
    return mutex_.locked([this] { return closed_; }, true);
  }

  [[nodiscard]] std::optional<OwnedEvent> take() {
    return mutex_.locked([this] { return take_locked(); }, std::nullopt);
  }

  [[nodiscard]] std::optional<OwnedEvent> take_within(Duration timeout, const std::stop_token& stop) {
    const std::stop_callback wake{stop, [this]() noexcept { wake_all([] {}); }};
    const auto over = [&] { return !pending_.empty() || closed_ || stop.stop_requested(); };
    if (waiting_) {
      static_cast<void>(waiting_->wait_for(timeout, [&] { return mutex_.locked(over, true); }));
      return take();
    }
    return mutex_.locked(
        [&](ProcessMutex::Lock& lock) {
          arrived_.wait_until(lock, deadline_after(timeout), over);
          return take_locked();
        },
        std::nullopt);
  }

  [[nodiscard]] bool forked() const noexcept { return mutex_.forked(); }

 private:
  struct Close {
    MailboxState& state;
    void operator()() const noexcept { state.close(); }
  };

  // Without the lock.
  void announce() noexcept {
    arrived_.notify_one();
    if (waiting_) waiting_->recheck();
  }

  /// Changes something under the lock, and wakes all who receive to see it.
  template <class Change>
  void wake_all(const Change& change) noexcept {
    mutex_.locked([&](ProcessMutex::Lock& lock) {
      change();
      const auto waiting = waiting_;  // a stop may be requested before it is attached
      lock.unlock();
      arrived_.notify_all();
      if (waiting) waiting->recheck();
    });
  }

  [[nodiscard]] std::optional<OwnedEvent> take_locked() {
    if (const auto resync = pending_.take_resync()) {
      return OwnedEvent{.type = EventType::resync, .key = name_, .version = 0, .origin = resync->peer};
    }
    core::PendingEvent event;
    if (!pending_.pop_front(event)) return std::nullopt;
    return OwnedEvent{
        .type = event.type, .key = std::move(event.key), .version = event.version, .origin = event.origin};
  }

  const std::string name_;
  ProcessMutex mutex_;
  std::shared_ptr<Waiting> waiting_;  ///< null where the steady clock counts; set once, before anything is put
  std::condition_variable arrived_;
  core::PendingEvents pending_;
  bool closed_ = false;
  std::stop_callback<Close> on_stop_;  // last: its callback uses everything above
};

}  // namespace detail

/// Events of one key, prefix or lease, or of all keys, that wait until they are received.
///
/// Bounded by MailboxOptions::capacity keys and conflating: events of one key and origin that wait are one event, of
/// the latest position, of type invalidate if their types differ, of the larger version (0 absorbs). One key more than
/// the capacity, or a resync of the bus, joins everything that waits into one event of type resync, whose key is what
/// was subscribed to. Nothing is dropped in silence.
///
/// Thread safety: distinct objects are independent; of one object, try_receive, receive and closed may be called from
/// any threads at once. A mailbox may outlive its bus.
class Mailbox {
 public:
  Mailbox() noexcept = default;

  /// The next event, or none when nothing waits. Does not block. May throw bad_alloc, and then the event still waits.
  [[nodiscard]] std::optional<OwnedEvent> try_receive() { return state_ ? state_->take() : std::nullopt; }

  /// The next event; none when none came within `timeout`, when `stop` was requested, or when the mailbox is closed and
  /// empty, or when another thread was faster. Blocks for at most `timeout`, on a hub of its virtual time; inside a
  /// handler it holds up that handler, and on a hub it does not wait. Throws, on a hub, would_deadlock when an executor
  /// does not run its tasks (see InMemoryHub).
  [[nodiscard]] std::optional<OwnedEvent> receive(Duration timeout, std::stop_token stop = {}) {
    return state_ ? state_->take_within(timeout, stop) : std::nullopt;
  }

  /// Whether nothing more will arrive: after unsubscribe, the end of the bus, or a request of the options' stop token,
  /// and in a forked child, where it is empty, too.
  /// What arrived before can still be received.
  [[nodiscard]] bool closed() const noexcept { return !state_ || state_->closed(); }

  /// Ends the subscription and closes the mailbox. Does not wait for anybody.
  void unsubscribe() noexcept {
    if (state_) state_->close();
    subscription_.request_unsubscribe();
  }

  Mailbox(Mailbox&&) noexcept = default;
  Mailbox& operator=(Mailbox&& other) noexcept {
    if (this == &other) return *this;
    leave_to_parent();
    state_ = std::move(other.state_);
    subscription_ = std::move(other.subscription_);
    return *this;
  }
  ~Mailbox() { leave_to_parent(); }

 private:
  template <class>
  friend class BusFacade;

  Mailbox(std::shared_ptr<detail::MailboxState> state, Subscription subscription) noexcept
      : state_{std::move(state)}, subscription_{std::move(subscription)} {}

  /// In a forked child the state is left behind: a thread of the parent may have been waiting on it, or on the hub
  /// behind it.
  void leave_to_parent() noexcept {
    if (state_ && state_->forked()) detail::leave_behind(std::move(state_));
  }

  std::shared_ptr<detail::MailboxState> state_;
  Subscription subscription_;
};

}  // namespace syncbus::inline v1
