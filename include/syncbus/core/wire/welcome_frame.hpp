// The welcome frame: the one answer to a hello. It names all nodes that its sender knows, so that a node that joins
// knows them from the first moment.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <syncbus/core/wire/frame_header.hpp>
#include <syncbus/core/wire/heartbeat_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// A welcome is at most so many frames: all peers of the largest table, by a broker with small frames.
inline constexpr std::uint16_t max_welcome_parts = 4'096;

inline constexpr std::uint8_t welcome_not_current = 64U;
inline constexpr std::uint8_t welcome_field_place = 1;

/// What a welcome says about one node. Decoded, `name` and `zone` point into the frame.
struct WelcomeEntry {
  NodeId node{};
  bool publish_only = false;
  bool observer = false;
  bool greets = false;
  bool current = true;                ///< its last sequence is; else it is not known, and 0
  std::uint64_t number = 0;           ///< of the newest heartbeat that the rest comes from; 0: none, only frames
  std::uint64_t last_sequence = 0;    ///< of its events frames, the last that the welcome's sender has received
  std::uint64_t oldest_sequence = 0;  ///< that it can repair; 0: not known
  std::chrono::microseconds interval{};
  std::string_view name{};
  std::string_view zone{};
  std::uint64_t place = 0;  ///< that heartbeat told it, too; 0: it did not

  friend bool operator==(const WelcomeEntry&, const WelcomeEntry&) = default;
};

/// What comes before the entries: the number of the welcome, how many frames it is, which of them this is, no fields.
inline constexpr std::size_t welcome_header_bytes = header_bytes + 8 + 2 + 2 + 1;

/// An entry takes at most so many bytes.
inline constexpr std::size_t max_welcome_entry_bytes =
    8 + 1 + 4 * max_varint_bytes + 2 * (1 + max_name_bytes) + 1 + place_field_bytes;
static_assert(welcome_header_bytes + max_welcome_entry_bytes <= least_frame_bytes);

/// Writes one frame of a welcome.
class WelcomeWriter {
 public:
  explicit WelcomeWriter(std::span<std::byte> out) noexcept : out_{out}, body_{out} {
    body_.skip(welcome_header_bytes);
  }

  /// False, and nothing is written: there is no room, or a name is too long.
  [[nodiscard]] bool add(const WelcomeEntry& entry) noexcept {
    WireWriter with = body_;
    with.u64(entry.node.value);
    with.u8(static_cast<std::uint8_t>((entry.publish_only ? heartbeat_publish_only : 0U) |
                                      (entry.observer ? heartbeat_observer : 0U) |
                                      (entry.greets ? heartbeat_greets : 0U) |
                                      (entry.current ? 0U : welcome_not_current)));
    with.varint(entry.number);
    with.varint(entry.last_sequence);
    with.varint(entry.oldest_sequence);
    write_interval(with, entry.interval);
    with.short_string(entry.name);
    with.short_string(entry.zone);
    with.varint(entry.place == 0 ? 0 : place_field_bytes);
    write_place(with, welcome_field_place, entry.place);
    if (with.size() == 0) return false;
    body_ = with;
    return true;
  }

  /// The size of the frame; 0: there was no room for its header. It is complete with
  /// address_welcome().
  [[nodiscard]] std::size_t finish(std::uint64_t number) noexcept {
    if (body_.size() == 0) return 0;
    WireWriter header{out_};
    header.skip(header_bytes);
    header.u64(number);
    header.u16(1);
    header.u16(0);
    header.varint(0);  // no optional fields
    return body_.size();
  }

 private:
  std::span<std::byte> out_;
  WireWriter body_;
};

/// Completes a finished frame: it is part `part` of `parts`, for `destination` (0: everybody). May be done again.
inline void address_welcome(std::span<std::byte> frame, NodeId origin, NodeId destination, std::uint16_t part,
                            std::uint16_t parts) noexcept {
  store_le(frame.data() + header_bytes + 8, parts);
  store_le(frame.data() + header_bytes + 10, part);
  encode_header(frame, FrameType::welcome, origin, destination);
  seal_frame(frame);
}

/// The entries of one frame of a welcome.
class WelcomeView {
 public:
  WelcomeView() = default;

  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  [[nodiscard]] std::uint16_t parts() const noexcept { return parts_; }
  [[nodiscard]] std::uint16_t part() const noexcept { return part_; }

  /// False behind the last.
  [[nodiscard]] bool next(WelcomeEntry& entry) noexcept {
    if (rest_.at_end()) return false;
    entry.node = NodeId{rest_.u64()};
    const std::uint8_t flags = rest_.u8();  // unknown ones are ignored
    entry.publish_only = (flags & heartbeat_publish_only) != 0;
    entry.observer = (flags & heartbeat_observer) != 0;
    entry.greets = (flags & heartbeat_greets) != 0;
    entry.current = (flags & welcome_not_current) == 0;
    entry.number = rest_.varint();
    entry.last_sequence = rest_.varint();
    entry.oldest_sequence = rest_.varint();
    entry.interval = read_interval(rest_);
    entry.name = rest_.short_string();
    entry.zone = rest_.short_string();
    entry.place = 0;
    rest_.fields([&entry](std::uint8_t tag, WireReader& field) {
      if (tag == welcome_field_place) entry.place = read_place(field);
    });
    if (entry.node == NodeId{}) rest_.fail();
    return !rest_.failed();
  }

 private:
  friend FrameError decode_welcome(const FrameHeader& header, WelcomeView& view) noexcept;

  std::uint64_t number_ = 0;
  std::uint16_t parts_ = 0;
  std::uint16_t part_ = 0;
  WireReader rest_{Bytes{}};
};

/// `ok`, or `malformed` when any entry does not parse, before one is used: `view` is then as it was.
inline FrameError decode_welcome(const FrameHeader& header, WelcomeView& view) noexcept {
  if (header.type != FrameType::welcome) return FrameError::malformed;
  WelcomeView read;
  read.rest_ = WireReader{header.body};
  read.number_ = read.rest_.u64();
  read.parts_ = read.rest_.u16();
  read.part_ = read.rest_.u16();
  read.rest_.skip_fields();
  if (read.part_ >= read.parts_ || read.parts_ > max_welcome_parts) return FrameError::malformed;
  if (count_entries<WelcomeEntry>(read, &WelcomeView::rest_) == 0) return FrameError::malformed;
  view = read;
  return FrameError::ok;
}

}  // namespace syncbus::inline v1::core
