// The awaits of a bus that is alone: only this node's own handlers can acknowledge.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>

#include <syncbus/base/handler_scope.hpp>
#include <syncbus/base/process_mutex.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/core/quorum/quorum_tracker.hpp>
#include <syncbus/error.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/local_node.hpp>
#include <syncbus/local/subscribers.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/submission.hpp>

namespace syncbus::inline v1::detail {

/// The awaits that have not ended. The thread that is to answer one may be inside a handler, and come to it when the
/// bus is gone: so close ends them. Thread safety: all of it.
class LocalAwaits {
 public:
  LocalAwaits(std::shared_ptr<Subscribers> subscribers, std::size_t most)
      : subscribers_{std::move(subscribers)}, most_{most} {}

  /// Errors: closed, too_many_awaits, forked.
  [[nodiscard]] std::error_code open(const std::shared_ptr<AwaitCall>& call) {
    return mutex_.locked(
        [&]() -> std::error_code {
          if (closed_) return Errc::closed;
          if (open_.size() >= most_) return Errc::too_many_awaits;
          open_.insert(call);
          return {};
        },
        Errc::forked);
  }

  /// The first word counts.
  void end(const std::shared_ptr<AwaitCall>& call, AwaitOutcome outcome) noexcept {
    const bool first = mutex_.locked(
        [&] {
          if (open_.erase(call) == 0) return false;
          ++ending_;
          return true;
        },
        false);
    if (!first) return;
    subscribers_->count_await(!outcome.error);
    call->end(std::move(outcome));
    if (call->has_completion()) subscribers_->complete(*call);
    mutex_.locked([this] {
      if (--ending_ == 0) ended_.notify_all();
    });
  }

  /// Ends all with `closed`. Waits for completions that others are calling, unless inside a handler, which may be one
  /// of them. Returns whether all have returned.
  [[nodiscard]] bool close(TimePoint deadline) noexcept {
    while (const auto call = close_and_pick()) end(call, {.error = Errc::closed});
    return subscribers_->in_handler() ||
           mutex_.locked(
               [&](ProcessMutex::Lock& lock) {
                 return ended_.wait_until(lock, deadline, [this] { return ending_ == 0; });
               },
               true);
  }

 private:
  /// Any that is open; null when none is.
  [[nodiscard]] std::shared_ptr<AwaitCall> close_and_pick() noexcept {
    return mutex_.locked(
        [this] {
          closed_ = true;
          return open_.empty() ? nullptr : *open_.begin();
        },
        nullptr);
  }

  const std::shared_ptr<Subscribers> subscribers_;
  const std::size_t most_;
  ProcessMutex mutex_{subscribers_->fork_mark()};
  std::condition_variable ended_;
  std::unordered_set<std::shared_ptr<AwaitCall>> open_;
  std::size_t ending_ = 0;  ///< completions that are being called
  bool closed_ = false;
};

/// Takes the answers to the keys of one submission; with the last the call ends. Only one thread answers: that of the
/// publisher, perhaps after the bus.
class LocalAwait {
 public:
  /// What LocalNode::deliver is to call, for a call that is open. A submission that this node does not hear has ended
  /// when it returns.
  [[nodiscard]] static auto make(const LocalNode& bus, const std::shared_ptr<LocalAwaits>& awaits,
                                 const Submission& submission, Quorum quorum, std::shared_ptr<AwaitCall> call) {
    const auto await = std::make_shared<LocalAwait>(bus, awaits, submission, quorum, std::move(call));
    if (submission.scope == Scope::remote) await->end();
    return [await](std::uint32_t event, core::AcknowledgementStatus status) { await->answer(event, status); };
  }

  LocalAwait(const LocalNode& bus, std::shared_ptr<LocalAwaits> awaits, const Submission& submission, Quorum quorum,
             std::shared_ptr<AwaitCall> call)
      : voters_{bus.id(), bus.options().zone, submission.scope != Scope::remote},
        awaits_{std::move(awaits)},
        unanswered_{submission.keys.size()},
        tracker_{quorum, static_cast<std::uint32_t>(submission.keys.size())},
        call_{std::move(call)} {}

 private:
  struct Voters {
    NodeId self;
    std::string zone;
    bool hears;

    template <class Visit>
    void for_each(const Visit& visit) const {
      if (hears) visit(self);
    }
    [[nodiscard]] bool whole() const noexcept { return true; }
    [[nodiscard]] bool knows(NodeId) const noexcept { return true; }
    [[nodiscard]] std::optional<std::string_view> zone_of(NodeId) const noexcept { return zone; }
  };

  void answer(std::uint32_t event, core::AcknowledgementStatus status) {
    static_cast<void>(tracker_.answer(voters_.self, event, status));
    if (--unanswered_ == 0) end();
  }

  void end() {
    const bool satisfied = tracker_.verdict(voters_) == core::QuorumVerdict::satisfied;
    awaits_->end(call_, {satisfied ? std::error_code{} : make_error_code(Errc::quorum_not_satisfied),
                         tracker_.replicas()});
  }

  const Voters voters_;
  const std::shared_ptr<LocalAwaits> awaits_;
  std::size_t unanswered_;
  core::QuorumTracker tracker_;
  const std::shared_ptr<AwaitCall> call_;
};

}  // namespace syncbus::inline v1::detail
