// Frames made by hand, as a stranger on the channel might send them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include <syncbus/core/wire/codec.hpp>
#include <syncbus/event.hpp>

namespace support {

using Frame = std::vector<std::byte>;

[[nodiscard]] inline syncbus::Bytes bytes_of(std::string_view text) noexcept { return std::as_bytes(std::span{text}); }

/// An events frame as a node of this id would send it.
inline Frame events_frame(syncbus::NodeId origin, std::uint64_t sequence,
                          std::initializer_list<syncbus::core::WireEvent> events) {
  std::size_t size = syncbus::core::events_header_bytes;
  for (const auto& event : events) size += syncbus::core::encoded_size(event);
  Frame frame(size);
  syncbus::core::begin_events_frame(frame, origin);
  std::byte* at = frame.data() + syncbus::core::events_header_bytes;
  for (const auto& event : events) at = syncbus::core::encode_event(at, event);
  syncbus::core::seal_events_frame(frame, sequence);
  return frame;
}

/// The same frame with one byte changed and the checksum made right again: valid, but of another content.
inline Frame altered(Frame frame, std::size_t offset, std::byte value) {
  frame[offset] = value;
  syncbus::core::seal_frame(frame);
  return frame;
}

}  // namespace support
