// Starts the library's own threads.
#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include <syncbus/base/blocked_signals.hpp>

namespace syncbus::inline v1::detail {

/// What to do when there are no more.
inline constexpr const char* no_thread =
    "the process gets no further thread for the bus: raise its limit of threads (ulimit -u, TasksMax, pids.max), give "
    "it memory, or find out who does not end them";

/// Signals of the process are left to the program's own threads. Throws std::system_error without a thread.
template <class Run>
[[nodiscard]] std::thread start_thread(Run&& run) {
  const BlockedSignals blocked;
  try {
    return std::thread{std::forward<Run>(run)};
  } catch (const std::system_error& error) {
    throw std::system_error{error.code(), no_thread};
  }
}

}  // namespace syncbus::inline v1::detail
