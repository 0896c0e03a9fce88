// How the nodes of the contract suite come back to a Redis server.
#pragma once

#include <chrono>

#include <syncbus/transport/redis_transport.hpp>

namespace contract {

/// Attempts to reconnect follow each other fast, so that a restarted server is found at once.
inline constexpr syncbus::RedisTuning quick{.min_backoff = std::chrono::milliseconds{5},
                                            .max_backoff = std::chrono::milliseconds{50}};

}  // namespace contract
