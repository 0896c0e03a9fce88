// The codec where test vectors do not reach: limits, building in place, buffers that are too small.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/core/wire/codec.hpp>
#include <syncbus/transport.hpp>  // declares Bytes too: both must be one type

#include "support/catch.hpp"
#include "support/reencode.hpp"

namespace {

namespace core = syncbus::core;
using namespace std::chrono_literals;
using syncbus::EventType;
using syncbus::NodeId;
using syncbus::ResyncCause;
using support::Frame;

constexpr NodeId us{0x1111}, them{0x2222};
constexpr auto most = (std::numeric_limits<std::uint64_t>::max)();

Frame events_frame(std::span<const core::WireEvent> events, std::uint64_t sequence = 1) {
  Frame frame(core::events_header_bytes);
  core::begin_events_frame(frame, us);
  for (const core::WireEvent& event : events) {
    const std::size_t begin = frame.size();
    frame.resize(begin + core::encoded_size(event));
    REQUIRE(core::encode_event(frame.data() + begin, event) == frame.data() + frame.size());
  }
  core::seal_events_frame(frame, sequence);
  return frame;
}

core::FrameHeader header_of(syncbus::Bytes frame) {
  core::FrameHeader header;
  REQUIRE(core::decode_header(frame, header) == core::FrameError::ok);
  return header;
}

core::EventsView view_of(syncbus::Bytes frame) {
  core::EventsView view;
  REQUIRE(core::decode_events(header_of(frame), view) == core::FrameError::ok);
  return view;
}

std::vector<core::WireEvent> events_of(core::EventsView view) {
  std::vector<core::WireEvent> events;
  core::WireEvent event;
  while (view.next(event)) events.push_back(event);
  return events;
}

/// A frame of exactly `size` bytes whose only event is filled up by an extension of three varint bytes or more.
Frame frame_of_size(std::size_t size) {
  Frame frame(size);
  core::begin_events_frame(frame, us);
  std::byte* at = frame.data() + core::events_header_bytes;
  *at++ = std::byte{core::event_has_extension};
  *at++ = std::byte{1};
  *at++ = std::byte{'k'};
  const std::size_t left = size - core::events_header_bytes - 3;
  core::encode_varint(at, left - core::varint_bytes(left));
  core::seal_events_frame(frame, 1);
  return frame;
}

std::vector<core::Acknowledgement> entries_of(syncbus::Bytes frame) {
  core::AcknowledgementView view;
  REQUIRE(core::decode_acknowledgement(header_of(frame), view) == core::FrameError::ok);
  std::vector<core::Acknowledgement> entries;
  core::Acknowledgement entry;
  while (view.next(entry)) entries.push_back(entry);
  return entries;
}

constexpr bool little_endian_bytes_are_the_same_at_compile_time() {
  std::array<std::byte, 9> bytes{};
  core::store_le(bytes.data() + 1, std::uint64_t{0x0807060504030201U});
  for (std::size_t i = 0; i != 9; ++i) {
    if (bytes[i] != static_cast<std::byte>(i)) return false;
  }
  return core::load_le<std::uint32_t>(bytes.data() + 3) == 0x06050403U;
}

static_assert(little_endian_bytes_are_the_same_at_compile_time());
static_assert(noexcept(core::encode_event(nullptr, std::declval<const core::WireEvent&>())));
static_assert(noexcept(core::decode_header({}, std::declval<core::FrameHeader&>())));
static_assert(noexcept(std::declval<core::EventsView&>().next(std::declval<core::WireEvent&>())));

}  // namespace

TEST_CASE("fixed integers are little-endian at any alignment", "[codec]") {
  std::array<std::byte, 9> bytes{};
  core::store_le(bytes.data() + 1, std::uint64_t{0x0807060504030201U});
  for (std::size_t i = 0; i != 9; ++i) CHECK(bytes[i] == static_cast<std::byte>(i));
  CHECK(core::load_le<std::uint32_t>(bytes.data() + 3) == 0x06050403U);
}

TEST_CASE("a varint takes one byte for each seven bits and comes back", "[codec]") {
  for (unsigned bits = 0; bits != 64; ++bits) {
    for (const std::uint64_t value : {(std::uint64_t{1} << bits) - 1, std::uint64_t{1} << bits, most >> bits}) {
      std::array<std::byte, core::max_varint_bytes> bytes{};
      const std::byte* const end = core::encode_varint(bytes.data(), value);
      CHECK(static_cast<std::size_t>(end - bytes.data()) == core::varint_bytes(value));
      std::uint64_t decoded = ~value;
      CHECK(core::decode_varint(bytes.data(), end, decoded) == end);
      CHECK(decoded == value);
      CHECK(core::decode_varint(bytes.data(), end - 1, decoded) == nullptr);
    }
  }
  CHECK(core::varint_bytes(127) == 1);
  CHECK(core::varint_bytes(128) == 2);
  CHECK(core::varint_bytes(most) == 10);
}

TEST_CASE("a reader that failed reads zeros from then on", "[codec]") {
  const std::array bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  core::WireReader reader{bytes};
  CHECK(reader.u8() == 1);
  CHECK_FALSE(reader.failed());
  CHECK(reader.u64() == 0);
  CHECK(reader.failed());
  CHECK(reader.u8() == 0);
  CHECK(reader.varint() == 0);
  CHECK(reader.short_string().empty());
  CHECK(reader.at_end());
}

TEST_CASE("a writer that ran out of room has written nothing", "[codec]") {
  std::array<std::byte, 3> bytes{};
  core::WireWriter writer{bytes};
  writer.u8(1);
  CHECK(writer.size() == 1);
  writer.u64(2);
  CHECK(writer.size() == 0);
  writer.u8(3);
  CHECK(writer.size() == 0);
  CHECK(bytes[1] == std::byte{0});
}

TEST_CASE("an event of a key below 128 bytes adds two bytes to its key", "[codec]") {
  const std::string key(127, 'k');
  CHECK(core::encoded_size({.type = EventType::remove, .key = key}) == 129);
  CHECK(core::encoded_size({.type = EventType::lease_revoked, .key = key, .awaited = true}) == 129);
  CHECK(core::encoded_size({.type = EventType::set, .key = "k", .version = 127}) == 4);
  CHECK(core::encoded_size({.type = EventType::set, .key = "k", .version = 128}) == 5);
  CHECK(core::encoded_size({.type = EventType::resync}) == 3);
}

TEST_CASE("events come back in order, with keys of every length, as views into the frame", "[codec]") {
  std::vector<std::string> keys;
  for (const std::size_t size : {1U, 2U, 31U, 126U, 127U, 128U, 129U, 16'383U, 16'384U}) keys.emplace_back(size, 'k');
  std::vector<core::WireEvent> events;
  for (const std::string& key : keys) {
    for (const EventType type : {EventType::invalidate, EventType::set, EventType::remove, EventType::lease_revoked}) {
      for (const std::uint64_t version : {std::uint64_t{0}, std::uint64_t{1}, most}) {
        events.push_back({.type = type, .key = key, .version = version, .awaited = (version & 1U) == key.size() % 2});
      }
    }
  }
  events.push_back({.type = EventType::resync, .cause = ResyncCause::overflow, .awaited = true});
  const Frame frame = events_frame(events, 42);
  const core::EventsView view = view_of(frame);
  CHECK(view.origin() == us);
  CHECK(view.sequence() == 42);
  const auto decoded = events_of(view);
  CHECK(decoded == events);
  for (const core::WireEvent& event : decoded) {
    const auto* const key = reinterpret_cast<const std::byte*>(event.key.data());
    CHECK((key > frame.data() && key + event.key.size() <= frame.data() + frame.size()));
  }
  CHECK(events_of(core::reread_events(frame)) == events);
  CHECK(core::reread_events(frame).sequence() == 42);
  CHECK(core::reread_events(frame).origin() == us);
}

TEST_CASE("a copy of a view reads on from where the view stands", "[codec]") {
  const std::array<core::WireEvent, 3> events{{{.key = "a"}, {.key = "b"}, {.key = "c"}}};
  const Frame frame = events_frame(events);
  core::EventsView view = view_of(frame);
  core::WireEvent event;
  REQUIRE(view.next(event));
  CHECK(events_of(view).size() == 2);
  CHECK(events_of(view).size() == 2);
  REQUIRE(view.next(event));
  CHECK(event.key == "b");
}

TEST_CASE("an event can be marked as awaited after it was encoded", "[codec]") {
  const std::array<core::WireEvent, 2> events{{{.type = EventType::set, .key = "a", .version = 9}, {.key = "b"}}};
  Frame frame = events_frame(events);
  core::mark_awaited(frame[core::events_header_bytes]);
  core::seal_events_frame(frame, 1);
  const auto decoded = events_of(view_of(frame));
  CHECK(decoded[0] == core::WireEvent{.type = EventType::set, .key = "a", .version = 9, .awaited = true});
  CHECK(decoded[1] == events[1]);
}

TEST_CASE("a decoded frame tells whether any of its events is awaited, wherever that stands", "[codec]") {
  std::array<core::WireEvent, 4> events{{{.key = "a"},
                                         {.type = EventType::set, .key = "b", .version = 9},
                                         {.type = EventType::resync},
                                         {.type = EventType::lease_revoked, .key = "l"}}};
  CHECK_FALSE(view_of(events_frame({})).has_awaited());
  CHECK_FALSE(view_of(events_frame(events)).has_awaited());
  CHECK_FALSE(core::EventsView{}.has_awaited());
  for (core::WireEvent& event : events) {
    event.awaited = true;
    CHECK(view_of(events_frame(events)).has_awaited());
    event.awaited = false;
  }
}

TEST_CASE("a view that has been read to its end still tells that the frame has an awaited event", "[codec]") {
  const std::array<core::WireEvent, 2> events{{{.key = "a", .awaited = true}, {.key = "b"}}};
  const Frame frame = events_frame(events);
  core::EventsView view = view_of(frame);
  core::WireEvent event;
  while (view.next(event)) {
  }
  CHECK(view.has_awaited());
}

TEST_CASE("sealing again with another sequence changes nothing but sequence and checksum", "[codec]") {
  const std::array<core::WireEvent, 1> events{{{.key = "a"}}};
  Frame frame = events_frame(events, 1);
  core::seal_events_frame(frame, most);
  CHECK(view_of(frame).sequence() == most);
  core::seal_events_frame(frame, 1);
  CHECK(frame == events_frame(events, 1));
}

TEST_CASE("a malformed body leaves the view as it was", "[codec]") {
  const std::array<core::WireEvent, 2> events{{{.key = "a"}, {.key = "b"}}};
  const Frame good = events_frame(events, 5);
  Frame bad = events_frame(events, 6);
  bad[core::events_header_bytes + 4] = std::byte{9};  // the length of b
  core::seal_events_frame(bad, 6);
  core::EventsView view = view_of(good);
  CHECK(core::decode_events(header_of(bad), view) == core::FrameError::malformed);
  CHECK(view.sequence() == 5);
  CHECK(events_of(view).size() == 2);
}

TEST_CASE("a key above 16 MiB is malformed", "[codec]") {
  const std::string key(core::max_wire_key_bytes, 'k');
  CHECK(events_of(view_of(events_frame(std::array{core::WireEvent{.key = key}})))[0].key == key);
  const std::string longer = key + 'k';
  const Frame frame = events_frame(std::array{core::WireEvent{.key = longer}});
  core::EventsView view;
  CHECK(core::decode_events(header_of(frame), view) == core::FrameError::malformed);
}

TEST_CASE("a frame above 64 MiB is malformed", "[codec]") {
  CHECK(events_of(view_of(frame_of_size(syncbus::max_frame_bytes)))[0].key == "k");
  core::FrameHeader header;
  CHECK(core::decode_header(frame_of_size(syncbus::max_frame_bytes + 1), header) == core::FrameError::malformed);
}

TEST_CASE("a frame of another version tells its origin and destination", "[codec]") {
  Frame frame(core::header_bytes);
  core::encode_header(frame, core::FrameType::events, us, them);
  frame[core::version_offset] = std::byte{core::protocol_version + 1};
  core::seal_frame(frame);
  core::FrameHeader header;
  CHECK(core::decode_header(frame, header) == core::FrameError::other_version);
  CHECK(header.origin == us);
  CHECK(header.destination == them);
}

TEST_CASE("a decoded header shows the body in the frame", "[codec]") {
  const Frame frame = events_frame(std::array{core::WireEvent{.key = "k"}});
  const core::FrameHeader header = header_of(frame);
  CHECK(header.body.data() == frame.data() + core::header_bytes);
  CHECK(header.body.size() == frame.size() - core::header_bytes);
  CHECK(header.destination == NodeId{});
}

TEST_CASE("the largest heartbeat fits into max_heartbeat_bytes, and into nothing smaller than itself", "[codec]") {
  const std::string name(core::max_name_bytes, 'n');
  core::HeartbeatView heartbeat{.answer_me = true, .goodbye = true, .publish_only = true, .moved = true};
  heartbeat.number = heartbeat.last_sequence = heartbeat.oldest_sequence = heartbeat.newest_number = most;
  heartbeat.ahead = heartbeat.hello = heartbeat.place = most;
  heartbeat.interval = core::max_heartbeat_interval;
  heartbeat.name = heartbeat.zone = name;
  heartbeat.newest_origin = NodeId{most};
  Frame out(core::max_heartbeat_bytes);
  const std::size_t size = core::encode_heartbeat(out, us, them, heartbeat);
  REQUIRE(size != 0);
  core::HeartbeatView decoded;
  REQUIRE(core::decode_heartbeat(header_of(syncbus::Bytes{out}.first(size)), decoded) == core::FrameError::ok);
  CHECK(decoded == heartbeat);
  std::size_t fitted = 0;
  for (std::size_t room = 0; room != size; ++room) {
    fitted += core::encode_heartbeat(std::span{out}.first(room), us, them, heartbeat) != 0;
  }
  CHECK(fitted == 0);
}

TEST_CASE("a name or zone above 255 bytes is not encoded", "[codec]") {
  const std::string longer(core::max_name_bytes + 1, 'n');
  Frame out(4 * core::max_heartbeat_bytes);
  CHECK(core::encode_heartbeat(out, us, {}, {.name = longer}) == 0);
  CHECK(core::encode_heartbeat(out, us, {}, {.zone = longer}) == 0);
}

TEST_CASE("an announced interval is cut to zero and to a day", "[codec]") {
  using Case = std::pair<std::chrono::microseconds, std::chrono::microseconds>;
  for (const auto& [given, read] : {Case{-1us, 0us}, Case{20ms, 20ms}, Case{24h, 24h}, Case{24h + 1us, 24h},
                                    Case{(std::chrono::microseconds::max)(), 24h}}) {
    Frame out(core::max_heartbeat_bytes);
    core::HeartbeatView decoded;
    const std::size_t size = core::encode_heartbeat(out, us, {}, {.interval = given});
    REQUIRE(core::decode_heartbeat(header_of(syncbus::Bytes{out}.first(size)), decoded) == core::FrameError::ok);
    CHECK(decoded.interval == read);
  }
}

TEST_CASE("acknowledgements of consecutive events become one entry", "[codec]") {
  using enum core::AcknowledgementStatus;
  Frame out(1'000);
  core::AcknowledgementWriter writer{out};
  for (std::uint32_t index = 0; index != 300; ++index) CHECK(writer.add({them, 7, index, 1, applied}));
  CHECK(writer.add({them, 7, 300, 5, applied}));
  CHECK(writer.add({them, 7, 305, 1, failed}));
  CHECK(writer.add({them, 7, 306, 1, applied}));
  CHECK(writer.add({them, 7, 308, 1, applied}));
  CHECK(writer.add({them, 8, 309, 1, applied}));
  CHECK(writer.add({us, 8, 310, 1, applied}));
  out.resize(writer.finish(us, them));
  CHECK(entries_of(out) == std::vector<core::Acknowledgement>{{them, 7, 0, 305, applied},
                                                              {them, 7, 305, 1, failed},
                                                              {them, 7, 306, 1, applied},
                                                              {them, 7, 308, 1, applied},
                                                              {them, 8, 309, 1, applied},
                                                              {us, 8, 310, 1, applied}});
  CHECK(out.size() == core::header_bytes + 1 + (1 + 8 + 1 + 1 + 2) + 4 * (1 + 1 + 2) + (1 + 8 + 1 + 2));
}

TEST_CASE("an acknowledgement without room leaves the frame with those before it", "[codec]") {
  using enum core::AcknowledgementStatus;
  Frame whole(1'000);
  core::AcknowledgementWriter unbounded{whole};
  CHECK(unbounded.add({them, 7, 126, 1, applied}));
  CHECK(unbounded.add({them, 9, 0, 1, applied}));
  const Frame first(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(unbounded.finish(us, them)));

  for (const core::Acknowledgement& refused :
       {core::Acknowledgement{us, 9, 1, 1, applied}, core::Acknowledgement{them, 9, 1, 200, applied}}) {
    Frame out(first.size());
    core::AcknowledgementWriter writer{out};
    CHECK(writer.add({them, 7, 126, 1, applied}));
    CHECK(writer.add({them, 9, 0, 1, applied}));
    CHECK_FALSE(writer.add(refused));
    REQUIRE(writer.finish(us, them) == first.size());
    CHECK(entries_of(out) == entries_of(first));
  }
}

TEST_CASE("an acknowledgement frame needs an entry, and room for it", "[codec]") {
  Frame out(core::header_bytes + 1 + core::max_acknowledgement_bytes);
  core::AcknowledgementWriter writer{out};
  CHECK(writer.empty());
  CHECK(writer.finish(us, them) == 0);
  const auto last_index = static_cast<std::uint32_t>(core::max_frame_events - 2);
  CHECK(writer.add({NodeId{most}, most, last_index, 2, core::AcknowledgementStatus::requested}));
  CHECK_FALSE(writer.empty());
  CHECK(writer.finish(us, them) != 0);
  for (std::size_t room = 0; room != core::header_bytes + 12; ++room) {
    core::AcknowledgementWriter small{std::span{out}.first(room)};
    CHECK_FALSE(small.add({them, 1, 0}));
    CHECK(small.finish(us, them) == 0);
  }
}

TEST_CASE("a repair request takes 1 to 64 ascending, disjoint ranges", "[codec]") {
  using Ranges = std::vector<core::SequenceRange>;
  Frame out(core::max_repair_request_bytes);
  const auto size = [&](const Ranges& ranges) { return core::encode_repair_request(out, us, them, them, ranges); };
  CHECK(size({{1, 1}, {2, 2}, {4, most}}) != 0);
  CHECK(size({}) == 0);
  CHECK(size({{0, 1}}) == 0);
  CHECK(size({{2, 1}}) == 0);
  CHECK(size({{1, 3}, {3, 4}}) == 0);
  CHECK(size({{5, 6}, {1, 2}}) == 0);
  CHECK(size({{1, most}, {1, 2}}) == 0);
  Ranges ranges;
  for (std::uint64_t i = 1; i <= core::max_request_ranges; ++i) ranges.push_back({i << 56U, ((i + 1) << 56U) - 1});
  const std::size_t large = size(ranges);
  CHECK(large != 0);
  CHECK(core::encode_repair_request(std::span{out}.first(large - 1), us, them, them, ranges) == 0);
  ranges.push_back({most, most});
  CHECK(size(ranges) == 0);
}

TEST_CASE("a repair adds repair_overhead_bytes to the frame inside and leaves its bytes alone", "[codec]") {
  const Frame inner = events_frame(std::array{core::WireEvent{.key = "k"}}, 9);
  Frame out(inner.size() + core::repair_overhead_bytes);
  REQUIRE(core::encode_repair(out, us, them, inner) == out.size());
  core::RepairView view;
  REQUIRE(core::decode_repair(header_of(out), view) == core::FrameError::ok);
  CHECK(Frame(view.frame.begin(), view.frame.end()) == inner);
  CHECK(view.events.sequence() == 9);
  CHECK(core::encode_repair(std::span{out}.first(out.size() - 1), us, them, inner) == 0);
}
