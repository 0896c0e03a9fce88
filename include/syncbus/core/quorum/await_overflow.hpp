// Storage of awaits beyond the ring: frames that it has overwritten, and events that it has no room for yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/core/wire/events_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// Names an await of this node, also before its events have a sequence.
using AwaitId = std::uint64_t;

/// Bounded: both together take at most `max_bytes`. What does not fit is not kept; its await then ends at the deadline.
class AwaitOverflow {
 public:
  struct Waiting {
    AwaitId await_id;
    std::uint32_t event;
    EventType type;
    std::string key;
    std::uint64_t version;
  };

  explicit AwaitOverflow(std::size_t max_bytes) noexcept : max_bytes_{max_bytes} {}

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

  /// Something was not kept, and nothing that is here has been dropped since.
  [[nodiscard]] bool full() const noexcept { return full_ && bytes_ != 0; }

  // --- frames

  void save(std::uint64_t sequence, Bytes frame) noexcept {
    if (!fits(frame.size())) return;
    try {
      frames_.emplace(sequence, std::vector<std::byte>{frame.begin(), frame.end()});
      bytes_ += frame.size();
    } catch (const std::bad_alloc&) {
      return;  // as when it does not fit
    }
  }
  [[nodiscard]] std::optional<Bytes> find(std::uint64_t sequence) const noexcept {
    const auto frame = frames_.find(sequence);
    return frame == frames_.end() ? std::nullopt : std::optional<Bytes>{frame->second};
  }
  void drop(std::uint64_t sequence) noexcept {
    const auto frame = frames_.find(sequence);
    if (frame == frames_.end()) return;
    release(frame->second.size());
    frames_.erase(frame);
  }

  // --- events, in their order

  void add(Waiting event) {
    if (!fits(bytes_of(event))) return;
    bytes_ += bytes_of(event);
    waiting_.push_back(std::move(event));
  }
  [[nodiscard]] const Waiting* first() const noexcept { return waiting_.empty() ? nullptr : &waiting_.front(); }
  void drop_first() {
    release(bytes_of(waiting_.front()));
    waiting_.pop_front();
  }

  /// Drops those of awaits that have ended.
  template <class IsOpen>
  void drop_ended(const IsOpen& is_open) {
    std::erase_if(waiting_, [&](const Waiting& event) {
      if (is_open(event.await_id)) return false;
      release(bytes_of(event));
      return true;
    });
  }

 private:
  [[nodiscard]] static std::size_t bytes_of(const Waiting& event) noexcept {
    return sizeof(Waiting) + event.key.size();
  }

  [[nodiscard]] bool fits(std::size_t bytes) noexcept {
    full_ = bytes > max_bytes_ - bytes_;
    return !full_;
  }
  void release(std::size_t bytes) noexcept {
    bytes_ -= bytes;
    full_ = false;
  }

  std::size_t max_bytes_;
  std::size_t bytes_ = 0;
  bool full_ = false;
  std::map<std::uint64_t, std::vector<std::byte>> frames_;  ///< by sequence
  std::deque<Waiting> waiting_;
};

}  // namespace syncbus::inline v1::core
