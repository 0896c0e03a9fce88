// The acknowledgement frame: how awaited events ended at its sender, many in one frame, and requests to say so.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <syncbus/core/wire/events_frame.hpp>
#include <syncbus/core/wire/frame_header.hpp>

namespace syncbus::inline v1::core {

/// What an entry says. The values are on the wire; an unknown one reads as pending, which satisfies nothing.
enum class AcknowledgementStatus : std::uint8_t {
  applied = 0,        ///< every matching handler has returned: the sender is a replica
  no_subscriber = 1,  ///< nothing at the sender matches the key
  pending = 2,        ///< the sender has the event, and a handler is still to return
  failed = 3,         ///< a matching handler threw: the sender will not become a replica
  requested = 4,      ///< a question: the publisher asks the receivers for any of the above
};

/// One entry: the events `index` to `index + count - 1` of one events frame of `publisher`. A run may cover events that
/// nobody awaits; they are ignored. Decoded, index + count is at most max_frame_events and may be far more than the
/// frame has: walk your own awaits, not the run.
struct Acknowledgement {
  NodeId publisher{};
  std::uint64_t sequence = 0;
  std::uint32_t index = 0;
  std::uint32_t count = 1;
  AcknowledgementStatus status = AcknowledgementStatus::applied;

  friend bool operator==(const Acknowledgement&, const Acknowledgement&) = default;
};

// The bits of an entry's first byte; bits 0 to 3 are the status, 7 is zero when sent and ignored. An extension is a
// varint length and so many bytes, which are skipped.
inline constexpr std::uint8_t acknowledgement_status_mask = 0x0FU;
inline constexpr std::uint8_t acknowledgement_names_publisher = 0x10U;
inline constexpr std::uint8_t acknowledgement_has_count = 0x20U;
inline constexpr std::uint8_t acknowledgement_has_extension = 0x40U;

/// No entry that is written is longer. A buffer of header_bytes + 1 + n * this holds n entries.
inline constexpr std::size_t max_acknowledgement_bytes = 1 + 8 + max_varint_bytes + 5 + 5;

/// Builds an acknowledgement frame in a caller's bytes, entry by entry. An entry that goes on where the last one ended
/// (same frame, same status, next index) extends it.
class AcknowledgementWriter {
 public:
  explicit AcknowledgementWriter(std::span<std::byte> out) noexcept : out_{out} {}

  [[nodiscard]] bool empty() const noexcept { return end_ == first_entry; }

  /// False when there is no room for it: finish this frame and begin another. Precondition: what Acknowledgement says,
  /// with a sequence and a count of at least 1.
  [[nodiscard]] bool add(const Acknowledgement& entry) noexcept {
    assert(entry.sequence != 0 && entry.count != 0);
    const bool extends = !empty() && entry.publisher == last_.publisher && entry.sequence == last_.sequence &&
                         entry.status == last_.status && entry.index == last_.index + last_.count;
    if (!extends) return append(end_, empty() || entry.publisher != last_.publisher, entry);
    Acknowledgement longer = last_;
    longer.count += entry.count;
    return append(last_begin_, last_names_publisher_, longer);
  }

  /// Completes the frame to `destination` (0: everybody) and returns its size in bytes; 0 when it has no entry.
  [[nodiscard]] std::size_t finish(NodeId origin, NodeId destination) noexcept {
    if (empty()) return 0;
    out_[header_bytes] = std::byte{0};  // no optional fields
    encode_header(out_, FrameType::acknowledgement, origin, destination);
    seal_frame(out_.first(end_));
    return end_;
  }

 private:
  static constexpr std::size_t first_entry = header_bytes + 1;

  // The bytes go to the frame only when all of them fit: a failed attempt to extend the last entry must leave it whole.
  bool append(std::size_t at, bool names_publisher, const Acknowledgement& entry) noexcept {
    std::array<std::byte, max_acknowledgement_bytes> bytes{};
    WireWriter writer{bytes};
    writer.u8(static_cast<std::uint8_t>(static_cast<unsigned>(entry.status) |
                                        (names_publisher ? acknowledgement_names_publisher : 0U) |
                                        (entry.count != 1 ? acknowledgement_has_count : 0U)));
    if (names_publisher) writer.u64(entry.publisher.value);
    writer.varint(entry.sequence);
    writer.varint(entry.index);
    if (entry.count != 1) writer.varint(entry.count);
    if (at > out_.size() || writer.size() > out_.size() - at) return false;
    std::memcpy(out_.data() + at, bytes.data(), writer.size());
    last_begin_ = at;
    last_names_publisher_ = names_publisher;
    last_ = entry;
    end_ = at + writer.size();
    return true;
  }

  std::span<std::byte> out_;
  std::size_t end_ = first_entry;
  std::size_t last_begin_ = first_entry;
  bool last_names_publisher_ = false;
  Acknowledgement last_;
};

/// The entries of an acknowledgement frame, first to last.
class AcknowledgementView {
 public:
  AcknowledgementView() = default;

  /// False behind the last.
  [[nodiscard]] bool next(Acknowledgement& entry) noexcept {
    if (rest_.at_end()) return false;
    const std::uint8_t tag = rest_.u8();
    const auto status = static_cast<std::uint8_t>(tag & acknowledgement_status_mask);
    if ((tag & acknowledgement_names_publisher) != 0) publisher_ = NodeId{rest_.u64()};
    const std::uint64_t sequence = rest_.varint();
    const std::uint64_t index = rest_.varint();
    const std::uint64_t count = (tag & acknowledgement_has_count) != 0 ? rest_.varint() : 1;
    if ((tag & acknowledgement_has_extension) != 0) rest_.bytes(rest_.varint());
    const bool possible = publisher_ != NodeId{} && sequence != 0 && count != 0 && index < max_frame_events &&
                          count <= max_frame_events - index;
    if (!possible) rest_.fail();
    entry.publisher = publisher_;
    entry.sequence = sequence;
    entry.index = static_cast<std::uint32_t>(index);
    entry.count = static_cast<std::uint32_t>(count);
    entry.status = status <= static_cast<std::uint8_t>(AcknowledgementStatus::requested)
                       ? static_cast<AcknowledgementStatus>(status)
                       : AcknowledgementStatus::pending;
    return !rest_.failed();
  }

 private:
  friend FrameError decode_acknowledgement(const FrameHeader& header, AcknowledgementView& view) noexcept;

  WireReader rest_{Bytes{}};
  NodeId publisher_;
};

/// `ok`, or `malformed` when there is no entry or any does not parse, before one is used: `view` is then as it was.
inline FrameError decode_acknowledgement(const FrameHeader& header, AcknowledgementView& view) noexcept {
  if (header.type != FrameType::acknowledgement) return FrameError::malformed;
  AcknowledgementView read;
  read.rest_ = WireReader{header.body};
  read.rest_.skip_fields();
  if (count_entries<Acknowledgement>(read, &AcknowledgementView::rest_) == 0) return FrameError::malformed;
  view = read;
  return FrameError::ok;
}

/// An entry of a few bytes is about thousands of events, and a frame holds thousands of entries. Honest frames name
/// each event once, so work beyond what that takes is not done: a node that misses an answer asks again.
class FrameWork {
 public:
  /// Steps that every frame may take, for entries about others' events; one frame of answers holds about as many.
  static constexpr std::size_t least = 4'096;

  /// `awaited`: how many events of this node's a frame can be about.
  explicit FrameWork(std::size_t awaited) noexcept : left_{least + 2 * awaited} {}

  /// Whether one step more may be done.
  [[nodiscard]] bool spend() noexcept {
    if (left_ == 0) return false;
    --left_;
    return true;
  }

 private:
  std::size_t left_;
};

}  // namespace syncbus::inline v1::core
