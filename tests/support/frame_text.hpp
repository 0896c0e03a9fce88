// What a frame says, as text: a line for the frame, then one for each event, entry or range. The test vectors use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <syncbus/core/wire/codec.hpp>

namespace support {

namespace core = syncbus::core;

/// In quotes; what is not printable ASCII as \xNN.
inline std::string quoted(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 32 && byte < 127 && c != '"' && c != '\\') {
      text += c;
    } else {
      text += {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
    }
  }
  return text + '"';
}

inline std::string number(std::uint64_t value) { return std::to_string(value); }

inline std::string text_of(const core::WireEvent& event) {
  std::string text{to_string(event.type)};
  text += ' ';
  text += event.type == syncbus::EventType::resync ? std::string{to_string(event.cause)} : quoted(event.key);
  if (event.version != 0) text += " version " + number(event.version);
  if (event.awaited) text += " awaited";
  return text + '\n';
}

inline std::string text_of(core::EventsView view) {
  std::string text = ", sequence " + number(view.sequence()) + '\n';
  core::WireEvent event;
  while (view.next(event)) text += text_of(event);
  return text;
}

inline std::string text_of(const core::HeartbeatView& view) {
  std::string text = ", number " + number(view.number) + ", last " + number(view.last_sequence) + ", oldest " +
                     number(view.oldest_sequence) + ", next in " + std::to_string(view.interval.count()) +
                     " us, name " + quoted(view.name) + ", zone " + quoted(view.zone) + ", newest " +
                     number(view.newest_number) + " of " + to_string(view.newest_origin);
  if (view.ahead == core::ahead_unknown) text += " ahead unknown";
  if (view.ahead != 0 && view.ahead != core::ahead_unknown) text += " ahead " + number(view.ahead);
  if (view.answer_me) text += " answer_me";
  if (view.goodbye) text += " goodbye";
  if (view.publish_only) text += " publish_only";
  if (view.moved) text += " moved";
  if (view.observer) text += " observer";
  if (view.greets) text += " greets";
  if (view.hello != 0) text += " hello " + number(view.hello);
  if (view.place != 0) text += " place " + number(view.place);
  return text + '\n';
}

inline std::string text_of(core::AcknowledgementView view) {
  constexpr std::string_view names[] = {"applied", "no_subscriber", "pending", "failed", "requested"};
  std::string text = "\n";
  core::Acknowledgement entry;
  while (view.next(entry)) {
    text += names[static_cast<std::size_t>(entry.status)];
    text += " publisher " + to_string(entry.publisher) + " sequence " + number(entry.sequence) + " events " +
            number(entry.index) + ".." + number(entry.index + entry.count - 1) + '\n';
  }
  return text;
}

inline std::string text_of(core::RepairRequestView view) {
  std::string text = ", publisher " + to_string(view.publisher()) + '\n';
  core::SequenceRange range;
  while (view.next(range)) text += number(range.first) + ".." + number(range.last) + '\n';
  return text;
}

inline std::string text_of(core::WelcomeView view) {
  std::string text =
      ", number " + number(view.number()) + ", part " + number(view.part()) + " of " + number(view.parts()) + '\n';
  core::WelcomeEntry entry;
  while (view.next(entry)) {
    text += "node " + to_string(entry.node) + " number " + number(entry.number) + ", last " +
            number(entry.last_sequence) + ", oldest " + number(entry.oldest_sequence) + ", next in " +
            std::to_string(entry.interval.count()) + " us, name " + quoted(entry.name) + ", zone " + quoted(entry.zone);
    if (entry.publish_only) text += " publish_only";
    if (entry.observer) text += " observer";
    if (entry.greets) text += " greets";
    if (!entry.current) text += " not_current";
    if (entry.place != 0) text += " place " + number(entry.place);
    text += '\n';
  }
  return text;
}

inline std::string text_of(syncbus::Bytes frame);

inline std::string text_of(const core::RepairView& view) { return '\n' + text_of(view.frame); }

template <class View>
std::string text_of(std::string_view type, const core::FrameHeader& header,
                    core::FrameError (*decode)(const core::FrameHeader&, View&) noexcept) {
  View view;
  if (decode(header, view) != core::FrameError::ok) return "malformed\n";
  const bool everybody = header.destination == syncbus::NodeId{};
  return std::string{type} + " from " + to_string(header.origin) + " to " +
         (everybody ? "all" : to_string(header.destination)) + text_of(view);
}

inline std::string text_of(syncbus::Bytes frame) {
  core::FrameHeader header;
  switch (core::decode_header(frame, header)) {
    case core::FrameError::malformed: return "malformed\n";
    case core::FrameError::other_version: return "other_version\n";
    case core::FrameError::ok: break;
  }
  switch (header.type) {
    case core::FrameType::events: return text_of("events", header, core::decode_events);
    case core::FrameType::heartbeat: return text_of("heartbeat", header, core::decode_heartbeat);
    case core::FrameType::acknowledgement: return text_of("acknowledgement", header, core::decode_acknowledgement);
    case core::FrameType::repair_request: return text_of("repair_request", header, core::decode_repair_request);
    case core::FrameType::repair: return text_of("repair", header, core::decode_repair);
    case core::FrameType::welcome: return text_of("welcome", header, core::decode_welcome);
  }
  return "a type that decode_header must not accept\n";
}

}  // namespace support
