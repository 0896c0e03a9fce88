// How fast a node comes back to its broker.
#pragma once

#include <chrono>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1 {

/// How sessions are made again after an interruption.
struct ReconnectTuning {
  Duration min_backoff = std::chrono::milliseconds{50};  ///< longest pause before the first attempt
  Duration max_backoff = std::chrono::seconds{2};        ///< the pause doubles up to this
  /// Limit of the first attempt that the library makes after an interruption; each one that fails doubles it, up to
  /// connect_timeout.
  Duration attempt_timeout = std::chrono::seconds{1};
};

}  // namespace syncbus::inline v1
