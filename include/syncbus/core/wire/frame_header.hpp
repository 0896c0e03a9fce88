// The header of every frame: origin, destination, type, and the checksum over all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <syncbus/core/wire/crc32c.hpp>
#include <syncbus/core/wire/wire.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// What a frame carries. The values are the bytes on the wire.
enum class FrameType : std::uint8_t {
  events = 1,           ///< a numbered batch of events
  heartbeat = 2,        ///< who and where a node is, and how far it got
  acknowledgement = 3,  ///< what became of awaited events, and questions about that
  repair_request = 4,   ///< which frames of a publisher were not seen
  repair = 5,           ///< one of its frames again
  welcome = 6,          ///< the answer to a hello: who is there
};

enum class [[nodiscard]] FrameError : std::uint8_t{
    ok,
    malformed,      ///< not a frame, or a damaged one: as if it had been lost
    other_version,  ///< whole and undamaged, of a major version that this library does not speak
};

inline constexpr std::uint32_t frame_magic = 0x73756273U;  // the bytes "sbus"
inline constexpr std::uint8_t protocol_version = 1;

// Offsets of the fields; those of magic, version, checksum, origin and destination hold for every version.
inline constexpr std::size_t version_offset = 4;
inline constexpr std::size_t type_offset = 5;
inline constexpr std::size_t reserved_offset = 6;
inline constexpr std::size_t checksum_offset = 8;
inline constexpr std::size_t origin_offset = 12;
inline constexpr std::size_t destination_offset = 20;
inline constexpr std::size_t header_bytes = 28;

/// A decoded header. `body` are the bytes behind it, in the frame.
struct FrameHeader {
  FrameType type = FrameType::events;
  NodeId origin{};
  NodeId destination{};  ///< 0: everybody
  Bytes body{};
};

/// The CRC32C of all bytes of the frame but the four that hold it. The frame has at least header_bytes.
[[nodiscard]] inline std::uint32_t frame_checksum(Bytes frame) noexcept {
  return crc32c(frame.subspan(origin_offset), crc32c(frame.first(checksum_offset)));
}

/// The checksum that a frame carries: it tells a whole frame from others of the same origin and number. The frame has
/// at least header_bytes.
[[nodiscard]] inline std::uint32_t checksum_in(Bytes frame) noexcept {
  return load_le<std::uint32_t>(frame.data() + checksum_offset);
}

/// Checks magic, checksum, version and type, in this order. With `other_version` only origin and destination are set;
/// with `malformed` the header is as it was. A node that is not `destination` (unless that is 0) ignores the frame.
inline FrameError decode_header(Bytes frame, FrameHeader& header) noexcept {
  if (frame.size() < header_bytes || frame.size() > max_frame_bytes) return FrameError::malformed;
  const std::byte* const at = frame.data();
  if (load_le<std::uint32_t>(at) != frame_magic) return FrameError::malformed;
  if (checksum_in(frame) != frame_checksum(frame)) return FrameError::malformed;
  const NodeId origin{load_le<std::uint64_t>(at + origin_offset)};
  const NodeId destination{load_le<std::uint64_t>(at + destination_offset)};
  if (origin == NodeId{}) return FrameError::malformed;
  if (std::to_integer<std::uint8_t>(at[version_offset]) != protocol_version) {
    header.origin = origin;
    header.destination = destination;
    return FrameError::other_version;
  }
  const auto type = std::to_integer<std::uint8_t>(at[type_offset]);
  if (type < static_cast<std::uint8_t>(FrameType::events) || type > static_cast<std::uint8_t>(FrameType::welcome)) {
    return FrameError::malformed;
  }
  header = {static_cast<FrameType>(type), origin, destination, frame.subspan(header_bytes)};
  return FrameError::ok;
}

/// Writes a header without its checksum. `frame` has at least header_bytes.
inline void encode_header(std::span<std::byte> frame, FrameType type, NodeId origin, NodeId destination) noexcept {
  std::byte* const at = frame.data();
  store_le(at, frame_magic);
  at[version_offset] = std::byte{protocol_version};
  at[type_offset] = static_cast<std::byte>(type);
  store_le(at + reserved_offset, std::uint16_t{0});
  store_le(at + checksum_offset, std::uint32_t{0});
  store_le(at + origin_offset, origin.value);
  store_le(at + destination_offset, destination.value);
}

/// Writes the checksum into a frame whose other bytes are final.
inline void seal_frame(std::span<std::byte> frame) noexcept {
  store_le(frame.data() + checksum_offset, frame_checksum(frame));
}

/// Begin and end of a control frame: a writer behind the place of the header, and the size of the finished frame (0: no
/// room).
[[nodiscard]] inline WireWriter begin_control_frame(std::span<std::byte> out) noexcept {
  WireWriter body{out};
  body.skip(header_bytes);
  return body;
}

[[nodiscard]] inline std::size_t finish_control_frame(std::span<std::byte> out, const WireWriter& body, FrameType type,
                                                      NodeId origin, NodeId destination) noexcept {
  const std::size_t size = body.size();
  if (size == 0) return 0;
  encode_header(out, type, origin, destination);
  seal_frame(out.first(size));
  return size;
}

}  // namespace syncbus::inline v1::core
