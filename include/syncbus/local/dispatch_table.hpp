// A split-ordered list (Shalev and Shavit, 2006): key, prefix or lease to subscribers, read without a lock.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <syncbus/local/dispatch_node.hpp>

namespace syncbus::inline v1::detail {

/// The table: one list that ascends by hash, and sentinels that cut it into intervals of hashes, each a way into it.
/// They are halved one at a time, in turn (linear hashing, on a list as in Shalev and Shavit, "Split-Ordered Lists",
/// 2006), so nothing is ever rehashed, no insertion costs more than another, and a million subscribers are as cheap to
/// join as a thousand, of different keys or of one.
///
/// Readers take no lock. They may walk while the writer works, which is the one thread that calls make_room, insert or
/// erase. They may not follow a link that was freed, so an erased node must live until no reader can hold it. A reader
/// loads links sequentially consistently, as its hazard record is written: either the writer sees the record, or the
/// reader misses the node. Sentinels stay: 24 bytes for each of the most subscribers that there ever were at once.
template <class Subscriber>
class DispatchTable {
 public:
  using Node = DispatchNode<Subscriber>;

  explicit DispatchTable(const HashSecret& secret = {}) : secret_{secret} { std::construct_at(&make_segment(0)); }
  DispatchTable(const DispatchTable&) = delete;
  DispatchTable& operator=(const DispatchTable&) = delete;

  /// Frees every node that is still in.
  ~DispatchTable() {
    for (DispatchLink* link = &head(); link != nullptr;) {
      DispatchLink* const next = link->next.load(std::memory_order_relaxed);
      if (!link->is_sentinel()) typename Node::Deleter{}(static_cast<Node*>(link));
      link = next;
    }
    for (std::size_t i = 0; i != segments_.size(); ++i) {
      if (auto* const segment = segments_[i].load(std::memory_order_relaxed)) Memory{}.deallocate(segment, size_of(i));
    }
  }

  // --- the writer

  /// To be called before each insert. May throw bad_alloc, and then nothing has changed.
  void make_room() {
    if (size_ >= intervals()) split_bucket();
  }

  /// Puts a node behind the others of its name and gives it the next id.
  void insert(typename Node::Owner owned) noexcept {
    Node* const node = owned.release();
    node->order = order_of(node->space, node->name());
    node->id = last_id_.load(std::memory_order_relaxed) + 1;
    DispatchLink* before = &last_below(sentinel_of(node->order), node->order);
    if (Node* const first = same_hash(before->next.load(std::memory_order_relaxed), *node)) {
      Node* const last = std::exchange(first->last_same_hash, node);
      last->followed.store(true);
      before = last;
    }
    link_behind(*before, *node);
    last_id_.store(node->id, std::memory_order_release);
    ++size_;
  }

  /// Takes a node out; readers that stand on it can still leave it. The caller owns it now.
  void erase(Node& node) noexcept {
    node.alive.store(false);
    DispatchLink* const next = node.next.load(std::memory_order_relaxed);
    Node* const before = same_hash(node.previous, node);
    Node* const behind = same_hash(next, node);
    if (before == nullptr && behind != nullptr) behind->last_same_hash = node.last_same_hash;
    if (before != nullptr && behind == nullptr) first_same_hash(node).last_same_hash = before;
    if (next != nullptr) next->previous = node.previous;
    node.previous->next.store(next);
    --size_;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t intervals() const noexcept {
    const Growth growth{growth_.load(std::memory_order_relaxed)};
    return (std::size_t{1} << growth.bits()) + growth.halved();
  }

  // --- readers

  /// The id of the latest subscriber: a dispatch serves those that were there when it began.
  [[nodiscard]] std::uint64_t last_id() const noexcept { return last_id_.load(std::memory_order_acquire); }

  /// Where the subscribers of a name stand in this table.
  [[nodiscard]] std::uint64_t order_of(KeySpace space, std::string_view name) const noexcept {
    return detail::order_of(space, name, secret_);
  }

  /// What a walk looks for: a name, and the latest subscriber that it may find.
  struct Target {
    std::string_view name;
    std::uint64_t order;
    std::uint64_t last;
    KeySpace space;
  };

  [[nodiscard]] Target target(KeySpace space, std::string_view name, std::uint64_t last) const noexcept {
    return {name, order_of(space, name), last, space};
  }

  /// The first living subscriber of the target with an id above `after`; null when there is none.
  [[nodiscard]] Node* find(const Target& target, std::uint64_t after) const noexcept {
    return next_match(sentinel_of(target.order), target, after);
  }

  /// The same behind a link that is still in.
  [[nodiscard]] static Node* next_match(const DispatchLink& from, const Target& target, std::uint64_t after) noexcept {
    for (auto* link = from.next.load(); link != nullptr && link->order <= target.order; link = link->next.load()) {
      if (link->order != target.order) continue;
      Node* const node = static_cast<Node*>(link);
      const bool in_time = node->id > after && node->id <= target.last;
      if (in_time && node->is_of(target.space, target.name) && node->alive.load()) return node;
    }
    return nullptr;
  }

  /// The first living subscriber, of any name, with an id not above `last`.
  [[nodiscard]] Node* first_of_all(std::uint64_t last) const noexcept { return next_living(head(), 0, 0, last); }

  /// The next one behind place (`order`, `id`), where an erased node was.
  [[nodiscard]] Node* find_behind(std::uint64_t order, std::uint64_t id, std::uint64_t last) const noexcept {
    return next_living(sentinel_of(order), order, id, last);
  }

  /// The next one behind a link that is still in, and behind place (`order`, `id`).
  [[nodiscard]] static Node* next_living(const DispatchLink& from, std::uint64_t order, std::uint64_t id,
                                         std::uint64_t last) noexcept {
    for (auto* link = from.next.load(); link != nullptr; link = link->next.load()) {
      if (link->is_sentinel() || link->order < order) continue;
      Node* const node = static_cast<Node*>(link);
      const bool behind = node->order > order || node->id > id;
      if (behind && node->id <= last && node->alive.load()) return node;
    }
    return nullptr;
  }

 private:
  using Memory = std::allocator<DispatchLink>;

  [[nodiscard]] DispatchLink& head() const noexcept { return *segments_[0].load(std::memory_order_relaxed); }

  /// How far the table has grown, in one word, so that readers see one state: each interval is of so many leading bits,
  /// and the first `halved` were cut in two.
  struct Growth {
    std::uint64_t word;

    [[nodiscard]] unsigned bits() const noexcept { return word & 63U; }
    [[nodiscard]] std::uint64_t halved() const noexcept { return word >> 6U; }
    [[nodiscard]] Growth next() const noexcept {
      const bool all = halved() + 1 == std::uint64_t{1} << bits();
      return {all ? bits() + 1 : word + 64};
    }
  };

  /// The sentinel of the interval that `order` is in. An interval begins where a sentinel was put when intervals had as
  /// many bits as its number has without trailing zeros: the one of number 0, which was there from the beginning, or
  /// half of the odd number in the segment of that many bits.
  [[nodiscard]] [[gnu::always_inline]] DispatchLink& sentinel_of(std::uint64_t order) const noexcept {
    const Growth growth{growth_.load(std::memory_order_acquire)};
    unsigned bits = growth.bits();
    std::uint64_t interval = order >> 1U >> (63 - bits);
    if (interval < growth.halved()) interval = order >> (63 - bits++);
    if (interval == 0) return head();
    const auto zeros = static_cast<unsigned>(std::countr_zero(interval));
    return segments_[bits - zeros].load(std::memory_order_acquire)[interval >> zeros >> 1U];
  }

  /// Segment k holds the sentinels of intervals that begin at an odd number of k bits.
  [[nodiscard]] static std::size_t size_of(std::size_t segment) noexcept {
    return segment == 0 ? 1 : std::size_t{1} << (segment - 1);
  }

  /// Its sentinels are constructed one by one, as they are needed: nobody waits for a million of them.
  DispatchLink& make_segment(std::size_t segment) {
    auto* const memory = Memory{}.allocate(size_of(segment));
    segments_[segment].store(memory, std::memory_order_release);
    return *memory;
  }

  void split_bucket() {
    const Growth growth{growth_.load(std::memory_order_relaxed)};
    const unsigned bits = growth.bits() + 1;
    if (segments_[bits].load(std::memory_order_relaxed) == nullptr) make_segment(bits);
    DispatchLink& sentinel = *std::construct_at(segments_[bits].load(std::memory_order_relaxed) + growth.halved());
    sentinel.order = (2 * growth.halved() + 1) << (64 - bits);
    link_behind(last_below(sentinel_of(sentinel.order), sentinel.order), sentinel);
    growth_.store(growth.next().word, std::memory_order_release);
  }

  /// The last link with a lower order. From the first node of an order it goes straight to the last: however many
  /// subscribers a name has, they are one step.
  [[nodiscard]] static DispatchLink& last_below(DispatchLink& sentinel, std::uint64_t order) noexcept {
    DispatchLink* before = &sentinel;
    for (auto* next = before->next.load(std::memory_order_relaxed); next != nullptr && next->order < order;
         next = before->next.load(std::memory_order_relaxed)) {
      before = next->is_sentinel() ? next : static_cast<Node*>(next)->last_same_hash;
    }
    return *before;
  }

  /// A link as a node of the same order as `node`; null when it is none.
  [[nodiscard]] static Node* same_hash(DispatchLink* link, const Node& node) noexcept {
    return link != nullptr && link->order == node.order ? static_cast<Node*>(link) : nullptr;
  }

  [[nodiscard]] Node& first_same_hash(const Node& node) const noexcept {
    return static_cast<Node&>(*last_below(sentinel_of(node.order), node.order).next.load(std::memory_order_relaxed));
  }

  static void link_behind(DispatchLink& before, DispatchLink& link) noexcept {
    DispatchLink* const next = before.next.load(std::memory_order_relaxed);
    link.previous = &before;
    link.next.store(next, std::memory_order_relaxed);
    if (next != nullptr) next->previous = &link;
    before.next.store(&link);
  }

  std::array<std::atomic<DispatchLink*>, 65> segments_{};
  const HashSecret secret_;
  std::atomic<std::uint64_t> growth_{0};  ///< a Growth
  std::atomic<std::uint64_t> last_id_{0};
  std::size_t size_ = 0;
};

}  // namespace syncbus::inline v1::detail
