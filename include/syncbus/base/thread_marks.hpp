// The records of all threads that dispatch for some buses, how a thread finds its own, and whether it is in a handler.
#pragma once

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include <syncbus/base/fork_mark.hpp>
#include <syncbus/base/thread_mark.hpp>

namespace syncbus::inline v1::detail {

class ThreadMarks;

/// What a thread remembers in one shared object: the records that it used last there, the latest first.
struct RememberedMark {
  const ThreadMarks* marks;
  ThreadMark* mine;
};
[[gnu::visibility("hidden")]] inline constinit thread_local std::array<RememberedMark, 4> remembered_marks{};

/// Whoever takes a subscriber out reads the marks of every thread that may run its handler, so all threads that use a
/// bus must have theirs in one place, whatever shared object their code is in. That place cannot be a variable of this
/// header: a program does not export its own to a plugin, plugins keep theirs apart, and where a linker does merge them
/// it merges those of different versions. So the bus carries it: the code that made the bus chose these marks, and
/// whoever calls the bus uses the bus's.
///
/// A shared object has the marks of the first bus that its code met, or else made, for the buses that it makes: mostly
/// there is one ThreadMarks in a process. Of any others that its code has met it knows, so that a thread inside a
/// handler is known to be even if that is another one's bus. Marks are data only, in pages of their own that are never
/// freed: they may outlive the code that made them, and a thread may compare their address with one that it remembers.
class ThreadMarks {
 public:
  ThreadMarks(const ThreadMarks&) = delete;
  ThreadMarks& operator=(const ThreadMarks&) = delete;
  ~ThreadMarks() = delete;

  /// Those of buses that this code makes. Other ones after a fork: a thread that is no more may have been walking.
  [[nodiscard]] static ThreadMarks& home();

  /// The calling thread's.
  [[nodiscard]] ThreadMark& mine();

  /// The same, but null when it has none yet.
  [[nodiscard]] ThreadMark* mine_if_any() const noexcept;

  /// The calling thread's record by which it is inside a handler: of these marks, or of any that this code has met.
  /// Null when it is in none.
  [[nodiscard]] ThreadMark* of_handler() const noexcept;

  /// Whether the calling thread runs the handler of that entry: by its own record, or by one that it was lent.
  [[nodiscard]] bool holds(const void* entry) const noexcept;

  /// This code uses a bus of these marks.
  void meet() noexcept;

  /// All records, newest first. Sequentially consistent, as adding one is: whoever took an entry out before, and does
  /// not find a record here, is not found by walks of that record either.
  [[nodiscard]] const ThreadMark* first() const noexcept { return first_.load(std::memory_order_seq_cst); }

  /// Another record, for a dispatch inside a handler (an executor may run a task there): the thread's own goes on
  /// holding what it holds.
  class Second {
   public:
    explicit Second(ThreadMarks& marks) : mark_{marks.borrow()} {}
    Second(const Second&) = delete;
    Second& operator=(const Second&) = delete;
    ~Second() { mark_.give_back(); }

    [[nodiscard]] ThreadMark& get() const noexcept { return mark_; }

   private:
    ThreadMark& mark_;
  };

  /// A number that differs where the layout does. It is part of the name of what shared objects may have in common.
  [[nodiscard]] static constexpr std::size_t layout() noexcept;

 private:
  /// 32 places of 128 bytes, of which this takes the first.
  struct Page {
    std::atomic<std::size_t> used{1};
  };
  static constexpr std::size_t place_bytes = 128;
  static constexpr std::size_t page_bytes = 4'096;

  explicit ThreadMarks(Page& page) noexcept : page_{&page} {}

  [[nodiscard]] static ThreadMarks& make() {
    Page& page = make_page();
    return *::new (place(page)) ThreadMarks{page};
  }

  [[nodiscard]] static Page& make_page() {
    void* const memory = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc{};
    return *::new (memory) Page;
  }

  /// Null when it is full.
  [[nodiscard]] static void* place(Page& page) noexcept {
    const std::size_t at = page.used.fetch_add(1, std::memory_order_relaxed);
    return at < page_bytes / place_bytes ? reinterpret_cast<std::byte*>(&page) + at * place_bytes : nullptr;
  }

  [[nodiscard]] void* any_place() {
    for (Page* page = page_.load(std::memory_order_acquire);;) {
      if (void* const found = place(*page)) return found;
      Page* const fresh = &make_page();
      if (page_.compare_exchange_strong(page, fresh, std::memory_order_acq_rel)) {
        page = fresh;
      } else {
        ::munmap(fresh, page_bytes);
      }
    }
  }

  [[nodiscard]] ThreadMark& add(bool lent) {
    auto* const mark = ::new (any_place()) ThreadMark{lent};
    mark->next_ = first_.load(std::memory_order_acquire);
    do {
      mark->slot_ = mark->next_ == nullptr ? 0 : mark->next_->slot_ + 1;
    } while (!first_.compare_exchange_weak(mark->next_, mark, std::memory_order_seq_cst));
    return *mark;
  }

  /// Whether another process made it: see ForkMark.
  [[nodiscard]] bool forked() const noexcept {
    return made_here_ != nullptr ? made_here_->load(std::memory_order_relaxed) == 0 : process_ != ::getpid();
  }

  template <class Accept>
  [[nodiscard]] ThreadMark* find(const Accept& accept) const noexcept {
    ThreadMark* mark = first_.load(std::memory_order_seq_cst);
    while (mark != nullptr && !accept(*mark)) mark = mark->next_;
    return mark;
  }

  [[nodiscard]] ThreadMark* find_mine() const noexcept {
    return find([me = ::pthread_self()](ThreadMark& mark) { return mark.is_of(me); });
  }

  [[nodiscard]] ThreadMark& take() {
    ThreadMark* const unused = find([me = ::pthread_self()](ThreadMark& mark) { return mark.try_take(me); });
    return unused != nullptr ? *unused : add(false);
  }

  [[nodiscard]] ThreadMark& borrow() {
    ThreadMark* const unused = find([me = ::pthread_self()](ThreadMark& mark) { return mark.try_borrow(me); });
    return unused != nullptr ? *unused : add(true);
  }

  [[nodiscard]] [[gnu::noinline]] ThreadMark& find_or_take() {
    ThreadMark* mark = mine_if_any();
    if (mark == nullptr) {
      mark = &take();
      meet();
    }
    RememberedMark moved{this, mark};
    for (RememberedMark& one : remembered_marks) {
      std::swap(one, moved);
      if (moved.marks == this) break;
    }
    return *mark;
  }

  std::atomic<ThreadMark*> first_{nullptr};
  std::atomic<Page*> page_;
  const ForkByte::Byte* const made_here_ = ForkByte::map();  ///< wiped in a child; null: ask the process's id
  const pid_t process_ = ::getpid();
};

constexpr std::size_t ThreadMarks::layout() noexcept {
  static_assert(sizeof(ThreadMark) <= place_bytes && sizeof(ThreadMarks) <= place_bytes && sizeof(Page) <= place_bytes);
  static_assert(place_bytes % alignof(ThreadMark) == 0 && page_bytes % place_bytes == 0);
  std::size_t hash = 1;  // to be raised when what a member means changes, and no layout
  for (const std::size_t part :
       {sizeof(ThreadMark), offsetof(ThreadMark, has_deferred_), offsetof(ThreadMark, draining_),
        offsetof(ThreadMark, deferred_), offsetof(ThreadMark, state_), offsetof(ThreadMark, walks_),
        offsetof(ThreadMark, handlers_), offsetof(ThreadMark, slot_), offsetof(ThreadMark, next_),
        offsetof(ThreadMark, lent_), offsetof(ThreadMark, used_), offsetof(ThreadMark, owner_),
        offsetof(ThreadMark, life_), offsetof(ThreadMarks, first_), offsetof(ThreadMarks, page_),
        offsetof(ThreadMarks, made_here_), offsetof(ThreadMarks, process_)}) {
    hash = hash * 1'000'003 + part;
  }
  return hash;
}

/// What one shared object, or several whose variables the linker merges, know of marks.
template <std::size_t Layout>
struct [[gnu::visibility("default")]] MetMarks {
  static inline constinit std::atomic<ThreadMarks*> home{nullptr};
  static inline constinit std::array<std::atomic<ThreadMarks*>, 16> others{};  ///< the latest
  static inline constinit std::atomic<std::size_t> count{0};
};

inline ThreadMarks& ThreadMarks::home() {
  auto& home = MetMarks<layout()>::home;
  ThreadMarks* known = home.load(std::memory_order_acquire);
  while (known == nullptr || known->forked()) {
    ThreadMarks& made = make();
    ThreadMarks* const parents = known;
    if (home.compare_exchange_strong(known, &made, std::memory_order_acq_rel)) {
      if (parents != nullptr) parents->meet();  // a handler of its may be what this was forked in
      return made;
    }
    ForkByte::free(made.made_here_);
    ::munmap(made.page_.load(std::memory_order_relaxed), page_bytes);
  }
  return *known;
}

inline void ThreadMarks::meet() noexcept {
  using Met = MetMarks<layout()>;
  ThreadMarks* home = nullptr;
  if (Met::home.compare_exchange_strong(home, this, std::memory_order_acq_rel) || home == this) return;
  for (const auto& met : Met::others) {
    if (met.load(std::memory_order_acquire) == this) return;
  }
  const std::size_t place = Met::count.fetch_add(1, std::memory_order_relaxed) % Met::others.size();
  Met::others[place].store(this, std::memory_order_release);
}

inline ThreadMark& ThreadMarks::mine() {
  const RememberedMark& last = remembered_marks.front();
  if (last.marks == this) [[likely]]
    return *last.mine;
  return find_or_take();
}

inline ThreadMark* ThreadMarks::mine_if_any() const noexcept {
  for (const RememberedMark& one : remembered_marks) {
    if (one.marks == this) return one.mine;
  }
  return find_mine();
}

inline bool ThreadMarks::holds(const void* entry) const noexcept {
  return find([entry, me = ::pthread_self()](const ThreadMark& mark) { return mark.holds(entry, me); }) != nullptr;
}

inline ThreadMark* ThreadMarks::of_handler() const noexcept {
  const auto inside = [](const ThreadMarks& marks) {
    ThreadMark* const mark = marks.mine_if_any();
    return mark != nullptr && mark->handlers() != 0 ? mark : nullptr;
  };
  using Met = MetMarks<layout()>;
  if (ThreadMark* const mark = inside(*this)) return mark;
  const auto inside_other = [&](const std::atomic<ThreadMarks*>& met) -> ThreadMark* {
    const ThreadMarks* const marks = met.load(std::memory_order_acquire);
    return marks == nullptr || marks == this ? nullptr : inside(*marks);
  };
  if (ThreadMark* const mark = inside_other(Met::home)) return mark;
  for (const auto& met : Met::others) {
    if (ThreadMark* const mark = inside_other(met)) return mark;
  }
  return nullptr;
}

}  // namespace syncbus::inline v1::detail
