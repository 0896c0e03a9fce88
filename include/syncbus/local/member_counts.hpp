// Counts the subscribers of each namespace, and those that hear other nodes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include <syncbus/event.hpp>
#include <syncbus/submission.hpp>

namespace syncbus::inline v1::detail {

/// With them a cache that hears all keys through one subscriber pays for no look-up of single keys. One thread at a
/// time changes the counts, any thread may ask.
class MemberCounts {
 public:
  void add(KeySpace space, Scope from) noexcept {
    in(space).fetch_add(1, std::memory_order_release);
    if (from != Scope::local) remote_.fetch_add(1, std::memory_order_release);
  }
  void remove(KeySpace space, Scope from) noexcept {
    in(space).fetch_sub(1, std::memory_order_release);
    if (from != Scope::local) remote_.fetch_sub(1, std::memory_order_release);
  }

  [[nodiscard]] bool any_in(KeySpace space) const noexcept {
    return counts_[static_cast<std::size_t>(space)].load(std::memory_order_acquire) != 0;
  }
  [[nodiscard]] bool hear_remote() const noexcept { return remote_.load(std::memory_order_acquire) != 0; }

 private:
  [[nodiscard]] std::atomic<std::size_t>& in(KeySpace space) noexcept {
    return counts_[static_cast<std::size_t>(space)];
  }

  std::array<std::atomic<std::size_t>, 3> counts_{};  ///< by KeySpace
  std::atomic<std::size_t> remote_{0};
};

}  // namespace syncbus::inline v1::detail
