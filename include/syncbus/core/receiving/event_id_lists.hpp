// Lists of the ids of awaited events, all in one block of memory.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <syncbus/core/wire/events_frame.hpp>

namespace syncbus::inline v1::core {

/// Places are linked by their numbers in the block, so that one more costs 16 bytes and, once the block has its size,
/// no allocation. A list is named by its last place, which is linked to its first.
///
/// Thread safety: none, the owner locks.
class EventIdLists {
 public:
  using List = std::uint32_t;
  static constexpr List empty = (std::numeric_limits<List>::max)();

  [[nodiscard]] bool full() const noexcept { return free_ == empty; }
  [[nodiscard]] std::size_t bytes() const noexcept { return capacity_ * sizeof(Link); }
  [[nodiscard]] std::size_t used_bytes() const noexcept { return used_ * sizeof(Link); }

  /// The bytes that grow() allocates; for its length they are held beside bytes().
  [[nodiscard]] std::size_t grown_bytes() const noexcept { return grown_capacity() * sizeof(Link); }

  /// False, and nothing changed, without memory for it. Precondition: full.
  bool grow() noexcept {
    assert(full());
    const std::size_t wanted = grown_capacity();
    if (wanted > empty) return false;
    std::unique_ptr<Link[]> grown{new (std::nothrow) Link[wanted]};
    if (!grown) return false;
    std::copy_n(links_.get(), capacity_, grown.get());
    for (std::size_t i = wanted; i-- != capacity_; free_ = static_cast<List>(i)) grown[i].next = free_;
    links_ = std::move(grown);
    capacity_ = wanted;
    return true;
  }

  /// Precondition: not full.
  void append(List& list, const EventId& place) noexcept {
    assert(!full());
    const List added = free_;
    free_ = links_[added].next;
    links_[added] = {place.sequence, place.index, list == empty ? added : std::exchange(links_[list].next, added)};
    list = added;
    ++used_;
  }

  /// Throws bad_alloc.
  void copy(List list, std::vector<EventId>& out) const {
    out.clear();
    if (list == empty) return;
    for (List at = links_[list].next;; at = links_[at].next) {
      out.push_back({links_[at].sequence, links_[at].index});
      if (at == list) return;
    }
  }

  void clear(List& list) noexcept {
    if (list == empty) return;
    --used_;
    for (List at = links_[list].next; at != list; at = links_[at].next) --used_;
    free_ = std::exchange(links_[list].next, free_);
    list = empty;
  }

  /// Gives the memory back. Precondition: all lists are empty.
  void reset() noexcept {
    assert(used_ == 0);
    links_.reset();
    capacity_ = 0;
    free_ = empty;
  }

 private:
  struct Link {
    std::uint64_t sequence;
    std::uint32_t index;
    List next;
  };

  static constexpr std::size_t first_capacity = 16;

  [[nodiscard]] std::size_t grown_capacity() const noexcept { return capacity_ == 0 ? first_capacity : 2 * capacity_; }

  std::unique_ptr<Link[]> links_;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
  List free_ = empty;
};

}  // namespace syncbus::inline v1::core
