// A publisher's frames in one append-only ring: the open batch, the resend buffer and the history.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>

#include <syncbus/core/frame_keeper.hpp>
#include <syncbus/core/wire/codec.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// What a node published, as frames, oldest first. Nothing is copied: frames stay where they are while the borders of
/// the parts move over them.
///
///     history  |  unconfirmed  |  to be resent  |  sealed  |  open
///     oldest_ …   confirmed_+1 …  sent_+1 …        bound_+1 …  open_
///
/// Events are encoded in place into the open frame; one that it cannot take seals it and opens the next. Frames keep
/// their order, so a frame's sequence is known from its birth (open_), but only its first hand-over binds it: the
/// sequence and the CRC are written then, and no byte changes afterwards. Room is made by overwriting history, oldest
/// first; a frame that is not confirmed is never overwritten.
///
/// A frame is contiguous: where the block ends, the next one starts at offset 0. Block and frame table together take at
/// most `history_bytes`, the index of recent keys 16 KiB more; all are allocated at construction, the large ones
/// untouched until used. All operations are O(1), amortised over the frames.
class FrameRing {
 public:
  enum class Append : std::uint8_t {
    appended,
    merged,     ///< equal to the latest event of its key in the open frame, which says it already
    no_room,    ///< only overwriting an unconfirmed frame would make room: try again after a confirmation
    too_large,  ///< no frame of this ring and this broker can hold it
  };

  struct Outgoing {
    Bytes bytes;  ///< valid and unchanged until the frame is confirmed
    std::uint64_t sequence = 0;
  };

  /// A frame is full when the next event would take it above `frame_bytes`. No more than 4 GiB of history are used. A
  /// `keeper` outlives the ring.
  FrameRing(NodeId origin, std::size_t history_bytes, std::size_t frame_bytes, FrameKeeper* keeper = nullptr)
      : slots_{(std::max)(min_slots, std::bit_floor(history_bytes / slots_share / sizeof(Slot)))},
        capacity_{block_bytes(history_bytes, slots_ * sizeof(Slot))},
        full_frame_{frame_bytes},
        origin_{origin},
        keeper_{keeper},
        table_{std::make_unique_for_overwrite<Slot[]>(slots_)},
        block_{std::make_unique_for_overwrite<std::byte[]>(capacity_)} {}

  FrameRing(const FrameRing&) = delete;
  FrameRing& operator=(const FrameRing&) = delete;

  /// What the broker takes, in bytes. Frames made under a larger limit keep their size: see give_up_above().
  void limit_frame(std::size_t bytes) noexcept {
    limit_ = (std::min)(bytes, most_frame_bytes);
    room_ = end_;  // the next append looks for room anew
  }

  /// Whether append can ever take the event; otherwise it is too_large.
  [[nodiscard]] bool fits(const WireEvent& event) const noexcept { return fits(encoded_size(event)); }

  /// Takes one event, for which encode_event's preconditions hold. Awaited and merged, it makes the earlier one
  /// awaited.
  [[nodiscard]] Append append(const WireEvent& event) noexcept {
    const std::uint64_t hash = hash_of(event.key);
    Recent& recent = recent_[hash >> (64 - recent_bits)];
    const auto tag = static_cast<std::uint32_t>(hash);
    if (recent.frame == open_ && recent.tag == tag && absorbs(recent.offset, event)) {
      last_merge_ = {events_, recent.offset};
      return Append::merged;
    }
    const std::size_t size = encoded_size(event);
    if (size > room_ - end_) [[unlikely]] {
      if (const Append verdict = make_room(size); verdict != Append::appended) return verdict;
    }
    encode_event(block_.get() + end_, event);
    recent = {open_, tag, static_cast<std::uint32_t>(end_)};
    end_ += size;
    ++events_;
    return Append::appended;
  }

  /// The event that the last append appended or merged into. Precondition: it returned one of these, and its frame has
  /// not been sealed since. O(1), or after a merge O(events of the frame).
  [[nodiscard]] EventId place_of_last() const noexcept {
    assert(has_open_events());
    const bool merged = last_merge_.events == events_;
    return {open_, merged ? index_at(last_merge_.offset) : static_cast<std::uint32_t>(events_ - sealed_events_ - 1)};
  }

  /// The next frame for the transport: one to be resent, else a sealed one, else, if a partial one may go, the open
  /// one.
  [[nodiscard]] std::optional<Outgoing> next(bool partial_allowed) noexcept {
    if (!has_sealed()) {
      if (!partial_allowed || !has_open_events()) return std::nullopt;
      seal();
    }
    ++sent_;
    if (sent_ > bound_) {
      bound_ = sent_;
      seal_events_frame({block_.get() + slot(sent_).offset, slot(sent_).size}, sent_);
    }
    unconfirmed_bytes_ += slot(sent_).size;
    return Outgoing{frame(sent_), sent_};
  }

  /// The broker has every frame handed over in this session up to `sequence`; they are history now.
  void confirm(std::uint64_t sequence) noexcept {
    for (const std::uint64_t last = (std::min)(sequence, sent_); confirmed_ < last;) {
      unconfirmed_bytes_ -= slot(++confirmed_).size;
    }
  }

  /// A new session: what is not confirmed is handed over again, in order and byte for byte, before anything new.
  void rewind() noexcept {
    sent_ = confirmed_;
    unconfirmed_bytes_ = 0;
  }

  /// Frames that are not confirmed and have more bytes than the broker takes can never go out: they, and all before
  /// them, are forgotten, as if they had been sent long ago and lost. Whether there were any. After rewind().
  bool give_up_above(std::size_t bytes) noexcept {
    if (end_ - begin_ > bytes) seal();
    std::uint64_t last = confirmed_;
    for (std::uint64_t sequence = confirmed_ + 1; sequence != open_; ++sequence) {
      if (slot(sequence).size > bytes) last = sequence;
    }
    if (last == confirmed_) return false;
    while (oldest_ <= last) sealed_bytes_ -= slot(oldest_++).size;
    confirmed_ = sent_ = last;
    bound_ = (std::max)(bound_, last);
    return true;
  }

  /// The frame of a sequence as it was handed over, while the ring still has it; valid until the next append.
  [[nodiscard]] std::optional<Bytes> find(std::uint64_t sequence) const noexcept {
    if (sequence < oldest_ || sequence > bound_) return std::nullopt;
    return frame(sequence);
  }

  /// Whether a frame of this sequence and checksum was ever handed over; none: it was too long ago to know.
  [[nodiscard]] std::optional<bool> sent(std::uint64_t sequence, std::uint32_t checksum) const noexcept {
    if (sequence > bound_) return false;
    if (sequence < oldest_) return std::nullopt;
    return checksum_in(frame(sequence)) == checksum;
  }

  // Handed over in this session and not confirmed.
  [[nodiscard]] std::size_t unconfirmed_frames() const noexcept { return static_cast<std::size_t>(sent_ - confirmed_); }
  [[nodiscard]] std::size_t unconfirmed_bytes() const noexcept { return unconfirmed_bytes_; }

  /// Whether next(false) has a frame.
  [[nodiscard]] bool has_sealed() const noexcept { return sent_ + 1 != open_; }
  [[nodiscard]] bool has_open_events() const noexcept { return end_ != begin_; }

  /// The first sequence that find() has; last_sequence() + 1 when it has none.
  [[nodiscard]] std::uint64_t oldest_sequence() const noexcept { return oldest_; }
  /// The sequence bound last; 0: none yet.
  [[nodiscard]] std::uint64_t last_sequence() const noexcept { return bound_; }
  [[nodiscard]] std::uint64_t confirmed_sequence() const noexcept { return confirmed_; }
  /// The last sequence handed over in this session; the one confirmed last while none was.
  [[nodiscard]] std::uint64_t handed_over() const noexcept { return sent_; }
  /// The sequence that the frame of the latest event has, or will have once it is bound; 0: there is no event yet.
  [[nodiscard]] std::uint64_t last_accepted_sequence() const noexcept { return has_open_events() ? open_ : open_ - 1; }

  /// Held in frames of every state, and in their entries of the table.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return sealed_bytes_ + (end_ - begin_) +
           static_cast<std::size_t>(last_accepted_sequence() + 1 - oldest_) * sizeof(Slot);
  }

 private:
  struct Slot {
    std::uint32_t offset;
    std::uint32_t size;
  };

  /// Where the latest event lies whose key has this place in the index; counts only while `frame` is the open one. Keys
  /// that share a place push each other out: then an event may be repeated, but none merges into one that is not the
  /// latest of its key.
  struct Recent {
    std::uint64_t frame = 0;
    std::uint32_t tag = 0;
    std::uint32_t offset = 0;
  };

  /// A merge that no event was appended after has the ring's present count of events.
  struct Merge {
    std::uint64_t events = 0;
    std::size_t offset = 0;
  };

  struct Plan {
    Append verdict;
    std::size_t at = 0;  ///< the offset of the event, or of the frame that it opens
    bool opens = false;
  };

  static constexpr std::size_t slots_share = 16;  // the table's part of the memory: frames of 120 bytes fill both
  static constexpr std::size_t min_slots = 16;
  static constexpr std::size_t recent_bits = 10;  // about as many places as a full frame has events
  // What a frame holds is then no longer than a key may be.
  static constexpr std::size_t most_frame_bytes = (std::min)(max_frame_bytes, max_wire_key_bytes);

  static constexpr std::size_t block_bytes(std::size_t history_bytes, std::size_t table_bytes) noexcept {
    constexpr std::size_t most = (std::numeric_limits<std::uint32_t>::max)();
    return (std::min)(most, history_bytes - (std::min)(history_bytes, table_bytes));
  }

  template <class Word>
  static std::uint64_t load(const char* from) noexcept {
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
  }

  // Samples the ends and the middle: what it misses costs a repeated event. A sum of products is mixed in its high bits
  // only, hence the last step.
  static std::uint64_t hash_of(std::string_view key) noexcept {
    constexpr std::uint64_t odd1 = 0x9E3779B97F4A7C15, odd2 = 0xC2B2AE3D27D4EB4F, odd3 = 0xD6E8FEB86659FD93;
    const char* const first = key.data();
    const std::size_t size = key.size();
    std::uint64_t sum = size;
    if (size >= 8) {
      sum += load<std::uint64_t>(first) * odd1 + load<std::uint64_t>(first + size / 2 - 4) * odd2 +
             load<std::uint64_t>(first + size - 8) * odd3;
    } else if (size >= 4) {
      sum += load<std::uint32_t>(first) * odd1 + load<std::uint32_t>(first + size - 4) * odd2;
    } else if (size != 0) {
      sum += load<std::uint8_t>(first) * odd1 + load<std::uint8_t>(first + size / 2) * odd2 +
             load<std::uint8_t>(first + size - 1) * odd3;
    }
    return (sum ^ (sum >> 32U)) * odd1;
  }

  /// Whether the event at `offset` of the open frame says what `event` says.
  bool absorbs(std::size_t offset, const WireEvent& event) noexcept {
    std::byte* const at = block_.get() + offset;
    WireEvent earlier;
    const bool equal = decode_event(at, block_.get() + end_, earlier) != nullptr && earlier.type == event.type &&
                       earlier.key == event.key && earlier.version == event.version &&
                       (event.type != EventType::resync || earlier.cause == event.cause);
    if (equal && event.awaited) mark_awaited(*at);
    return equal;
  }

  /// The index of the event that begins at `offset` of the open frame.
  [[nodiscard]] std::uint32_t index_at(std::size_t offset) const noexcept {
    std::uint32_t index = 0;
    WireEvent event;
    const std::byte* const end = block_.get() + end_;
    for (auto at = static_cast<const std::byte*>(block_.get()) + begin_ + events_header_bytes;
         at != block_.get() + offset; ++index) {
      at = decode_event(at, end, event);
    }
    return index;
  }

  [[nodiscard]] Slot& slot(std::uint64_t sequence) const noexcept { return table_[sequence & (slots_ - 1)]; }

  [[nodiscard]] Bytes frame(std::uint64_t sequence) const noexcept {
    return {block_.get() + slot(sequence).offset, slot(sequence).size};
  }

  [[nodiscard]] std::size_t target() const noexcept { return (std::min)(full_frame_, limit_); }

  [[nodiscard]] bool fits(std::size_t event_size) const noexcept {
    const std::size_t most = (std::min)(limit_, capacity_);
    return most > events_header_bytes && event_size <= most - events_header_bytes;
  }

  /// Where `size` more bytes can lie without overwriting a frame that is not confirmed.
  [[nodiscard]] std::optional<std::size_t> place(std::size_t size) const noexcept {
    const bool fits_behind = end_ + size <= capacity_;
    if (confirmed_ == last_accepted_sequence()) return fits_behind ? end_ : 0;
    const std::size_t barrier = confirmed_ + 1 == open_ ? begin_ : slot(confirmed_ + 1).offset;
    if (barrier >= end_) {  // the live frames wrap around the block's end
      if (end_ + size <= barrier) return end_;
      return std::nullopt;
    }
    if (fits_behind) return end_;
    if (size <= barrier) return 0;
    return std::nullopt;
  }

  [[nodiscard]] Plan plan(std::size_t size) const noexcept {
    if (!fits(size)) return {Append::too_large};
    if (has_open_events() && end_ + size <= begin_ + target() && place(size) == end_) return {Append::appended, end_};
    if (last_accepted_sequence() - confirmed_ == slots_) return {Append::no_room};
    if (const auto at = place(events_header_bytes + size)) return {Append::appended, *at, true};
    return {Append::no_room};
  }

  Append make_room(std::size_t size) noexcept {
    const Plan found = plan(size);
    if (found.verdict != Append::appended) return found.verdict;
    if (found.opens) open_at(found.at, size);
    overwrite(end_, end_ + size);
    const bool wrapped = oldest_ != open_ && slot(oldest_).offset >= end_;
    const std::size_t free_until = wrapped ? slot(oldest_).offset : capacity_;
    room_ = (std::min)(free_until, (std::max)(begin_ + target(), end_ + size));
    return Append::appended;
  }

  void open_at(std::size_t at, std::size_t size) noexcept {
    if (has_open_events()) seal();
    if (open_ - oldest_ == slots_) evict();
    if (at != end_) overwrite(end_, capacity_);
    overwrite(at, at + events_header_bytes);
    begin_ = at;
    end_ = at + events_header_bytes;
    begin_events_frame({block_.get() + begin_, events_header_bytes + size}, origin_);
  }

  void seal() noexcept {
    slot(open_) = {static_cast<std::uint32_t>(begin_), static_cast<std::uint32_t>(end_ - begin_)};
    sealed_bytes_ += end_ - begin_;
    sealed_events_ = events_;
    begin_ = room_ = end_;
    ++open_;
  }

  /// Forgets the oldest frames as long as they begin in [first, last); the plan says that they are history.
  void overwrite(std::size_t first, std::size_t last) noexcept {
    while (oldest_ <= confirmed_ && slot(oldest_).offset >= first && slot(oldest_).offset < last) evict();
  }

  void evict() noexcept {
    if (keeper_ != nullptr) keeper_->before_overwriting(oldest_, frame(oldest_));
    sealed_bytes_ -= slot(oldest_++).size;
  }

  // Sequences. oldest_ - 1 <= confirmed_ <= sent_ <= bound_ < open_.
  std::uint64_t oldest_ = 1;
  std::uint64_t confirmed_ = 0;
  std::uint64_t sent_ = 0;   // handed over in this session
  std::uint64_t bound_ = 0;  // handed over in any session
  std::uint64_t open_ = 1;   // the open frame's, or the next one's

  // Offsets in the block. The open frame is [begin_, end_), empty when there is none, and may grow up to room_.
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t room_ = 0;

  // Events in frames of every state, ever.
  std::uint64_t events_ = 0;
  std::uint64_t sealed_events_ = 0;
  Merge last_merge_;

  std::size_t slots_;
  std::size_t capacity_;
  std::size_t full_frame_;
  std::size_t limit_ = most_frame_bytes;
  std::size_t sealed_bytes_ = 0;
  std::size_t unconfirmed_bytes_ = 0;
  NodeId origin_;
  FrameKeeper* keeper_;
  std::unique_ptr<Slot[]> table_;
  std::unique_ptr<std::byte[]> block_;
  std::unique_ptr<Recent[]> recent_ = std::make_unique<Recent[]>(std::size_t{1} << recent_bits);
};

}  // namespace syncbus::inline v1::core
