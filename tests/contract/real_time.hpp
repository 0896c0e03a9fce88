// What the fixtures of brokers, which all live in real time, have in common.
#pragma once

#include <chrono>

#include <syncbus/options.hpp>

#include "support/eventually.hpp"

namespace contract {

/// For tests that nothing happens meanwhile.
inline void let_pass(std::chrono::steady_clock::duration duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  static_cast<void>(support::eventually([end] { return std::chrono::steady_clock::now() >= end; }));
}

/// That a busy machine is slow is no silence: unless a test says how long one may be, it may be long.
[[nodiscard]] inline syncbus::BusOptions with_patience(syncbus::BusOptions options) {
  const syncbus::BusOptions unsaid;
  if (options.connect_timeout == unsaid.connect_timeout) options.connect_timeout = std::chrono::seconds{20};
  if (options.peer_timeout == unsaid.peer_timeout) options.peer_timeout = std::chrono::seconds{20};
  return options;
}

}  // namespace contract
