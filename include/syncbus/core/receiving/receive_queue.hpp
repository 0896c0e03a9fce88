// The dispatcher's queue: received frames, undecoded, in a bounded ring; joined events when the ring is full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/core/receiving/pending_events.hpp>
#include <syncbus/core/wire/events_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// A first-in, first-out queue of events frames and resyncs. Frames are copied into a ring of `queue_bytes`, each in
/// one piece; the ring starts again at its beginning whenever it is empty, so that a dispatcher that keeps up uses the
/// same few pages for ever, and pages that were never needed cost nothing. What finds no room in the ring is decoded
/// and joins in a PendingEvents of `pending_bytes`, and so does everything after it until the dispatcher has taken all
/// of that: order is kept. Nothing is allocated while the ring has room.
///
/// Pushes are numbered, so that it can be asked whether all up to one have been heard. What is in the ring settles one
/// by one; events that joined have no single number any more, and settle together, when the last of them is released.
///
/// Thread safety: none, the owner locks; only the bytes of the taken frame may be read without its lock, until
/// release().
class ReceiveQueue {
 public:
  /// What the dispatcher takes. Used again and again, its event's key keeps its memory.
  struct Item {
    enum class Kind : std::uint8_t {
      frame,   ///< `frame`, an events frame as it came, valid until release(); `late` as it was pushed
      resync,  ///< `resync`
      event,   ///< `event`, which has joined all it could, with their places; a late one's type is invalidate already
    };

    Kind kind = Kind::frame;
    bool late = false;  ///< set and remove events of the frame are to be delivered as invalidate
    Bytes frame{};
    Resync resync{};
    PendingEvent event{};
  };

  /// Throws bad_alloc when there is no address space for the ring.
  ReceiveQueue(std::size_t queue_bytes, std::size_t pending_bytes, const detail::HashSecret& secret = {})
      : ring_{std::make_unique_for_overwrite<std::byte[]>(queue_bytes)},
        capacity_{queue_bytes},
        pending_{(std::numeric_limits<std::size_t>::max)(), pending_bytes, secret} {}

  /// Puts an events frame that decode_header and decode_events have accepted; the bytes are copied. Returns what was
  /// absorbed if its events had to join.
  Put push_frame(Bytes frame, bool late) noexcept {
    count_push();
    const auto size = static_cast<std::uint32_t>(frame.size());  // below max_frame_bytes
    if (pending_.empty() && append({.position = pushed_, .size = size, .late = late}, frame)) {
      last_resync_ = none;
      return {};
    }
    return join_frame(frame, late);
  }

  /// Puts a resync. One that directly follows another joins it: returns how many were absorbed.
  std::size_t push_resync(const Resync& resync) noexcept {
    count_push();
    if (!pending_.empty()) return join_resync(resync);
    if (last_resync_ != none) {
      Record record = load(last_resync_);
      record.position = pushed_;
      record.resync = join(record.resync, resync);
      store(last_resync_, record);
      return 1;
    }
    if (!append({.position = pushed_, .is_resync = true, .resync = resync}, {})) return join_resync(resync);
    last_resync_ = tail_ - sizeof(Record);
    return 0;
  }

  /// Takes the oldest item, after releasing the one before it. False when nothing waits. What was taken joins nothing
  /// any more.
  [[nodiscard]] bool take(Item& item) noexcept {
    release();
    if (!ring_empty()) {
      take_from_ring(item);
      return true;
    }
    if (pending_.empty()) return false;
    take_from_pending(item);
    return true;
  }

  /// The item taken last has been heard: frees the place of its frame. Without one it does nothing.
  void release() noexcept {
    if (!taken_) return;
    settled_ = *taken_;
    taken_.reset();
    if (std::exchange(frame_taken_, false)) drop_head();
  }

  /// Whether nothing is left to take.
  [[nodiscard]] bool empty() const noexcept { return records_ == (frame_taken_ ? 1U : 0U) && pending_.empty(); }

  /// How many frames and resyncs were pushed: the number of the latest.
  [[nodiscard]] std::uint64_t pushed() const noexcept { return pushed_; }

  /// All pushes up to this number have been taken and released, or absorbed into something that has.
  [[nodiscard]] std::uint64_t settled() const noexcept { return empty() && !taken_ ? pushed_ : settled_; }

  /// Bytes of what waits, a frame that is taken and not released included; never above queue_bytes + pending_bytes.
  [[nodiscard]] std::size_t bytes() const noexcept { return ring_bytes_ + pending_.bytes(); }

 private:
  /// Stands before each frame in the ring; a resync has no frame.
  struct Record {
    std::uint64_t position = 0;  ///< the number of the push, the latest of joined resyncs
    std::uint32_t size = 0;
    bool late = false;
    bool is_resync = false;
    Resync resync{};
  };
  static_assert(std::is_trivially_copyable_v<Record>, "records are copied into raw bytes");

  static constexpr std::size_t none = (std::numeric_limits<std::size_t>::max)();

  [[nodiscard]] Record load(std::size_t at) const noexcept {
    Record record;
    std::memcpy(&record, ring_.get() + at, sizeof record);
    return record;
  }
  void store(std::size_t at, const Record& record) noexcept { std::memcpy(ring_.get() + at, &record, sizeof record); }

  [[nodiscard]] bool ring_empty() const noexcept { return records_ == 0; }

  void count_push() noexcept {
    settled_ = settled();  // also past what left nothing to take, as a frame without events
    ++pushed_;
  }

  /// False, and nothing done, when there is no room in one piece.
  bool append(const Record& record, Bytes frame) noexcept {
    const std::size_t size = sizeof(Record) + frame.size();
    if (!wrapped_ && capacity_ - tail_ < size && head_ >= size) {
      limit_ = tail_;
      tail_ = 0;
      wrapped_ = true;
    }
    if ((wrapped_ ? head_ : capacity_) - tail_ < size) return false;
    store(tail_, record);
    if (!frame.empty()) std::memcpy(ring_.get() + tail_ + sizeof(Record), frame.data(), frame.size());
    tail_ += size;
    ring_bytes_ += size;
    ++records_;
    return true;
  }

  void drop_head() noexcept {
    const std::size_t size = sizeof(Record) + load(head_).size;
    ring_bytes_ -= size;
    head_ += size;
    if (--records_ == 0) {
      head_ = tail_ = 0;
      wrapped_ = false;
    } else if (wrapped_ && head_ == limit_) {
      head_ = 0;
      wrapped_ = false;
    }
  }

  void take_from_ring(Item& item) noexcept {
    const Record record = load(head_);
    taken_ = record.position;
    if (record.is_resync) {
      item.kind = Item::Kind::resync;
      item.resync = record.resync;
      if (last_resync_ == head_) last_resync_ = none;
      drop_head();
      return;
    }
    item.kind = Item::Kind::frame;
    item.late = record.late;
    item.frame = {ring_.get() + head_ + sizeof(Record), record.size};
    frame_taken_ = true;
  }

  void take_from_pending(Item& item) noexcept {
    const bool is_event = pop_pending_event(item.event);
    item.kind = is_event ? Item::Kind::event : Item::Kind::resync;
    if (!is_event) item.resync = pending_.take_resync().value_or(Resync{});
    taken_ = pending_.empty() ? last_joined_ : settled_;
  }

  bool pop_pending_event(PendingEvent& event) noexcept try {
    return pending_.pop_front(event);
  } catch (const std::bad_alloc&) {
    // Without memory for a key, "anything may have changed" needs none.
    pending_.put_resync({ResyncCause::overflow, {}});
    return false;
  }

  std::size_t join_resync(const Resync& resync) noexcept {
    last_joined_ = pushed_;
    return pending_.put_resync(resync);
  }

  Put join_frame(Bytes frame, bool late) noexcept {
    last_joined_ = pushed_;
    EventsView events = reread_events(frame);
    Put total;
    WireEvent event;
    for (std::uint32_t index = 0; events.next(event); ++index) {
      if (late && (event.type == EventType::set || event.type == EventType::remove)) event.type = EventType::invalidate;
      const auto awaited = event.awaited ? std::optional{EventId{events.sequence(), index}} : std::nullopt;
      const Put put = pending_.put(event, events.origin(), awaited);
      total.absorbed += put.absorbed;
      total.overflowed = total.overflowed || put.overflowed;
    }
    return total;
  }

  std::unique_ptr<std::byte[]> ring_;
  std::size_t capacity_;
  std::size_t head_ = 0;   // the oldest record, also while its frame is taken
  std::size_t tail_ = 0;   // where the next record goes
  std::size_t limit_ = 0;  // while wrapped: where the records before the wrap end
  bool wrapped_ = false;   // the tail is before the head
  bool frame_taken_ = false;
  std::size_t records_ = 0;
  std::size_t ring_bytes_ = 0;
  std::size_t last_resync_ = none;  // the youngest record if it is a resync that nobody has taken
  PendingEvents pending_;
  std::uint64_t last_joined_ = 0;       // the latest push that went there
  std::uint64_t pushed_ = 0;
  std::uint64_t settled_ = 0;
  std::optional<std::uint64_t> taken_;  // an item is; its release settles the pushes up to this
};

}  // namespace syncbus::inline v1::core
