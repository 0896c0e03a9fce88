// The request of an await, and its result.
#pragma once

#include <cstdint>
#include <system_error>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/core/quorum/await_overflow.hpp>
#include <syncbus/event.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::core {

struct AwaitRequest {
  Quorum quorum{1};
  std::uint32_t events = 1;
  TimePoint deadline{};
  bool heard_here = true;       ///< this node's own subscribers hear the events: heard_here() will be called for each
  bool heard_elsewhere = true;  ///< they are broadcast
};

/// How an await ended. No error: its quorum is satisfied.
struct AwaitCompletion {
  AwaitId await_id = 0;
  std::error_code error{};
  std::vector<NodeId> replicas{};
};

}  // namespace syncbus::inline v1::core
