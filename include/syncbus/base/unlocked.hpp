// Runs a call with a lock released.
#pragma once

#include <cassert>
#include <mutex>

namespace syncbus::inline v1::detail {

/// Precondition: the lock is held; it is again afterwards. `call` throws nothing.
template <class Call>
void unlocked(std::unique_lock<std::mutex>& lock, const Call& call) noexcept {
  assert(lock.owns_lock());
  lock.unlock();
  call();
  lock.lock();
}

}  // namespace syncbus::inline v1::detail
