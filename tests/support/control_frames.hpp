// Control frames made by hand, as a stranger on the channel might send them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <vector>

#include <syncbus/core/wire/codec.hpp>
#include <syncbus/event.hpp>

#include "support/frames.hpp"

namespace support {

/// A heartbeat of `origin` to everybody, or to `destination` alone.
inline Frame heartbeat_frame(syncbus::NodeId origin, const syncbus::core::HeartbeatView& heartbeat,
                             syncbus::NodeId destination = {}) {
  Frame frame(syncbus::core::max_heartbeat_bytes);
  frame.resize(syncbus::core::encode_heartbeat(frame, origin, destination, heartbeat));
  if (frame.empty()) throw std::logic_error{"no valid heartbeat"};
  return frame;
}

inline Frame acknowledgement_frame(syncbus::NodeId origin, syncbus::NodeId destination,
                                   std::initializer_list<syncbus::core::Acknowledgement> entries) {
  Frame frame(syncbus::core::header_bytes + 1 + entries.size() * syncbus::core::max_acknowledgement_bytes);
  syncbus::core::AcknowledgementWriter writer{frame};
  for (const auto& entry : entries) {
    if (!writer.add(entry)) return {};
  }
  frame.resize(writer.finish(origin, destination));
  return frame;
}

inline Frame repair_request_frame(syncbus::NodeId origin, syncbus::NodeId publisher,
                                  std::initializer_list<syncbus::core::SequenceRange> ranges) {
  Frame frame(syncbus::core::max_repair_request_bytes);
  const std::vector<syncbus::core::SequenceRange> all{ranges};
  frame.resize(syncbus::core::encode_repair_request(frame, origin, publisher, publisher, all));
  return frame;
}

/// Carries `inside`, a frame of `origin`'s that was lost, to `destination` or, 0, to everybody.
inline Frame repair_frame(syncbus::NodeId origin, syncbus::NodeId destination, std::span<const std::byte> inside) {
  Frame frame(inside.size() + syncbus::core::repair_overhead_bytes);
  frame.resize(syncbus::core::encode_repair(frame, origin, destination, inside));
  return frame;
}

/// One frame of a welcome by `from`, to node 1.
inline Frame welcome_frame(syncbus::NodeId from, const std::vector<syncbus::core::WelcomeEntry>& entries,
                           std::uint16_t part = 0, std::uint16_t parts = 1) {
  Frame frame(std::size_t{16} << 10U);
  syncbus::core::WelcomeWriter writer{frame};
  for (const auto& entry : entries) {
    if (!writer.add(entry)) throw std::logic_error{"no room"};
  }
  frame.resize(writer.finish(1));
  syncbus::core::address_welcome(frame, from, syncbus::NodeId{1}, part, parts);
  return frame;
}

}  // namespace support
