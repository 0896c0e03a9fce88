// How the nodes of the contract suite come back to a broker.
#pragma once

#include <chrono>

#include <syncbus/transport/session/reconnect_tuning.hpp>

namespace contract {

/// Attempts to reconnect follow each other fast, so that a restarted broker is found at once.
inline constexpr syncbus::ReconnectTuning quick{.min_backoff = std::chrono::milliseconds{5},
                                                .max_backoff = std::chrono::milliseconds{50}};

}  // namespace contract
