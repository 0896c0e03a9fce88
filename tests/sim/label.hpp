// What a frame says, as far as an auditor has to know, read from its bytes without the library's codec.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <syncbus/event.hpp>

namespace sim {

struct Label {
  /// Whom a welcome names.
  struct Name {
    syncbus::NodeId node{};
    std::uint64_t heartbeat = 0;  ///< 0: none was known
    std::uint64_t sequence = 0;
    bool current = true;          ///< the sequence is
  };

  /// Frames of a publisher that a request names, the last included.
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
  };

  enum class Kind : std::uint8_t { events, heartbeat, goodbye, acknowledgement, request, repair, welcome };

  Kind kind = Kind::events;
  bool whole = false;  ///< it reads as a frame
  bool directed = false;
  std::uint64_t sequence = 0;  ///< of events and repairs: theirs; of heartbeats: the last that they tell of
  std::size_t bytes = 0;
  std::size_t entries = 0;     ///< how many events and resyncs it carries
  std::uint64_t oldest = 0;    ///< of heartbeats: where the history of their sender begins
  bool asks = false;           ///< for heartbeats
  bool moved = false;          ///< of heartbeats: their sender was at another broker, with others
  bool solicits = false;       ///< an acknowledgement: one entry is a question
  std::uint64_t hello = 0;     ///< of heartbeats: which hello of its sender's; 0: none
  std::uint64_t welcome = 0;   ///< its number, by its sender
  std::uint64_t part = 0;      ///< of welcomes, from 0
  std::uint64_t parts = 1;     ///< of welcomes
  std::array<std::uint16_t, syncbus::resync_cause_count> tops{};  ///< resyncs among the events, by cause
  std::vector<Name> names{};
  std::vector<Range> ranges{};

  [[nodiscard]] bool is_heartbeat() const noexcept { return kind == Kind::heartbeat || kind == Kind::goodbye; }
  [[nodiscard]] bool carries_events() const noexcept { return kind == Kind::events || kind == Kind::repair; }

  /// Whether it tells how far its sender is.
  [[nodiscard]] bool introduces() const noexcept {
    return carries_events() || is_heartbeat();
  }
  /// How far its sender was before it.
  [[nodiscard]] std::uint64_t past() const noexcept { return carries_events() ? sequence - 1 : sequence; }
};

/// Reads labels. The offsets and numbers are those of the documented format, written down once more: an auditor that
/// used the codec would believe its mistakes. The checksum is left to the receivers, for whom a wrong one is a loss.
class LabelReader {
 public:
  [[nodiscard]] static Label read(std::span<const std::byte> frame) {
    Label label{.bytes = frame.size()};
    LabelReader reader{frame};
    reader.read_frame(label);
    label.whole = !reader.failed_;
    return label;
  }

 private:
  static constexpr std::size_t type_at = 5, destination_at = 20, body_at = 28;

  explicit LabelReader(std::span<const std::byte> frame) : rest_{frame} {}

  void read_frame(Label& label) {
    const std::uint64_t type = at(type_at).fixed(1);
    label.directed = at(destination_at).fixed(8) != 0;
    skip(body_at);
    switch (type) {
      case 1: return read_events(label);
      case 2: return read_heartbeat(label);
      case 3: return read_acknowledgement(label);
      case 4: return read_request(label);
      case 5:
        skip(varint());  // optional fields
        skip(body_at);
        read_events(label);
        label.kind = Label::Kind::repair;
        return;
      case 6: return read_welcome(label);
      default: failed_ = true;
    }
  }

  void read_heartbeat(Label& label) {
    const std::uint64_t flags = fixed(1);
    label.kind = (flags & 2U) != 0 ? Label::Kind::goodbye : Label::Kind::heartbeat;
    label.asks = (flags & 1U) != 0;
    label.moved = (flags & 8U) != 0;
    varint();  // its number
    label.sequence = varint();
    label.oldest = varint();
    varint();  // the interval
    skip(fixed(1));
    skip(fixed(1));
    skip(8);   // the newest heartbeat that it has received: whose
    varint();  // and which
    varint();  // bytes of optional fields
    while (!rest_.empty() && !failed_) {
      const std::uint64_t tag = fixed(1);
      const std::uint64_t size = varint();
      if (tag == 2) {
        label.hello = varint();
      } else {
        skip(size);
      }
    }
  }

  void read_acknowledgement(Label& label) {
    label.kind = Label::Kind::acknowledgement;
    skip(varint());  // optional fields
    while (!rest_.empty() && !failed_) {
      const std::uint64_t tag = fixed(1);
      label.solicits = label.solicits || (tag & 0x0FU) == 4;
      if ((tag & 0x10U) != 0) skip(8);  // the publisher
      varint();                         // its frame
      varint();                         // the event
      if ((tag & 0x20U) != 0) varint();
      if ((tag & 0x40U) != 0) skip(varint());
    }
  }

  void read_request(Label& label) {
    label.kind = Label::Kind::request;
    skip(8);         // of whose frames
    skip(varint());  // optional fields
    std::uint64_t before = 0;
    while (!rest_.empty() && !failed_) {
      const std::uint64_t first = before + 1 + varint();
      before = first + varint();
      label.ranges.push_back({first, before});
    }
  }

  void read_welcome(Label& label) {
    label.kind = Label::Kind::welcome;
    label.welcome = fixed(8);
    label.parts = fixed(2);
    label.part = fixed(2);
    skip(varint());   // optional fields
    while (!rest_.empty() && !failed_) {
      Label::Name name{.node = syncbus::NodeId{fixed(8)}};
      name.current = (fixed(1) & 64U) == 0;
      name.heartbeat = varint();
      name.sequence = varint();
      varint();  // the oldest
      varint();  // the interval
      skip(fixed(1));
      skip(fixed(1));
      skip(varint());  // optional fields
      label.names.push_back(name);
    }
  }

  void read_events(Label& label) {
    label.sequence = fixed(8);
    skip(varint());  // optional fields
    while (!rest_.empty() && !failed_) {
      const std::uint64_t tag = fixed(1);
      ++label.entries;
      skip(varint());  // the key
      if ((tag & 0x10U) != 0) varint();
      if ((tag & 0x8FU) == 4) ++label.tops[fixed(1) % label.tops.size()];
      if ((tag & 0x40U) != 0) skip(varint());
    }
    failed_ = failed_ || label.sequence == 0;
  }

  [[nodiscard]] LabelReader at(std::size_t offset) const {
    LabelReader there = *this;
    there.skip(offset);
    return there;
  }
  void skip(std::uint64_t bytes) {
    failed_ = failed_ || bytes > rest_.size();
    rest_ = failed_ ? rest_.first(0) : rest_.subspan(static_cast<std::size_t>(bytes));
  }
  std::uint64_t fixed(std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i != bytes && i < rest_.size(); ++i) {
      value |= std::to_integer<std::uint64_t>(rest_[i]) << (8 * i);
    }
    skip(bytes);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint64_t byte = fixed(1);
      value |= (byte & 0x7FU) << shift;
      if (byte < 0x80) return value;
    }
    failed_ = true;
    return 0;
  }

  std::span<const std::byte> rest_;
  bool failed_ = false;
};

}  // namespace sim
