// What must hold for the codec whatever the bytes are. Shared by the fuzzer and the test that replays its corpus.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <syncbus/core/wire/codec.hpp>

#include "support/frame_text.hpp"
#include "support/reencode.hpp"

namespace support {

/// The entries of an acknowledgement with those joined that the writer joins.
inline std::vector<core::Acknowledgement> merged(core::AcknowledgementView view) {
  std::vector<core::Acknowledgement> entries;
  core::Acknowledgement entry;
  while (view.next(entry)) {
    if (!entries.empty()) {
      core::Acknowledgement& last = entries.back();
      if (last.publisher == entry.publisher && last.sequence == entry.sequence && last.status == entry.status &&
          last.index + last.count == entry.index) {
        last.count += entry.count;
        continue;
      }
    }
    entries.push_back(entry);
  }
  return entries;
}

/// What a frame says, less what another encoding may lose: to whom events go, and where runs of entries are cut.
inline bool says_the_same(syncbus::Bytes a, syncbus::Bytes b) {
  core::FrameHeader first, second;
  if (core::decode_header(a, first) != core::FrameError::ok || core::decode_header(b, second) != core::FrameError::ok) {
    return false;
  }
  if (first.type != second.type || first.origin != second.origin) return false;
  if (first.type == core::FrameType::events) {
    core::EventsView x, y;
    return core::decode_events(first, x) == core::FrameError::ok &&
           core::decode_events(second, y) == core::FrameError::ok && text_of(x) == text_of(y) &&
           text_of(x) == text_of(core::reread_events(a));
  }
  if (first.destination != second.destination) return false;
  if (first.type == core::FrameType::acknowledgement) {
    core::AcknowledgementView x, y;
    return core::decode_acknowledgement(first, x) == core::FrameError::ok &&
           core::decode_acknowledgement(second, y) == core::FrameError::ok && merged(x) == merged(y);
  }
  return text_of(a) == text_of(b);
}

/// How many of the six body decoders accept the frame.
inline int accepted_by(const core::FrameHeader& header) {
  core::EventsView events;
  core::HeartbeatView heartbeat;
  core::AcknowledgementView acknowledgement;
  core::RepairRequestView request;
  core::RepairView repair;
  core::WelcomeView welcome;
  return (core::decode_events(header, events) == core::FrameError::ok) +
         (core::decode_heartbeat(header, heartbeat) == core::FrameError::ok) +
         (core::decode_acknowledgement(header, acknowledgement) == core::FrameError::ok) +
         (core::decode_repair_request(header, request) == core::FrameError::ok) +
         (core::decode_repair(header, repair) == core::FrameError::ok) +
         (core::decode_welcome(header, welcome) == core::FrameError::ok);
}

/// Decodes the bytes as they are. The contradiction that it finds, as a sentence; nullptr: none.
inline const char* contradiction_as_is(syncbus::Bytes frame) {
  const std::string text = text_of(frame);
  core::FrameHeader header;
  const bool whole = core::decode_header(frame, header) == core::FrameError::ok;
  const bool readable = text != "malformed\n" && text != "other_version\n";
  if (whole && accepted_by(header) != (readable ? 1 : 0)) return "not exactly the decoder of its type accepts a frame";
  const Frame again = reencode(frame, 2 * frame.size());
  if (!readable) return again.empty() ? nullptr : "a frame that does not decode was encoded again";
  if (again.empty()) return "a frame that decodes cannot be encoded again";
  if (!says_the_same(frame, again)) return "encoding a decoded frame changed what it says";
  if (header.type == core::FrameType::events) {
    return reencode(again, 0) == again ? nullptr : "encoding an encoded events frame changed its bytes";
  }
  if (again.size() > frame.size()) return "an encoded control frame is longer than a received one";
  if (reencode(again, again.size()) != again)
    return "encoding an encoded frame, with just enough room, changed its bytes";
  return reencode(again, again.size() - 1).empty() ? nullptr : "a frame was encoded into less room than it takes";
}

/// Makes magic, version and checksum of a frame right.
inline void make_whole(std::span<std::byte> frame) {
  core::store_le(frame.data(), core::frame_magic);
  frame[core::version_offset] = std::byte{core::protocol_version};
  core::seal_frame(frame);
}

/// A copy in memory of exactly its size, so that a sanitizer sees every read beyond it, with right checksums: random
/// bytes would almost never get past them.
inline const char* contradiction_with_checksums(syncbus::Bytes bytes) {
  if (bytes.size() < core::header_bytes) return nullptr;
  const auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
  const std::span<std::byte> frame{copy.get(), bytes.size()};
  std::copy(bytes.begin(), bytes.end(), frame.begin());
  if (frame[core::type_offset] == static_cast<std::byte>(core::FrameType::repair)) {
    core::WireReader body{frame.subspan(core::header_bytes)};
    body.skip_fields();
    const std::size_t inner = body.rest().size();
    if (inner >= core::header_bytes) make_whole(frame.last(inner));
  }
  make_whole(frame);
  return contradiction_as_is(frame);
}

inline const char* contradiction(syncbus::Bytes bytes) {
  const char* const found = contradiction_as_is(bytes);
  return found != nullptr ? found : contradiction_with_checksums(bytes);
}

}  // namespace support
