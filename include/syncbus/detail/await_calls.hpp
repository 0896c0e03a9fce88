// The awaits of a bus that are under way, by ticket, and those whose completion is still to be called.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>

#include <syncbus/core/await_table.hpp>
#include <syncbus/detail/await_call.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: none, the owner locks.
class AwaitCalls {
 public:
  void add(core::Ticket ticket, const std::shared_ptr<AwaitCall>& call) {
    call->ticket = ticket;
    calls_.emplace(ticket, call);
  }

  /// One ended. A caller that waits is woken here; a completion is for next_completion(). Returns whether there is one.
  bool end(core::AwaitCompletion&& completion) {
    auto call = calls_.extract(completion.ticket);
    call.mapped()->end({completion.error, std::move(completion.replicas)});
    if (!call.mapped()->has_completion()) return false;
    completions_.push_back(std::move(call.mapped()));
    return true;
  }

  /// Open ones, and those whose completion is still to be called.
  [[nodiscard]] std::size_t size() const noexcept { return calls_.size() + completions_.size(); }

  [[nodiscard]] bool has_completions() const noexcept { return !completions_.empty(); }

  /// Precondition: has_completions(). To be called and destroyed without the owner's lock: what it waits for may want
  /// that.
  [[nodiscard]] std::shared_ptr<AwaitCall> next_completion() {
    auto call = std::move(completions_.front());
    completions_.pop_front();
    return call;
  }

 private:
  std::unordered_map<core::Ticket, std::shared_ptr<AwaitCall>> calls_;
  std::deque<std::shared_ptr<AwaitCall>> completions_;
};

}  // namespace syncbus::inline v1::detail
