// FillGuard: keeps a load that was in flight during an invalidation from storing the stale value it read.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

namespace syncbus::inline v1 {

/// Ends the race in which a load resurrects a stale value. The race: a reader misses in the cache and reads the old
/// value from the truth; a writer changes the truth; its invalidation arrives and erases the key, which is not there
/// yet; now the reader stores the old value, and nothing will ever erase it.
///
///     std::string load(std::string_view key) {               // after a miss
///       const auto ticket = guard.begin(key);                // 1. before the truth is read
///       std::string value = database.read(key);
///       const std::scoped_lock lock{cache_mutex};
///       if (guard.may_store(ticket)) cache[key] = value;     // 2. under the cache's lock
///       return value;                                        // right to return, wrong to keep
///     }
///     auto subscription = bus.subscribe_all(
///         [&](const syncbus::Event& e) {
///           guard.invalidated(e.key);                        // 3. before the erase
///           const std::scoped_lock lock{cache_mutex};
///           cache.erase(e.key);
///         },
///         [&](const syncbus::Resync&) {
///           guard.invalidated_all();
///           const std::scoped_lock lock{cache_mutex};
///           cache.clear();
///         });
///
/// The rules:
///  1. begin() comes before the read of the truth. A second read needs a second ticket.
///  2. may_store() and the store are one critical section of the lock that also guards the erase; of a sharded cache,
///     the lock of the key's shard.
///  3. invalidated() comes before the critical section that erases, or anywhere within it; never after it. Between an
///     erase and a later invalidated() a reader would still be told yes, and its stale value would stay.
///  4. Every event counts, also one that erases nothing because the key is not cached, or is cached in a newer
///     version: a load in flight may have read what is older.
///  5. A writer that stores what it wrote into its own cache without hearing its event (Scope::remote) calls
///     invalidated() too, as in rule 3, with its store in the place of the erase.
///
/// A yes is never wrong. A no may be (another key of the same stripe was invalidated, or the value was read after the
/// change) and costs one more load. Memory is constant: `Stripes` counters of 8 bytes, however many keys there are.
///
/// Thread safety: all members may be called from any threads at once. They do not block, allocate or throw.
template <std::size_t Stripes>
class BasicFillGuard {
  static_assert(Stripes != 0 && (Stripes & (Stripes - 1)) == 0, "the number of stripes is a power of two");

 public:
  /// Says when a load began. Freely copied, may wander between threads like any value. One that no begin() returned
  /// permits nothing.
  class Ticket {
   public:
    Ticket() = default;

   private:
    friend BasicFillGuard;
    constexpr Ticket(std::uint64_t stamp, std::size_t stripe) noexcept : stamp_{stamp}, stripe_{stripe} {}

    std::uint64_t stamp_ = (std::numeric_limits<std::uint64_t>::max)();
    std::size_t stripe_ = 0;
  };

  BasicFillGuard() = default;
  BasicFillGuard(const BasicFillGuard&) = delete;
  BasicFillGuard& operator=(const BasicFillGuard&) = delete;

  /// Before the truth of `key` is read.
  [[nodiscard]] Ticket begin(std::string_view key) const noexcept {
    const std::size_t stripe = stripe_of(key);
    return {stamp(stripe), stripe};
  }

  /// Whether nothing was invalidated that concerns the ticket's key since it was drawn. Under the cache's lock.
  [[nodiscard]] bool may_store(const Ticket& ticket) const noexcept { return stamp(ticket.stripe_) == ticket.stamp_; }

  /// An event of `key` arrived. Before the key is erased.
  void invalidated(std::string_view key) noexcept { stripes_[stripe_of(key)].fetch_add(1, std::memory_order_release); }

  /// A resync arrived. Before everything is erased.
  void invalidated_all() noexcept { all_.fetch_add(1, std::memory_order_release); }

 private:
  // Neither counter ever falls, nor wraps in a lifetime (2^64 events), so their sum is the same at two times only when
  // both are. What order each access needs, with W the write of the truth, I the increment, E the erase:
  //
  //  * The reader's critical section is before E's: E erases what it stored. Nothing is needed of the counters.
  //  * It is after E's: I is before the unlock that ends E's section, so it happens before the reader's check, which by
  //    coherence reads I or later. The lock alone orders this; a relaxed load would do. It says no, unless begin() had
  //    read I too. But I is a release after W, and begin()'s load an acquire before the read of the truth, so then W
  //    happened before that read, and the value is not stale. (A later increment by another thread is a
  //    read-modify-write: it continues I's release sequence.) Where the truth is another machine, its own request and
  //    reply take the place of W's happens-before, and the acquire keeps begin() before the request.
  [[nodiscard]] std::uint64_t stamp(std::size_t stripe) const noexcept {
    return all_.load(std::memory_order_acquire) + stripes_[stripe].load(std::memory_order_acquire);
  }

  [[nodiscard]] static std::size_t stripe_of(std::string_view key) noexcept {
    return std::hash<std::string_view>{}(key) & (Stripes - 1);
  }

  // Apart from the stripes, since every begin() reads it and it hardly ever changes.
  alignas(64) std::atomic<std::uint64_t> all_{0};
  alignas(64) std::array<std::atomic<std::uint64_t>, Stripes> stripes_{};
};

/// 1,024 stripes, 8 KiB: with 100 invalidations a second and loads of 10 ms, one load in 1,000 is refused for another
/// key's sake.
using FillGuard = BasicFillGuard<1'024>;

static_assert(std::is_trivially_copyable_v<FillGuard::Ticket> && sizeof(FillGuard::Ticket) <= 16);

}  // namespace syncbus::inline v1
