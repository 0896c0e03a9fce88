// The state that the sessions of every transport share.
#pragma once

#include <atomic>
#include <cstdint>

#include <syncbus/base/wake_fd.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/session/problem_reporter.hpp>

namespace syncbus::inline v1::detail {

/// A transport's own context derives from it.
struct SessionContext {
  const TransportSettings& settings;
  TransportSink& sink;
  ProblemReporter& problems;
  WakeFd& wake;
  std::atomic<std::uint64_t>& live_session;  ///< set to 0 to have it reopened
  const std::atomic<bool>& stop;
};

}  // namespace syncbus::inline v1::detail
