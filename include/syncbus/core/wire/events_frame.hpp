// The events frame: a numbered batch of events, built in place by appending, read without a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include <syncbus/core/wire/frame_header.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// One event as it travels. Type lease_revoked says that the key is a lease's id. Type resync is top: its key is empty
/// and `cause` says why; of other types `cause` means nothing.
struct WireEvent {
  EventType type = EventType::invalidate;
  std::string_view key{};
  std::uint64_t version = 0;  ///< 0: none
  ResyncCause cause = ResyncCause::requested;
  bool awaited = false;  ///< the publisher waits for acknowledgements

  friend constexpr bool operator==(const WireEvent&, const WireEvent&) = default;
};

/// Names one event of a publisher: the sequence of its frame, and its index in there.
struct EventId {
  std::uint64_t sequence = 0;
  std::uint32_t index = 0;

  friend constexpr bool operator==(const EventId&, const EventId&) = default;
};

/// Where the first event begins: behind the header, the sequence, and an empty block of optional fields.
inline constexpr std::size_t events_header_bytes = header_bytes + 8 + 1;

/// Whether the bytes look like an events frame of `origin`; nothing is checked. Enough for a frame that is only
/// counted.
[[nodiscard]] inline bool looks_like_events_of(NodeId origin, Bytes bytes) noexcept {
  return bytes.size() >= events_header_bytes && load_le<std::uint64_t>(bytes.data() + origin_offset) == origin.value &&
         bytes[type_offset] == static_cast<std::byte>(FrameType::events) &&
         bytes[version_offset] == std::byte{protocol_version} && load_le<std::uint32_t>(bytes.data()) == frame_magic;
}
/// The sequence of such bytes.
[[nodiscard]] inline std::uint64_t sequence_in(Bytes events_frame) noexcept {
  return load_le<std::uint64_t>(events_frame.data() + header_bytes);
}

inline constexpr std::size_t max_wire_key_bytes = std::size_t{16} << 20U;

/// Indexes of events in a frame are below this: no event has fewer than two bytes.
inline constexpr std::size_t max_frame_events = max_frame_bytes / 2;

// The bits of an event's first byte. Bits 0 to 3 and 7 are the kind: 0 to 4 as EventType, all others unknown.
inline constexpr std::uint8_t event_kind_mask = 0x8FU;
inline constexpr std::uint8_t event_has_version = 0x10U;
inline constexpr std::uint8_t event_awaited = 0x20U;
inline constexpr std::uint8_t event_has_extension = 0x40U;

static_assert(static_cast<int>(EventType::invalidate) == 0 && static_cast<int>(EventType::set) == 1 &&
                  static_cast<int>(EventType::remove) == 2 && static_cast<int>(EventType::lease_revoked) == 3 &&
                  static_cast<int>(EventType::resync) == 4,
              "these values are on the wire");
static_assert(static_cast<int>(ResyncCause::overflow) == 0 && static_cast<int>(ResyncCause::requested) == 6,
              "these values are on the wire");

/// How many bytes encode_event will write.
[[nodiscard]] constexpr std::size_t encoded_size(const WireEvent& event) noexcept {
  const std::size_t key = event.key.size();
  return 1 + (key < 0x80 ? 1 : varint_bytes(key)) + key + (event.version == 0 ? 0 : varint_bytes(event.version)) +
         (event.type == EventType::resync ? 1 : 0);
}

/// Appends one event at `out`, where encoded_size(event) bytes are free; returns its end. Precondition: the key is
/// empty exactly when the type is resync, and not above max_wire_key_bytes.
inline std::byte* encode_event(std::byte* out, const WireEvent& event) noexcept {
  const std::size_t key = event.key.size();
  out[0] = static_cast<std::byte>(static_cast<unsigned>(event.type) | (event.version == 0 ? 0U : event_has_version) |
                                  (event.awaited ? event_awaited : 0U));
  out[1] = static_cast<std::byte>(key);
  out = key < 0x80 ? out + 2 : encode_varint(out + 1, key);
  if (key != 0) std::memcpy(out, event.key.data(), key);
  out += key;
  if (event.version != 0) out = encode_varint(out, event.version);
  if (event.type == EventType::resync) *out++ = static_cast<std::byte>(event.cause);
  return out;
}

/// Marks the encoded event that begins here as awaited, in a frame that is not sealed yet.
inline void mark_awaited(std::byte& event) noexcept { event |= std::byte{event_awaited}; }

/// What follows the key of an event: version, cause, extension. Returns the event's end, or nullptr.
[[nodiscard]] inline const std::byte* decode_event_tail(const std::byte* at, const std::byte* end, std::uint8_t tag,
                                                        WireEvent& event) noexcept {
  const auto kind = static_cast<std::uint8_t>(tag & event_kind_mask);
  if ((tag & event_has_version) != 0) {
    at = decode_varint(at, end, event.version);
    if (at == nullptr) return nullptr;
  }
  if (kind == static_cast<std::uint8_t>(EventType::resync)) {
    if (!event.key.empty() || at == end) return nullptr;
    const auto cause = std::to_integer<std::uint8_t>(*at++);
    event.cause = cause < resync_cause_count ? static_cast<ResyncCause>(cause) : ResyncCause::incompatible;
  } else if (kind > static_cast<std::uint8_t>(EventType::resync)) {
    event = {EventType::resync, {}, 0, ResyncCause::incompatible, event.awaited};
  } else if (event.key.empty()) {
    return nullptr;
  }
  if ((tag & event_has_extension) != 0) {
    std::uint64_t extension = 0;
    at = decode_varint(at, end, extension);
    if (at == nullptr || extension > static_cast<std::uint64_t>(end - at)) return nullptr;
    at += extension;
  }
  return at;
}

/// Reads the event at `at` and returns its end, or nullptr when the bytes before `end` are not one. The key points into
/// the bytes. An unknown kind or cause reads as a resync with cause incompatible: whatever it says, it is covered.
[[nodiscard]] inline const std::byte* decode_event(const std::byte* at, const std::byte* end,
                                                   WireEvent& event) noexcept {
  if (end - at < 2) return nullptr;
  const auto tag = std::to_integer<std::uint8_t>(at[0]);
  std::uint64_t key = std::to_integer<std::uint8_t>(at[1]);
  at = key < 0x80 ? at + 2 : decode_varint(at + 1, end, key);
  if (at == nullptr || key > max_wire_key_bytes || key > static_cast<std::uint64_t>(end - at)) return nullptr;
  event.type = static_cast<EventType>(tag & event_kind_mask);
  event.key = {reinterpret_cast<const char*>(at), static_cast<std::size_t>(key)};
  event.version = 0;
  event.cause = ResyncCause::requested;
  event.awaited = (tag & event_awaited) != 0;
  at += key;
  const bool plain = (tag & static_cast<std::uint8_t>(~event_awaited)) < static_cast<std::uint8_t>(EventType::resync);
  if (plain && key != 0) [[likely]] {
    return at;
  }
  return decode_event_tail(at, end, tag, event);
}

/// Begins a frame in place: everything before the first event but the sequence and the checksum. `frame` has at least
/// events_header_bytes; events are appended behind them.
inline void begin_events_frame(std::span<std::byte> frame, NodeId origin) noexcept {
  encode_header(frame, FrameType::events, origin, NodeId{});
  store_le(frame.data() + header_bytes, std::uint64_t{0});
  frame[events_header_bytes - 1] = std::byte{0};
}

/// Binds the sequence (1 or above) and the checksum to a frame whose last event ends at its end: it is final from here
/// on.
inline void seal_events_frame(std::span<std::byte> frame, std::uint64_t sequence) noexcept {
  store_le(frame.data() + header_bytes, sequence);
  seal_frame(frame);
}

/// The events of a frame, first to last. A view into the frame: copying it is cheap and starts a second reading where
/// the first one stands.
class EventsView {
 public:
  EventsView() = default;

  [[nodiscard]] NodeId origin() const noexcept { return origin_; }
  [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }

  /// Whether any event of the frame is awaited, wherever the reading stands. Only decode_events has looked: of a view
  /// that reread_events made it is false and means nothing.
  [[nodiscard]] bool has_awaited() const noexcept { return has_awaited_; }

  /// Yields the next event; false behind the last. The first call yields index 0: the indexes that acknowledgements
  /// name.
  [[nodiscard]] bool next(WireEvent& event) noexcept {
    if (at_ == end_) return false;
    const std::byte* const after = decode_event(at_, end_, event);
    at_ = after == nullptr ? end_ : after;
    return after != nullptr;
  }

 private:
  friend FrameError decode_events(const FrameHeader& header, EventsView& view) noexcept;
  friend EventsView reread_events(Bytes frame) noexcept;

  EventsView(NodeId origin, WireReader body) noexcept : origin_{origin}, sequence_{body.u64()} {
    body.skip_fields();
    at_ = body.rest().data();  // when something failed, nothing is left and no sequence is right
    end_ = at_ + body.rest().size();
    if (body.failed()) sequence_ = 0;
  }

  NodeId origin_;
  std::uint64_t sequence_ = 0;
  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
  bool has_awaited_ = false;
};

/// Makes the view of an events frame: `ok`, or `malformed` when any part of the body does not parse; `view` is then as
/// it was. This is one pass over the lengths and flags of all events before the first is used, so nothing of a bad
/// frame has an effect. It reads no key, and next() repeats the same function on the same bytes: they cannot
/// disagree.
inline FrameError decode_events(const FrameHeader& header, EventsView& view) noexcept {
  if (header.type != FrameType::events) return FrameError::malformed;
  EventsView events{header.origin, WireReader{header.body}};
  if (events.sequence_ == 0) return FrameError::malformed;
  bool any_awaited = false;
  WireEvent event;
  for (const std::byte* at = events.at_; at != events.end_;) {
    at = decode_event(at, events.end_, event);
    if (at == nullptr) return FrameError::malformed;
    any_awaited |= event.awaited;
  }
  events.has_awaited_ = any_awaited;
  view = events;
  return FrameError::ok;
}

/// The view of an events frame that decode_header and decode_events have accepted before: no checksum, no pass over its
/// events.
[[nodiscard]] inline EventsView reread_events(Bytes frame) noexcept {
  const NodeId origin{load_le<std::uint64_t>(frame.data() + origin_offset)};
  return EventsView{origin, WireReader{frame.subspan(header_bytes)}};
}

}  // namespace syncbus::inline v1::core
