// The heartbeat frame: how far its sender is. With the answer-me flag it is a hello, with goodbye its last word.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include <syncbus/core/wire/frame_header.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// Names and zones are at most so many bytes; a bus with a longer one cannot be made.
inline constexpr std::size_t max_name_bytes = 255;

/// Announced intervals are cut to a day, in both directions, so that sums of them cannot overflow.
inline constexpr std::chrono::microseconds max_heartbeat_interval = std::chrono::hours{24};

/// What a heartbeat says. Decoded, `name` and `zone` point into the frame. The numbers are the sender's claims: they
/// may be as large as 2^64 - 1 and contradict each other, and whoever acts on them bounds what that costs.
struct HeartbeatView {
  bool answer_me = false;                ///< the sender asks each node that hears it to answer
  bool goodbye = false;                  ///< the sender ends here, on purpose
  bool publish_only = false;             ///< the sender receives nothing and acknowledges nothing
  bool moved = false;                    ///< the sender was on another broker until now, and others may have been
  bool observer = false;                 ///< the sender only watches: no quorum counts it or waits for it
  bool greets = false;                   ///< the sender can answer hellos with a welcome
  bool doubled = false;                  ///< another node has the sender's id, too: see Namesake
  std::uint64_t number = 0;              ///< of this heartbeat, 1, 2, 3 …
  std::uint64_t last_sequence = 0;       ///< of the sender's newest events frame; 0: it sent none
  std::uint64_t ahead = 0;               ///< so many more hold events that were accepted; ahead_unknown: nobody knows
  std::uint64_t oldest_sequence = 0;     ///< the oldest that it can still repair; last + 1: none
  std::uint64_t hello = 0;               ///< the sender joins and wants a welcome, for the first, second … time; 0: no
  std::uint64_t place = 0;               ///< where the sender is, and could be nowhere else: see Places; 0: not known
  std::chrono::microseconds interval{};  ///< until its next heartbeat, at the latest
  std::string_view name{};
  std::string_view zone{};
  NodeId newest_origin{};           ///< the newest heartbeat that the sender received, in its receive order;
  std::uint64_t newest_number = 0;  ///< origin 0: it received none

  friend bool operator==(const HeartbeatView&, const HeartbeatView&) = default;
};

/// Of HeartbeatView::ahead: events wait for room and have no sequence yet.
inline constexpr std::uint64_t ahead_unknown = (std::numeric_limits<std::uint64_t>::max)();

/// The last sequence that holds events which the sender has accepted, sent or not; none: nobody knows.
[[nodiscard]] inline std::optional<std::uint64_t> accepted_up_to(const HeartbeatView& heartbeat) noexcept {
  if (heartbeat.ahead >= ahead_unknown - heartbeat.last_sequence) return std::nullopt;
  return heartbeat.last_sequence + heartbeat.ahead;
}

/// What a heartbeat says about its sender's frames: see HeartbeatView.
struct PublishedExtent {
  std::uint64_t last = 0;
  std::uint64_t ahead = 0;
  std::uint64_t oldest = 0;
};

inline constexpr std::uint8_t heartbeat_answer_me = 1U;
inline constexpr std::uint8_t heartbeat_goodbye = 2U;
inline constexpr std::uint8_t heartbeat_publish_only = 4U;
inline constexpr std::uint8_t heartbeat_moved = 8U;
inline constexpr std::uint8_t heartbeat_observer = 16U;
inline constexpr std::uint8_t heartbeat_greets = 32U;
inline constexpr std::uint8_t heartbeat_doubled = 64U;

inline constexpr std::uint8_t heartbeat_field_ahead = 1;
inline constexpr std::uint8_t heartbeat_field_hello = 2;
inline constexpr std::uint8_t heartbeat_field_place = 3;

/// A place is a hash: eight bytes, behind a tag and a length.
inline constexpr std::size_t place_field_bytes = 2 + 8;

inline void write_place(WireWriter& fields, std::uint8_t tag, std::uint64_t place) noexcept {
  if (place == 0) return;
  fields.u8(tag);
  fields.varint(place_field_bytes - 2);
  fields.u64(place);
}
[[nodiscard]] constexpr std::uint64_t read_place(WireReader& field) noexcept {
  const std::uint64_t place = field.u64();
  if (!field.at_end()) field.fail();
  return place;
}

/// A buffer of so many bytes holds every heartbeat.
inline constexpr std::size_t max_heartbeat_bytes =
    header_bytes + 1 + 6 * max_varint_bytes + 2 * (1 + max_name_bytes) + 23 + place_field_bytes;
static_assert(max_heartbeat_bytes <= least_frame_bytes);

inline void write_interval(WireWriter& body, std::chrono::microseconds interval) noexcept {
  interval = (std::clamp)(interval, std::chrono::microseconds{0}, max_heartbeat_interval);
  body.varint(static_cast<std::uint64_t>(interval.count()));
}
[[nodiscard]] inline std::chrono::microseconds read_interval(WireReader& body) noexcept {
  const auto longest = static_cast<std::uint64_t>(max_heartbeat_interval.count());
  return std::chrono::microseconds{(std::min)(body.varint(), longest)};
}

/// Writes a heartbeat to `destination` (0: everybody) and returns its size in bytes; 0 when `out` is too small or a
/// name is too long.
[[nodiscard]] inline std::size_t encode_heartbeat(std::span<std::byte> out, NodeId origin, NodeId destination,
                                                  const HeartbeatView& heartbeat) noexcept {
  WireWriter body = begin_control_frame(out);
  body.u8(static_cast<std::uint8_t>((heartbeat.answer_me ? heartbeat_answer_me : 0U) |
                                    (heartbeat.goodbye ? heartbeat_goodbye : 0U) |
                                    (heartbeat.publish_only ? heartbeat_publish_only : 0U) |
                                    (heartbeat.moved ? heartbeat_moved : 0U) |
                                    (heartbeat.observer ? heartbeat_observer : 0U) |
                                    (heartbeat.greets ? heartbeat_greets : 0U) |
                                    (heartbeat.doubled ? heartbeat_doubled : 0U)));
  body.varint(heartbeat.number);
  body.varint(heartbeat.last_sequence);
  body.varint(heartbeat.oldest_sequence);
  write_interval(body, heartbeat.interval);
  body.short_string(heartbeat.name);
  body.short_string(heartbeat.zone);
  body.u64(heartbeat.newest_origin.value);
  body.varint(heartbeat.newest_number);
  const auto size_of = [](std::uint64_t value) { return value == 0 ? 0 : 2 + varint_bytes(value); };
  body.varint(size_of(heartbeat.ahead) + size_of(heartbeat.hello) + (heartbeat.place == 0 ? 0 : place_field_bytes));
  const auto field = [&body](std::uint8_t tag, std::uint64_t value) {
    if (value == 0) return;
    body.u8(tag);
    body.varint(varint_bytes(value));
    body.varint(value);
  };
  field(heartbeat_field_ahead, heartbeat.ahead);
  field(heartbeat_field_hello, heartbeat.hello);
  write_place(body, heartbeat_field_place, heartbeat.place);
  return finish_control_frame(out, body, FrameType::heartbeat, origin, destination);
}

/// `ok`, or `malformed`: `view` is then as it was.
inline FrameError decode_heartbeat(const FrameHeader& header, HeartbeatView& view) noexcept {
  if (header.type != FrameType::heartbeat) return FrameError::malformed;
  WireReader body{header.body};
  HeartbeatView read;
  const std::uint8_t flags = body.u8();  // unknown ones are ignored
  read.answer_me = (flags & heartbeat_answer_me) != 0;
  read.goodbye = (flags & heartbeat_goodbye) != 0;
  read.publish_only = (flags & heartbeat_publish_only) != 0;
  read.moved = (flags & heartbeat_moved) != 0;
  read.observer = (flags & heartbeat_observer) != 0;
  read.greets = (flags & heartbeat_greets) != 0;
  read.doubled = (flags & heartbeat_doubled) != 0;
  read.number = body.varint();
  read.last_sequence = body.varint();
  read.oldest_sequence = body.varint();
  read.interval = read_interval(body);
  read.name = body.short_string();
  read.zone = body.short_string();
  read.newest_origin = NodeId{body.u64()};
  read.newest_number = body.varint();
  body.fields([&read](std::uint8_t tag, WireReader& field) {
    if (tag == heartbeat_field_place) read.place = read_place(field);
    if (tag != heartbeat_field_ahead && tag != heartbeat_field_hello) return;
    (tag == heartbeat_field_ahead ? read.ahead : read.hello) = field.varint();
    if (!field.at_end()) field.fail();
  });
  if (body.failed() || !body.at_end()) return FrameError::malformed;
  view = read;
  return FrameError::ok;
}

}  // namespace syncbus::inline v1::core
