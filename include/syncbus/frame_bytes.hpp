// The bytes of a frame, and how many it may have: what the machine and the transports agree on.
#pragma once

#include <cstddef>
#include <span>

namespace syncbus::inline v1 {

using Bytes = std::span<const std::byte>;

/// No session begins on a broker that takes only smaller messages: what nodes tell each other besides events may be as
/// large.
inline constexpr std::size_t least_frame_bytes = 1'024;

/// No frame is larger, whatever the broker takes: it bounds indexes and counts.
inline constexpr std::size_t max_frame_bytes = std::size_t{64} << 20U;

}  // namespace syncbus::inline v1
