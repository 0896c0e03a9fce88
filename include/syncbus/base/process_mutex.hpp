// A mutex that only the process which made it can lock: in a forked child nobody gets it.
#pragma once

#include <atomic>
#include <concepts>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include <syncbus/base/fork_mark.hpp>

namespace syncbus::inline v1::detail {

/// The one way to what the threads of a process share: see ForkMark. There is no other way to lock it, so that nobody
/// can forget to ask.
class ProcessMutex {
 public:
  using Lock = std::unique_lock<std::mutex>;

  /// Of no process as yet.
  ProcessMutex() = default;
  explicit ProcessMutex(ForkMark mark) noexcept { belongs_to(std::move(mark)); }

  /// Once. It may be locked meanwhile.
  void belongs_to(ForkMark mark) noexcept {
    mark_.emplace(std::move(mark));
    marked_.store(true, std::memory_order_release);
  }

  [[nodiscard]] bool forked() const noexcept { return marked_.load(std::memory_order_acquire) && mark_->forked(); }

  /// Calls `call()`, or `call(Lock&)`, with the lock held, and returns what it returns; in a forked child it calls
  /// nothing and returns `in_child`.
  template <class Call, class InChild>
  [[nodiscard]] auto locked(const Call& call, InChild&& in_child) const {
    using Result = decltype(under_lock(call));
    return forked() ? Result(std::forward<InChild>(in_child)) : under_lock(call);
  }

  /// The same, if nobody holds the lock; otherwise `or_else` too.
  template <class Call, class OrElse>
  [[nodiscard]] auto locked_if_free(const Call& call, OrElse&& or_else) const {
    using Result = decltype(call());
    const Lock lock = forked() ? Lock{} : Lock{mutex_, std::try_to_lock};
    return lock ? call() : Result(std::forward<OrElse>(or_else));
  }

  /// The same for a call that returns nothing.
  template <class Call>
  void locked(const Call& call) const {
    if (!forked()) under_lock(call);
  }

 private:
  template <class Call>
  auto under_lock(const Call& call) const {
    Lock lock{mutex_};
    if constexpr (std::invocable<const Call&, Lock&>) {
      return call(lock);
    } else {
      return call();
    }
  }

  std::optional<ForkMark> mark_;
  std::atomic<bool> marked_{false};
  mutable std::mutex mutex_;
};

}  // namespace syncbus::inline v1::detail
