// Per-thread marks: what each thread of the process may be looking at, so that others know what they may free.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace syncbus::inline v1::detail {

/// What one thread is doing with the dispatch tables of this process, in one word that only it writes:
///
///     0         nothing
///     odd       walking a table: it may hold any entry that was linked when the walk began. A number that grows.
///     address   running the handler of that entry, and holding no other
///
/// Records are made once a thread, linked for ever, and used again by later threads, so there are as many as threads
/// ever published at the same time. Default visibility: the shared objects of a program must see each other's.
class [[gnu::visibility("default")]] alignas(64) ThreadMark {
 public:
  /// Begins a walk. Sequentially consistent, as the walk's loads are: either the writer that takes an entry out sees
  /// this mark, or the walk does not see the entry.
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

  /// The same, never `walk`: waits for walks, which run no code of the user's. At worst one that had found the entry
  /// goes on into its handler, and that into a walk in which the thread leaves it behind: a third one is past it.
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
  [[nodiscard]] const ThreadMark* next() const noexcept { return next_; }

  // What this thread alone reads and writes: how many handlers it is inside, and what it put off until it is in none.
  unsigned handlers = 0;
  bool has_deferred = false;  ///< something was put off, and not all of it has run
  bool draining = false;
  std::vector<std::function<void()>> deferred;

  /// All records, newest first. Sequentially consistent, as adding one is: whoever took an entry out before, and does
  /// not find a record here, is not found by walks of that record either.
  [[nodiscard]] static const ThreadMark* first() noexcept { return registry().load(std::memory_order_seq_cst); }

  /// This thread's.
  [[nodiscard]] static ThreadMark& mine() {
    if (current_ != nullptr) [[likely]]
      return *current_;
    return acquire();
  }

  /// The same, but null when it has none yet.
  [[nodiscard]] static const ThreadMark* mine_if_any() noexcept { return current_; }

  /// Another one, for a dispatch inside a handler (an executor may run a task there): the thread's own goes on holding
  /// what it holds.
  class Second {
   public:
    Second() : mark_{find_or_make()} {}
    Second(const Second&) = delete;
    Second& operator=(const Second&) = delete;
    ~Second() { mark_.used_.store(false, std::memory_order_release); }

    [[nodiscard]] ThreadMark& get() const noexcept { return mark_; }

   private:
    ThreadMark& mark_;
  };

 private:
  /// Yields, and after a while sleeps: what it waits for is either very short or a handler of the user's.
  struct Pause {
    unsigned turns = 0;

    void operator()() noexcept {
      if (++turns < 64) return std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::microseconds{turns < 128 ? 50 : 500});
    }
  };

  /// Gives a thread's record back when the thread ends. A key and not a thread_local object, because the destructors of
  /// the user's thread_local objects, which run first, may publish; and whoever publishes after this gets it called
  /// again.
  struct AtThreadExit {
    pthread_key_t key{};
    const bool made = ::pthread_key_create(&key, &give_back) == 0;

    static void give_back(void* mark) noexcept {
      current_ = nullptr;
      static_cast<ThreadMark*>(mark)->used_.store(false, std::memory_order_release);
    }
  };

  [[nodiscard]] static std::atomic<ThreadMark*>& registry() noexcept {
    static constinit std::atomic<ThreadMark*> first{nullptr};
    return first;
  }

  /// Without a key, of which a process has few, the record is never used again.
  [[nodiscard]] [[gnu::noinline]] static ThreadMark& acquire() {
    static const AtThreadExit at_exit;
    current_ = &find_or_make();
    if (at_exit.made) static_cast<void>(::pthread_setspecific(at_exit.key, current_));
    return *current_;
  }

  [[nodiscard]] static ThreadMark& find_or_make() {
    for (ThreadMark* mark = registry().load(std::memory_order_seq_cst); mark != nullptr; mark = mark->next_) {
      bool used = false;
      if (mark->used_.compare_exchange_strong(used, true, std::memory_order_acquire)) return *mark;
    }
    auto* const mark = new ThreadMark;
    mark->next_ = registry().load(std::memory_order_acquire);
    do {
      mark->slot_ = mark->next_ == nullptr ? 0 : mark->next_->slot_ + 1;
    } while (!registry().compare_exchange_weak(mark->next_, mark, std::memory_order_seq_cst));
    return *mark;
  }

  static inline constinit thread_local ThreadMark* current_ = nullptr;

  std::atomic<std::uintptr_t> state_{0};
  std::uintptr_t walks_ = 1;
  std::atomic<bool> used_{true};
  std::size_t slot_ = 0;
  ThreadMark* next_ = nullptr;
};

}  // namespace syncbus::inline v1::detail
