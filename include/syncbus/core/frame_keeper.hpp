// The interface by which the ring offers a frame that it is about to overwrite.
#pragma once

#include <cstdint>

#include <syncbus/frame_bytes.hpp>

namespace syncbus::inline v1::core {

/// Keeps frames for longer than the ring has room for them.
class FrameKeeper {
 public:
  /// The ring is about to forget this frame, the oldest it has. The bytes are those that were handed over; they may be
  /// overwritten as soon as this returns. Calls nothing of the ring.
  virtual void before_overwriting(std::uint64_t sequence, Bytes frame) noexcept = 0;

 protected:
  ~FrameKeeper() = default;
};

}  // namespace syncbus::inline v1::core
