// The join: a bounded, conflating set of events with a top. A full set joins up to "resync"; it never drops.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/core/receiving/event_id_lists.hpp>
#include <syncbus/core/wire/events_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// The join of two types of one key in one namespace: what differs is an invalidation.
[[nodiscard]] constexpr EventType join(EventType a, EventType b) noexcept { return a == b ? a : EventType::invalidate; }

/// The join of two versions: the larger; 0, "of no known version", absorbs.
[[nodiscard]] constexpr std::uint64_t join_versions(std::uint64_t a, std::uint64_t b) noexcept {
  return a == 0 || b == 0 ? 0 : (std::max)(a, b);
}

/// The join of two resyncs: the cause that the enumeration names first, and the peer if both are about one peer.
/// A product of two semilattices (a chain, and a flat one under "no peer"), therefore one itself.
[[nodiscard]] constexpr Resync join(const Resync& a, const Resync& b) noexcept {
  return {(std::min)(a.cause, b.cause), a.peer == b.peer ? a.peer : NodeId{}};
}

/// An event that was taken out of a set. Used again and again, the memory of its key and places is reused.
struct PendingEvent {
  EventType type = EventType::invalidate;
  std::string key;
  std::uint64_t version = 0;
  NodeId origin;
  std::vector<EventId> awaited;  ///< of all awaited events that joined into it, in their order
};

/// What became of an event that was put.
struct Put {
  std::size_t absorbed = 0;  ///< events and resyncs that no longer wait by themselves; 0: it was added
  bool overflowed = false;   ///< there was no room: all joined to a resync, cause overflow
};

/// Events that wait. Those of equal key, origin and namespace (leases have one of their own) join into one, which takes
/// the place of the last. At most `max_events` of them and `max_bytes` of memory, counted with all overhead, because
/// strangers choose how long keys are; one more, or no memory for it, joins the whole set to its top, a resync. A
/// resync absorbs what waits when it is put; what is put later waits behind it. An emptied set holds idle_bytes at
/// most, and in a steady state nothing is allocated.
///
/// An event remembers the places of the awaited ones that joined into it, so that all can be acknowledged when it has
/// been heard. A resync remembers none: the keys are gone, and whether a subscriber matches them cannot be known any
/// more. These events are acknowledged when their publisher asks again, after a repair. A place that finds no room is
/// forgotten, too: that is a lost answer, never a false one.
///
/// Thread safety: none, the owner locks.
class PendingEvents {
 public:
  static constexpr std::size_t idle_bytes = std::size_t{256} << 10U;

  PendingEvents(std::size_t max_events, std::size_t max_bytes, const detail::HashSecret& secret = {}) noexcept
      : max_events_{max_events}, max_bytes_{max_bytes}, secret_{secret} {}

  PendingEvents(const PendingEvents&) = delete;
  PendingEvents& operator=(const PendingEvents&) = delete;

  ~PendingEvents() {
    clear_events();
    while (free_ != nullptr) release_free_node();
  }

  /// Puts an event of `origin`; a resync is put as put_resync would, with the origin as its peer. `awaited`: the place
  /// of an awaited event.
  Put put(const WireEvent& event, NodeId origin, std::optional<EventId> awaited = {}) noexcept {
    if (event.type == EventType::resync) return {.absorbed = put_resync({event.cause, origin})};
    const Identity id{event.key, origin, event.type == EventType::lease_revoked};
    const std::uint32_t hash = hash_of(id);
    if (Node* const node = find(id, hash)) {
      node->type = join(node->type, event.type);
      node->version = join_versions(node->version, event.version);
      if (awaited) remember(*node, *awaited);
      unlink(node);
      link_last(node);
      return {.absorbed = 1};
    }
    Node* const node = count_ < max_events_ && grow_index() ? acquire(event.key.size()) : nullptr;
    if (node == nullptr) return {.absorbed = 1 + put_top({ResyncCause::overflow, {}}), .overflowed = true};
    node->origin = origin;
    node->version = event.version;
    node->hash = hash;
    node->type = event.type;
    if (awaited) remember(*node, *awaited);
    node->key_size = static_cast<std::uint32_t>(event.key.size());
    if (!event.key.empty()) std::memcpy(key_of(node), event.key.data(), event.key.size());
    link_last(node);
    link_chain(node);
    ++count_;
    return {};
  }

  /// Puts a resync: it covers everything that waits. Returns how many events and resyncs it absorbed.
  std::size_t put_resync(const Resync& resync) noexcept {
    const std::size_t tops = top_ ? 1 : 0;
    return tops + put_top(resync);
  }

  /// What is to be taken first: the resync (as an event without a key) if there is one. It does not say which awaited
  /// events have joined into it. Valid until the next call of a member that is not const. Precondition: not empty.
  [[nodiscard]] WireEvent front() const noexcept {
    assert(!empty());
    if (top_) return {.type = EventType::resync, .key = {}, .cause = top_->cause};
    return {.type = first_->type, .key = key_view(first_), .version = first_->version};
  }

  /// Takes what front() shows.
  void drop_front() noexcept {
    if (std::exchange(top_, std::nullopt)) return;
    unlink_chain(first_);
    remove(first_);
    if (count_ == 0) trim();
  }

  /// Takes the resync that stands before the events, if there is one.
  [[nodiscard]] std::optional<Resync> take_resync() noexcept { return std::exchange(top_, std::nullopt); }

  /// Takes the first event; false when none waits or a resync is to be taken before it. Throws bad_alloc when there is
  /// no memory for a longer key or more places than `out` has held; the event still waits then.
  [[nodiscard]] bool pop_front(PendingEvent& out) {
    if (top_ || first_ == nullptr) return false;
    out.key.assign(key_view(first_));
    out.type = first_->type;
    out.version = first_->version;
    out.origin = first_->origin;
    places_.copy(first_->awaited, out.awaited);
    drop_front();
    return true;
  }

  [[nodiscard]] bool empty() const noexcept { return count_ == 0 && !top_; }
  /// Events that wait, the resync not counted.
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  /// Bytes of the events that wait, their overhead included; 0 when none does.
  [[nodiscard]] std::size_t bytes() const noexcept { return node_bytes_ - free_bytes_ + places_.used_bytes(); }
  /// Bytes of all memory held for events, the index, places and reuse; never above max_bytes.
  [[nodiscard]] std::size_t held_bytes() const noexcept { return node_bytes_ + index_bytes() + places_.bytes(); }

 private:
  /// Its key's bytes follow it in the same allocation.
  struct Node {
    Node* previous;
    Node* next;   // in the order of the events, or in the list of free nodes
    Node* chain;  // of one bucket
    NodeId origin;
    std::uint64_t version;
    std::uint32_t hash;
    std::uint32_t key_size;
    std::uint32_t key_capacity;
    EventIdLists::List awaited = EventIdLists::empty;
    EventType type;
  };

  struct Identity {
    std::string_view key;
    NodeId origin;
    bool lease;
  };

  static constexpr std::size_t allocator_overhead = 16;  // what a general allocator adds to a node
  static constexpr std::size_t key_granularity = 32;     // so that free nodes fit keys of nearly the same size
  static constexpr std::size_t first_buckets = 16;

  static std::string_view key_view(const Node* node) noexcept {
    return {reinterpret_cast<const char*>(node) + sizeof(Node), node->key_size};
  }
  static char* key_of(Node* node) noexcept { return reinterpret_cast<char*>(node) + sizeof(Node); }
  static std::size_t cost_of(const Node* node) noexcept {
    return sizeof(Node) + node->key_capacity + allocator_overhead;
  }

  std::uint32_t hash_of(const Identity& id) const noexcept {
    const std::uint64_t of_key = detail::hash_bytes(id.key, id.lease ? 1U : 0U, secret_);
    return static_cast<std::uint32_t>(detail::fold_product(of_key ^ id.origin.value, secret_.odd1) >> 32U);
  }

  [[nodiscard]] std::size_t index_bytes() const noexcept { return bucket_count_ * sizeof(Node*); }
  Node*& bucket_of(std::uint32_t hash) const noexcept { return buckets_[hash & (bucket_count_ - 1)]; }

  Node* find(const Identity& id, std::uint32_t hash) const noexcept {
    if (count_ == 0) return nullptr;
    Node* node = bucket_of(hash);
    while (node != nullptr && !(node->hash == hash && node->origin == id.origin &&
                                (node->type == EventType::lease_revoked) == id.lease && key_view(node) == id.key)) {
      node = node->chain;
    }
    return node;
  }

  /// A node with room for a key, from the free ones or new; null when the set is full.
  Node* acquire(std::size_t key_size) noexcept {
    if (free_ != nullptr && free_->key_capacity >= key_size) {
      Node* node = free_;
      free_ = node->next;
      free_bytes_ -= cost_of(node);
      return node;
    }
    // Too small a node goes, so that nodes grow to the keys in use and allocation ends.
    if (free_ != nullptr) release_free_node();
    if (key_size > (std::numeric_limits<std::uint32_t>::max)() - key_granularity) return nullptr;
    const std::size_t capacity = (key_size + key_granularity - 1) / key_granularity * key_granularity;
    const std::size_t cost = sizeof(Node) + capacity + allocator_overhead;
    if (!make_room(cost)) return nullptr;
    void* memory = ::operator new(sizeof(Node) + capacity, std::nothrow);
    if (memory == nullptr) return nullptr;
    node_bytes_ += cost;
    Node* node = ::new (memory) Node{};
    node->key_capacity = static_cast<std::uint32_t>(capacity);
    return node;
  }

  /// Whether `bytes` more may be held; what is kept for reuse goes first.
  bool make_room(std::size_t bytes) noexcept {
    while (max_bytes_ - held_bytes() < bytes && free_ != nullptr) release_free_node();
    if (max_bytes_ - held_bytes() < bytes && places_.used_bytes() == 0) places_.reset();
    return max_bytes_ - held_bytes() >= bytes;
  }

  void remember(Node& node, const EventId& place) noexcept {
    if (places_.full() && !(make_room(places_.grown_bytes()) && places_.grow())) return;
    places_.append(node.awaited, place);
  }

  void release_free_node() noexcept {
    Node* node = free_;
    free_ = node->next;
    free_bytes_ -= cost_of(node);
    node_bytes_ -= cost_of(node);
    ::operator delete(node);
  }

  /// Makes one bucket an event. Without room for more of them chains get longer; false only when there are none.
  bool grow_index() noexcept {
    if (count_ < bucket_count_) return true;
    const std::size_t wanted = bucket_count_ == 0 ? first_buckets : bucket_count_ * 2;
    if (!make_room(wanted * sizeof(Node*))) return bucket_count_ != 0;
    std::unique_ptr<Node* []> fresh { new (std::nothrow) Node* [wanted] {} };
    if (!fresh) return bucket_count_ != 0;
    buckets_ = std::move(fresh);
    bucket_count_ = wanted;
    for (Node* node = first_; node != nullptr; node = node->next) link_chain(node);
    return true;
  }

  /// For an emptied set: gives back what is not worth keeping.
  void trim() noexcept {
    if (places_.bytes() > idle_bytes / 4) places_.reset();
    if (index_bytes() <= idle_bytes / 4) return;
    buckets_.reset();
    bucket_count_ = 0;
  }

  void link_chain(Node* node) noexcept {
    Node*& bucket = bucket_of(node->hash);
    node->chain = bucket;
    bucket = node;
  }

  void unlink_chain(Node* node) noexcept {
    Node** link = &bucket_of(node->hash);
    while (*link != node) link = &(*link)->chain;
    *link = node->chain;
  }

  void link_last(Node* node) noexcept {
    node->previous = last_;
    node->next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = node;
    last_ = node;
  }

  void unlink(Node* node) noexcept {
    (node->previous == nullptr ? first_ : node->previous->next) = node->next;
    (node->next == nullptr ? last_ : node->next->previous) = node->previous;
  }

  /// Out of the order; kept for reuse while few are.
  void remove(Node* node) noexcept {
    unlink(node);
    places_.clear(node->awaited);
    --count_;
    node->next = free_;
    free_ = node;
    free_bytes_ += cost_of(node);
    if (free_bytes_ > idle_bytes / 2) release_free_node();
  }

  void clear_events() noexcept {
    if (first_ == nullptr) return;
    while (first_ != nullptr) remove(first_);
    std::fill_n(buckets_.get(), bucket_count_, nullptr);
    trim();
  }

  /// Joins everything to the top; returns how many events that absorbed.
  std::size_t put_top(const Resync& resync) noexcept {
    const std::size_t absorbed = count_;
    clear_events();
    top_ = top_ ? join(*top_, resync) : resync;
    return absorbed;
  }

  std::size_t max_events_;
  std::size_t max_bytes_;
  detail::HashSecret secret_;
  std::optional<Resync> top_;
  Node* first_ = nullptr;
  Node* last_ = nullptr;
  std::size_t count_ = 0;
  std::unique_ptr<Node*[]> buckets_;
  std::size_t bucket_count_ = 0;  // a power of two, or 0
  Node* free_ = nullptr;
  std::size_t free_bytes_ = 0;
  std::size_t node_bytes_ = 0;  // of all nodes, the free ones included
  EventIdLists places_;
};

}  // namespace syncbus::inline v1::core
