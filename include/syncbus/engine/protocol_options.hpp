// Converts a bus's options to those of its protocol machine.
#pragma once

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/core/actions.hpp>
#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

[[nodiscard]] inline core::ProtocolOptions protocol_options(NodeId self, const BusOptions& options,
                                                            bool lossless_sessions,
                                                            const HashSecret& hash_secret) {
  return {.self = self,
          .name = options.name,
          .zone = options.zone,
          .publish_only = options.publish_only,
          .observer = options.observer,
          .lossless_sessions = lossless_sessions,
          .connect_timeout = options.connect_timeout,
          .heartbeat = options.heartbeat,
          .peer_timeout = options.peer_timeout,
          .repair_timeout = options.repair_timeout,
          .control_rate = options.control_rate,
          .history_bytes = options.history_bytes,
          .queue_bytes = options.queue_bytes,
          .pending_bytes = options.pending_bytes,
          .max_peers = options.max_peers,
          .max_awaits = options.max_awaits,
          .hash_secret = hash_secret};
}

}  // namespace syncbus::inline v1::detail
