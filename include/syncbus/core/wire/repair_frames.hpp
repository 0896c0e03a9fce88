// The repair frames: a request names missing frames of a publisher; a repair carries one again, byte for byte.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include <syncbus/core/wire/events_frame.hpp>
#include <syncbus/core/wire/frame_header.hpp>
#include <syncbus/core/wire/sequence_range.hpp>

namespace syncbus::inline v1::core {

/// A request names at most so many ranges; what is missing beyond them is for the next one.
inline constexpr std::size_t max_request_ranges = 64;

/// A publisher answers for at most so many frames at once, and nobody asks for more: full ones are 4 MiB.
inline constexpr std::size_t max_requested_frames = 128;

/// A buffer of so many bytes holds every repair request.
inline constexpr std::size_t max_repair_request_bytes =
    header_bytes + 8 + 1 + max_request_ranges * 2 * max_varint_bytes;

/// A request that is written.
struct RepairRequest {
  NodeId publisher{};
  std::size_t bytes = 0;
};

/// How many ranges a request of so many bytes holds.
[[nodiscard]] constexpr std::size_t ranges_that_fit(std::size_t bytes) noexcept {
  const std::size_t before = header_bytes + 8 + 1;
  return (std::min)((bytes - (std::min)(bytes, before)) / (2 * max_varint_bytes), max_request_ranges);
}

/// The first of some ranges: as many as hold `frames` sequences, the last one cut, and at most `most` of them.
class RequestedRanges {
 public:
  RequestedRanges(std::span<const SequenceRange> ranges, std::uint64_t frames, std::size_t most) noexcept {
    for (const SequenceRange& range : ranges) {
      if (frames_ == frames || count_ == (std::min)(most, max_request_ranges)) return;
      SequenceRange& first = ranges_[count_++];
      first = {range.first, range.first + (std::min)(range.last - range.first, frames - frames_ - 1)};
      frames_ += first.last - first.first + 1;
    }
  }

  [[nodiscard]] std::span<const SequenceRange> all() const noexcept { return std::span{ranges_}.first(count_); }
  [[nodiscard]] std::uint64_t frames() const noexcept { return frames_; }

 private:
  std::array<SequenceRange, max_request_ranges> ranges_{};
  std::size_t count_ = 0;
  std::uint64_t frames_ = 0;
};

/// What a repair adds to the frame inside. An events frame that may need repair is at most the broker's limit less
/// this.
inline constexpr std::size_t repair_overhead_bytes = header_bytes + 1;

/// Writes a request to `destination` (0: everybody) for frames of `publisher`, and returns its size in bytes; 0 when
/// `out` is too small, or when the ranges are not 1 to max_request_ranges, ascending and disjoint, of sequences from 1.
[[nodiscard]] inline std::size_t encode_repair_request(std::span<std::byte> out, NodeId origin, NodeId destination,
                                                       NodeId publisher,
                                                       std::span<const SequenceRange> ranges) noexcept {
  if (ranges.empty() || ranges.size() > max_request_ranges) return 0;
  WireWriter body = begin_control_frame(out);
  body.u64(publisher.value);
  body.varint(0);  // no optional fields
  std::uint64_t before = 0;
  for (const SequenceRange& range : ranges) {
    if (range.first <= before || range.last < range.first) return 0;
    body.varint(range.first - before - 1);
    body.varint(range.last - range.first);
    before = range.last;
  }
  return finish_control_frame(out, body, FrameType::repair_request, origin, destination);
}

/// The ranges of a repair request: ascending and disjoint, by the way they are encoded. Their ends may be as large as
/// 2^64 - 1: the publisher intersects them with its history.
class RepairRequestView {
 public:
  RepairRequestView() = default;

  [[nodiscard]] NodeId publisher() const noexcept { return publisher_; }

  /// False behind the last.
  [[nodiscard]] bool next(SequenceRange& range) noexcept {
    if (rest_.at_end()) return false;
    constexpr auto most = (std::numeric_limits<std::uint64_t>::max)();
    const std::uint64_t skipped = rest_.varint();
    const std::uint64_t more = rest_.varint();
    if (before_ == most || skipped > most - before_ - 1) {
      rest_.fail();
    } else if (const std::uint64_t first = before_ + 1 + skipped; more > most - first) {
      rest_.fail();
    } else {
      range = {first, first + more};
      before_ = range.last;
    }
    return !rest_.failed();
  }

 private:
  friend FrameError decode_repair_request(const FrameHeader& header, RepairRequestView& view) noexcept;

  NodeId publisher_;
  WireReader rest_{Bytes{}};
  std::uint64_t before_ = 0;  // the end of the range read last
};

/// `ok`, or `malformed` when there is no range or any does not parse, before one is used: `view` is then as it was.
inline FrameError decode_repair_request(const FrameHeader& header, RepairRequestView& view) noexcept {
  if (header.type != FrameType::repair_request) return FrameError::malformed;
  RepairRequestView read;
  read.rest_ = WireReader{header.body};
  read.publisher_ = NodeId{read.rest_.u64()};
  read.rest_.skip_fields();
  const std::size_t count = count_entries<SequenceRange>(read, &RepairRequestView::rest_);
  if (count == 0 || count > max_request_ranges) return FrameError::malformed;
  if (read.publisher_ == NodeId{}) return FrameError::malformed;
  view = read;
  return FrameError::ok;
}

/// Wraps a sealed events frame into a repair to `destination` (0: everybody) and returns its size in bytes; 0 when
/// `out` is too small.
[[nodiscard]] inline std::size_t encode_repair(std::span<std::byte> out, NodeId origin, NodeId destination,
                                               Bytes events_frame) noexcept {
  WireWriter body = begin_control_frame(out);
  body.varint(0);  // no optional fields
  body.bytes(events_frame);
  const std::size_t size = finish_control_frame(out, body, FrameType::repair, origin, destination);
  return size > max_frame_bytes ? 0 : size;
}

/// A repair: an events frame inside, as its publisher broadcast it first. Treat `events` as if they had come by
/// themselves.
struct RepairView {
  Bytes frame{};  ///< the events frame
  EventsView events{};
};

/// `ok`, or `malformed`, also when what is inside is not a broadcast events frame of this version, whole by its own
/// checksum; `view` is then as it was.
inline FrameError decode_repair(const FrameHeader& header, RepairView& view) noexcept {
  if (header.type != FrameType::repair) return FrameError::malformed;
  WireReader body{header.body};
  body.skip_fields();
  FrameHeader inner;
  if (body.failed() || decode_header(body.rest(), inner) != FrameError::ok) return FrameError::malformed;
  if (inner.destination != NodeId{} || decode_events(inner, view.events) != FrameError::ok)
    return FrameError::malformed;
  view.frame = body.rest();
  return FrameError::ok;
}

}  // namespace syncbus::inline v1::core
