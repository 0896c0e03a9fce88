// A machine that awaits, and peers whose answers a test writes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

#include <syncbus/core/protocol.hpp>

#include "support/control_frames.hpp"
#include "support/machine.hpp"

namespace support {

/// A node that has joined.
struct Publisher : Node {
  explicit Publisher(const syncbus::core::ProtocolOptions& options = roomy()) : Node{options} { join(); }

  void meet(syncbus::NodeId peer, std::string_view zone = {}, bool publish_only = false) {
    on_frame(heartbeat_frame(
        peer, {.publish_only = publish_only, .number = 1, .interval = std::chrono::hours{1}, .zone = zone}));
  }
  void answer(syncbus::NodeId peer, std::uint64_t sequence, std::uint32_t index, Status status,
              std::uint32_t count = 1) {
    on_frame(acknowledgement_frame(peer, self, {{self, sequence, index, count, status}}));
  }
  [[nodiscard]] std::error_code outcome(std::size_t at = 0) const { return ended.at(at).error; }
};

}  // namespace support
