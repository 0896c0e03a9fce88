// The awaits of a bus that are under way, by id, and those whose completion is still to be called.
#pragma once

#include <cassert>
#include <cstddef>
#include <memory>
#include <unordered_map>
#include <utility>

#include <syncbus/core/quorum/await_table.hpp>
#include <syncbus/local/await_call.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: none, the owner locks.
class AwaitCalls {
 public:
  void add(core::AwaitId await_id, const std::shared_ptr<AwaitCall>& call) {
    call->await_id = await_id;
    calls_.emplace(await_id, call);
  }

  /// An await ended. A caller that waits is woken here; a completion waits for next_completion(). Returns whether there
  /// is one. Allocates nothing. A caller for whom add() found no memory does not wait.
  bool end(core::AwaitCompletion&& completion) noexcept {
    auto call = calls_.extract(completion.await_id);
    if (!call) return false;
    call.mapped()->end({completion.error, std::move(completion.replicas)});
    if (!call.mapped()->has_completion()) return false;
    std::shared_ptr<AwaitCall>& place = last_ == nullptr ? first_ : last_->next;
    place = std::move(call.mapped());
    last_ = place.get();
    ++completions_;
    return true;
  }

  /// Open ones, and those whose completion is still to be called.
  [[nodiscard]] std::size_t size() const noexcept { return calls_.size() + completions_; }

  [[nodiscard]] bool has_completions() const noexcept { return completions_ != 0; }

  /// Precondition: has_completions(). To be called and destroyed without the owner's lock: what it waits for may want
  /// that.
  [[nodiscard]] std::shared_ptr<AwaitCall> next_completion() noexcept {
    assert(has_completions());
    auto call = std::move(first_);
    first_ = std::move(call->next);
    if (--completions_ == 0) last_ = nullptr;
    return call;
  }

 private:
  std::unordered_map<core::AwaitId, std::shared_ptr<AwaitCall>> calls_;
  std::shared_ptr<AwaitCall> first_;  ///< of those whose completion is still to be called, linked by their `next`
  AwaitCall* last_ = nullptr;
  std::size_t completions_ = 0;
};

}  // namespace syncbus::inline v1::detail
