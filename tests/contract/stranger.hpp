// Control frames made by hand, as a stranger on the channel might send them.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <stdexcept>

#include <syncbus/core/codec.hpp>
#include <syncbus/event.hpp>

#include "support/frames.hpp"

namespace contract {

using support::Frame;

/// A heartbeat to everybody.
[[nodiscard]] inline Frame heartbeat_frame(syncbus::NodeId origin, const syncbus::core::HeartbeatView& heartbeat) {
  std::array<std::byte, syncbus::core::max_heartbeat_bytes> buffer;
  const std::size_t size = syncbus::core::encode_heartbeat(buffer, origin, syncbus::NodeId{}, heartbeat);
  if (size == 0) throw std::logic_error{"no valid heartbeat"};
  return {buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size)};
}

/// A repair to everybody that carries `lost`, a frame of `origin`'s.
[[nodiscard]] inline Frame repair_frame(syncbus::NodeId origin, std::span<const std::byte> lost) {
  Frame frame(lost.size() + syncbus::core::repair_overhead_bytes);
  frame.resize(syncbus::core::encode_repair(frame, origin, syncbus::NodeId{}, lost));
  return frame;
}

}  // namespace contract
