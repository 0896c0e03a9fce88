// Starts the library's own threads.
#pragma once

#include <thread>
#include <utility>

#include <syncbus/detail/blocked_signals.hpp>

namespace syncbus::inline v1::detail {

/// Signals of the process are left to the program's own threads. Throws std::system_error without a thread.
template <class Run>
[[nodiscard]] std::thread start_thread(Run&& run) {
  const BlockedSignals blocked;
  return std::thread{std::forward<Run>(run)};
}

}  // namespace syncbus::inline v1::detail
