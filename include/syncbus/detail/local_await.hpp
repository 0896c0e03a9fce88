// An await on a bus that is alone: only this node's own handlers can answer.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <syncbus/bus.hpp>
#include <syncbus/core/quorum_tracker.hpp>
#include <syncbus/detail/await_call.hpp>
#include <syncbus/detail/local_bus.hpp>
#include <syncbus/error.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::detail {

/// Takes the answers to the keys of one submission; with the last the call ends. Only one thread answers: that of the
/// publisher.
class LocalAwait {
 public:
  /// What LocalBus::deliver is to call. A submission that this node does not hear has ended when it returns.
  [[nodiscard]] static auto make(const LocalBus& bus, const Submission& submission, Quorum quorum,
                                 std::shared_ptr<AwaitCall> call) {
    const auto await = std::make_shared<LocalAwait>(bus, submission, quorum, std::move(call));
    if (submission.scope == Scope::remote) await->end();
    return [await](std::uint32_t event, core::AcknowledgementStatus status) { await->answer(event, status); };
  }

  LocalAwait(const LocalBus& bus, const Submission& submission, Quorum quorum, std::shared_ptr<AwaitCall> call)
      : voters_{bus.id(), bus.options().zone, submission.scope != Scope::remote},
        subscribers_{bus.subscribers()},
        unanswered_{submission.keys.size()},
        tracker_{quorum, static_cast<std::uint32_t>(submission.keys.size())},
        call_{std::move(call)} {}

 private:
  struct Voters {
    NodeId self;
    std::string_view zone;
    bool hears;

    template <class Visit>
    void for_each(const Visit& visit) const {
      if (hears) visit(self);
    }
    [[nodiscard]] bool knows(NodeId) const noexcept { return true; }
    [[nodiscard]] std::string_view zone_of(NodeId) const noexcept { return zone; }
  };

  void answer(std::uint32_t event, core::AcknowledgementStatus status) {
    static_cast<void>(tracker_.answer(voters_.self, event, status));
    if (--unanswered_ == 0) end();
  }

  void end() {
    const bool satisfied = tracker_.verdict(voters_) == core::QuorumVerdict::satisfied;
    call_->end({satisfied ? std::error_code{} : make_error_code(Errc::quorum_not_satisfied), tracker_.replicas()});
    subscribers_->count_await(satisfied);
    if (call_->has_completion()) subscribers_->run_hook([this] { call_->complete(); });
  }

  Voters voters_;
  std::shared_ptr<LocalDispatch> subscribers_;
  std::size_t unanswered_;
  core::QuorumTracker tracker_;
  std::shared_ptr<AwaitCall> call_;
};

}  // namespace syncbus::inline v1::detail
