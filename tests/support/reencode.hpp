// Decodes a frame and encodes what it says again, with the encoders that the library sends with.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <syncbus/core/wire/codec.hpp>

#include "support/frames.hpp"

namespace support {

namespace core = syncbus::core;

inline Frame reencode(const core::FrameHeader& header, core::EventsView view) {
  Frame out(core::events_header_bytes);
  core::begin_events_frame(out, header.origin);
  core::WireEvent event;
  while (view.next(event)) {
    const std::size_t begin = out.size();
    out.resize(begin + core::encoded_size(event));
    const std::byte* const end = core::encode_event(out.data() + begin, event);
    if (end != out.data() + out.size()) return {};
  }
  core::seal_events_frame(out, view.sequence());
  return out;
}

inline std::size_t encode(std::span<std::byte> out, const core::FrameHeader& header, const core::HeartbeatView& view) {
  return core::encode_heartbeat(out, header.origin, header.destination, view);
}

inline std::size_t encode(std::span<std::byte> out, const core::FrameHeader& header, core::AcknowledgementView view) {
  core::AcknowledgementWriter writer{out};
  core::Acknowledgement entry;
  while (view.next(entry)) {
    if (!writer.add(entry)) return 0;
  }
  return writer.finish(header.origin, header.destination);
}

inline std::size_t encode(std::span<std::byte> out, const core::FrameHeader& header, core::RepairRequestView view) {
  std::vector<core::SequenceRange> ranges;
  core::SequenceRange range;
  while (view.next(range)) ranges.push_back(range);
  return core::encode_repair_request(out, header.origin, header.destination, view.publisher(), ranges);
}

inline std::size_t encode(std::span<std::byte> out, const core::FrameHeader& header, const core::RepairView& view) {
  return core::encode_repair(out, header.origin, header.destination, view.frame);
}

inline std::size_t encode(std::span<std::byte> out, const core::FrameHeader& header, core::WelcomeView view) {
  core::WelcomeWriter writer{out};
  core::WelcomeEntry entry;
  while (view.next(entry)) {
    if (!writer.add(entry)) return 0;
  }
  const std::size_t size = writer.finish(view.number());
  if (size != 0) core::address_welcome(out.first(size), header.origin, header.destination, view.part(), view.parts());
  return size;
}

/// `room` is what the encoder gets; empty when it does not suffice.
template <class View>
Frame reencode(const core::FrameHeader& header, const View& view, std::size_t room) {
  Frame out(room);
  out.resize(encode(out, header, view));
  return out;
}

/// Empty when the frame does not decode, or the encoder of its type does not fit it into `room`.
inline Frame reencode(syncbus::Bytes frame, std::size_t room) {
  const auto with = [room](const core::FrameHeader& header, auto view, auto decode) {
    return decode(header, view) == core::FrameError::ok ? reencode(header, view, room) : Frame{};
  };
  core::FrameHeader header;
  if (core::decode_header(frame, header) != core::FrameError::ok) return {};
  switch (header.type) {
    case core::FrameType::events: {
      core::EventsView view;
      return core::decode_events(header, view) == core::FrameError::ok ? reencode(header, view) : Frame{};
    }
    case core::FrameType::heartbeat: return with(header, core::HeartbeatView{}, core::decode_heartbeat);
    case core::FrameType::acknowledgement:
      return with(header, core::AcknowledgementView{}, core::decode_acknowledgement);
    case core::FrameType::repair_request: return with(header, core::RepairRequestView{}, core::decode_repair_request);
    case core::FrameType::repair: return with(header, core::RepairView{}, core::decode_repair);
    case core::FrameType::welcome: return with(header, core::WelcomeView{}, core::decode_welcome);
  }
  return {};
}

}  // namespace support
