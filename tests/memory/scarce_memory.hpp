// Memory that runs out when a test says so. For a program of its own: it replaces operator new.
#pragma once

#include <cstddef>

namespace memory {

/// While it lives, allocations of this thread fail: the one after `left` others, and, `for_good`, all behind it.
class ScarceMemory {
 public:
  ScarceMemory(std::size_t left, bool for_good) noexcept;
  ScarceMemory(const ScarceMemory&) = delete;
  ScarceMemory& operator=(const ScarceMemory&) = delete;
  ~ScarceMemory();

  /// How many are left, 0 also after the failure.
  [[nodiscard]] static std::size_t left() noexcept;
  [[nodiscard]] static bool failed() noexcept;
};

}  // namespace memory
