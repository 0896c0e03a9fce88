// Hazard pointers (Michael, 2004): the record of one thread, which says what it may be looking at.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace syncbus::inline v1::detail {

class HazardRecords;

/// What one thread is doing with the dispatch tables of some buses, in one word that only it writes:
///
///     0         nothing
///     odd       walking a table: it may hold any entry that was linked when the walk began. A number that grows.
///     address   running the handler of that entry, and holding no other
///
/// A record is data only, because the code that made it may have been unloaded. Its thread locks the record's robust
/// mutex and never unlocks it: the kernel does, when the thread has ended. So no code of ours runs at the end of a
/// thread, by which time the plugin that the code was in may have been unloaded, and a thread may publish as long as it
/// lives.
class alignas(64) HazardRecord {
 public:
  HazardRecord(const HazardRecord&) = delete;
  HazardRecord& operator=(const HazardRecord&) = delete;
  ~HazardRecord() = delete;

  /// Begins a walk. Sequentially consistent, as the walk's loads are: either the writer that takes an entry out sees
  /// this record, or the walk does not see the entry.
  void walk() noexcept { state_.store(walks_ += 2, std::memory_order_seq_cst); }

  /// From a walk to one entry found in it. Until the store is seen, the walk is, and it protects the same.
  void hold(const void* entry) noexcept {
    state_.store(reinterpret_cast<std::uintptr_t>(entry), std::memory_order_release);
  }

  void leave() noexcept { state_.store(0, std::memory_order_release); }

  /// What this thread might still do with an entry that has been taken out.
  enum class Touch : std::uint8_t { none, walk, handler };

  [[nodiscard]] Touch touch(const void* entry) const noexcept {
    const std::uintptr_t state = state_.load(std::memory_order_seq_cst);
    if ((state & 1U) != 0) return Touch::walk;
    return state == reinterpret_cast<std::uintptr_t>(entry) ? Touch::handler : Touch::none;
  }

  /// The same, but never `walk`: waits for walks, which run no user code. At worst the first walk had found the entry
  /// and goes on into its handler, and the second leaves the entry behind; the third is past it.
  [[nodiscard]] Touch touch_after_walks(const void* entry) const noexcept {
    std::uintptr_t walk = 0;
    int walks = 0;
    for (Pause pause;; pause()) {
      const std::uintptr_t state = state_.load(std::memory_order_seq_cst);
      if (state == reinterpret_cast<std::uintptr_t>(entry)) return Touch::handler;
      if ((state & 1U) == 0) return Touch::none;
      if (std::exchange(walk, state) != state && ++walks == 3) return Touch::none;
    }
  }

  /// Waits until this thread cannot touch an entry that has been taken out any more: also for its handler.
  void wait_until_past(const void* entry) const noexcept {
    for (Pause pause; touch_after_walks(entry) == Touch::handler;) pause();
  }

  /// A small number that no other living thread has.
  [[nodiscard]] std::size_t slot() const noexcept { return slot_; }
  [[nodiscard]] const HazardRecord* next() const noexcept { return next_; }

  // --- what only this thread asks: how many handlers it is inside, and what it put off until it is in none

  [[nodiscard]] unsigned handlers() const noexcept { return handlers_.load(std::memory_order_relaxed); }

  /// With release, so that the next thread that takes this record over sees what this one did.
  void set_handlers(unsigned handlers) noexcept { handlers_.store(handlers, std::memory_order_release); }

  /// Something was put off, and not all of it has run.
  [[nodiscard]] bool has_deferred() const noexcept { return has_deferred_; }

 private:
  friend class HazardRecords;
  friend class HandlerScope;

  /// Of the calling thread, or `lent`: one that a dispatch takes and gives back.
  explicit HazardRecord(bool lent) noexcept : lent_{lent}, owner_{::pthread_self()} {
    if (lent) return;
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&life_, &attributes);
    ::pthread_mutexattr_destroy(&attributes);
    static_cast<void>(try_take(::pthread_self()));
  }

  /// Whether the calling thread, which is `me`, has it already: taken by whatever code. Ids of threads come back, so
  /// the mutex decides; being recursive it tells its own thread from every other.
  [[nodiscard]] bool is_of(pthread_t me) noexcept {
    if (lent_ || owner_.load(std::memory_order_relaxed) != me) return false;
    const int answer = ::pthread_mutex_trylock(&life_);
    if (answer == 0) ::pthread_mutex_unlock(&life_);
    return answer == 0 || (answer == EOWNERDEAD && take_over(me));
  }

  /// Takes it if its thread has ended. Not for a thread that may have it.
  [[nodiscard]] bool try_take(pthread_t me) noexcept {
    if (lent_) return false;
    const int answer = ::pthread_mutex_trylock(&life_);
    return (answer == 0 || answer == EOWNERDEAD) && take_over(me);
  }

  bool take_over(pthread_t me) noexcept {
    ::pthread_mutex_consistent(&life_);
    static_cast<void>(handlers_.load(std::memory_order_acquire));
    static_cast<void>(state_.load(std::memory_order_acquire));
    owner_.store(me, std::memory_order_relaxed);
    return true;
  }

  [[nodiscard]] bool try_borrow(pthread_t me) noexcept {
    bool used = false;
    if (!lent_ || !used_.compare_exchange_strong(used, true, std::memory_order_acquire)) return false;
    owner_.store(me, std::memory_order_relaxed);
    return true;
  }

  /// Whether the calling thread, which is `me`, runs the handler of that entry by this record.
  [[nodiscard]] bool holds(const void* entry, pthread_t me) const noexcept {
    return owner_.load(std::memory_order_relaxed) == me && touch(entry) == Touch::handler;
  }
  void give_back() noexcept { used_.store(false, std::memory_order_release); }

  /// Yields, and after a while sleeps: it waits either for something very short or for a user's handler.
  struct Pause {
    unsigned turns = 0;

    void operator()() noexcept {
      if (++turns < 64) return std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::microseconds{turns < 128 ? 50 : 500});
    }
  };

  std::atomic<std::uintptr_t> state_{0};
  std::uintptr_t walks_ = 1;
  std::atomic<unsigned> handlers_{0};
  bool has_deferred_ = false;
  bool draining_ = false;
  std::vector<std::function<void()>> deferred_;
  std::size_t slot_ = 0;
  HazardRecord* next_ = nullptr;
  const bool lent_;
  std::atomic<bool> used_{true};  ///< of one that is lent
  std::atomic<pthread_t> owner_;
  pthread_mutex_t life_{};
};

}  // namespace syncbus::inline v1::detail
