// How the nodes of the contract suite come back to a NATS server.
#pragma once

#include <chrono>

#include <syncbus/transport/nats_transport.hpp>

namespace contract {

/// Attempts to reconnect follow each other fast, so that a restarted server is found at once.
inline constexpr syncbus::NatsTuning quick_nats{.min_backoff = std::chrono::milliseconds{5},
                                                .max_backoff = std::chrono::milliseconds{50}};

}  // namespace contract
