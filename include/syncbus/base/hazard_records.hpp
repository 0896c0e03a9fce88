// Hazard pointers: the records of all threads, how a thread finds its own, and whether it runs a handler.
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
#include <syncbus/base/hazard_record.hpp>

namespace syncbus::inline v1::detail {

class HazardRecords;

/// What a thread remembers in one shared object: the records that it used last there, the latest first.
struct RememberedRecord {
  const HazardRecords* hazards;
  HazardRecord* mine;
};
[[gnu::visibility("hidden")]] inline constinit thread_local std::array<RememberedRecord, 4> remembered_records{};

/// A thread that takes a subscriber out reads the records of every thread that may run its handler. So all threads that
/// use a bus must have their records in one place, whatever shared object their code is in. That place cannot be a
/// variable of this header: a program does not export its own to a plugin, plugins keep theirs apart, and where a
/// linker does merge them it merges those of different versions. So the bus carries it: the code that made the bus
/// chose these records, and every caller of the bus uses them.
///
/// A shared object has the records of the first bus that its code met, or else made, for the buses that it makes:
/// mostly there is one HazardRecords in a process. It also knows those of other buses that its code has met, so that it
/// recognises a thread that is inside a handler of one of them. Records are data only, in pages of their own that are
/// never freed: they may outlive the code that made them, and a thread may compare their address with one that it
/// remembers.
class HazardRecords {
 public:
  HazardRecords(const HazardRecords&) = delete;
  HazardRecords& operator=(const HazardRecords&) = delete;
  ~HazardRecords() = delete;

  /// The records for buses that this code makes. After a fork these are new ones: a thread that is gone may have been
  /// walking.
  [[nodiscard]] static HazardRecords& home();

  /// The calling thread's.
  [[nodiscard]] HazardRecord& mine();

  /// The same, but null when it has none yet.
  [[nodiscard]] HazardRecord* mine_if_any() const noexcept;

  /// The calling thread's record by which it is inside a handler: of these records, or of any that this code has met.
  /// Null when it is in none.
  [[nodiscard]] HazardRecord* of_handler() const noexcept;

  /// Whether the calling thread runs the handler of that entry: by its own record, or by one that it was lent.
  [[nodiscard]] bool holds(const void* entry) const noexcept;

  /// This code uses a bus of these records.
  void meet() noexcept;

  /// All records, newest first. Sequentially consistent, as adding one is: if a thread has taken an entry out and then
  /// does not find a record here, no walk of that record finds the entry.
  [[nodiscard]] const HazardRecord* first() const noexcept { return first_.load(std::memory_order_seq_cst); }

  /// Another record, for a dispatch inside a handler (an executor may run a task there): the thread's own goes on
  /// holding what it holds.
  class Second {
   public:
    explicit Second(HazardRecords& hazards) : record_{hazards.borrow()} {}
    Second(const Second&) = delete;
    Second& operator=(const Second&) = delete;
    ~Second() { record_.give_back(); }

    [[nodiscard]] HazardRecord& get() const noexcept { return record_; }

   private:
    HazardRecord& record_;
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

  explicit HazardRecords(Page& page) noexcept : page_{&page} {}

  [[nodiscard]] static HazardRecords& make() {
    Page& page = make_page();
    return *::new (place(page)) HazardRecords{page};
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

  [[nodiscard]] HazardRecord& add(bool lent) {
    auto* const record = ::new (any_place()) HazardRecord{lent};
    record->next_ = first_.load(std::memory_order_acquire);
    do {
      record->slot_ = record->next_ == nullptr ? 0 : record->next_->slot_ + 1;
    } while (!first_.compare_exchange_weak(record->next_, record, std::memory_order_seq_cst));
    return *record;
  }

  /// Whether another process made it: see ForkMark.
  [[nodiscard]] bool forked() const noexcept {
    return made_here_ != nullptr ? made_here_->load(std::memory_order_relaxed) == 0 : process_ != ::getpid();
  }

  template <class Accept>
  [[nodiscard]] HazardRecord* find(const Accept& accept) const noexcept {
    HazardRecord* record = first_.load(std::memory_order_seq_cst);
    while (record != nullptr && !accept(*record)) record = record->next_;
    return record;
  }

  [[nodiscard]] HazardRecord* find_mine() const noexcept {
    return find([me = ::pthread_self()](HazardRecord& record) { return record.is_of(me); });
  }

  [[nodiscard]] HazardRecord& take() {
    HazardRecord* const unused = find([me = ::pthread_self()](HazardRecord& record) { return record.try_take(me); });
    return unused != nullptr ? *unused : add(false);
  }

  [[nodiscard]] HazardRecord& borrow() {
    HazardRecord* const unused = find([me = ::pthread_self()](HazardRecord& record) { return record.try_borrow(me); });
    return unused != nullptr ? *unused : add(true);
  }

  [[nodiscard]] [[gnu::noinline]] HazardRecord& find_or_take() {
    HazardRecord* record = mine_if_any();
    if (record == nullptr) {
      record = &take();
      meet();
    }
    RememberedRecord moved{this, record};
    for (RememberedRecord& one : remembered_records) {
      std::swap(one, moved);
      if (moved.hazards == this) break;
    }
    return *record;
  }

  std::atomic<HazardRecord*> first_{nullptr};
  std::atomic<Page*> page_;
  const ForkByte::Byte* const made_here_ = ForkByte::map();  ///< wiped in a child; null: ask the process's id
  const pid_t process_ = ::getpid();
};

constexpr std::size_t HazardRecords::layout() noexcept {
  static_assert(sizeof(HazardRecord) <= place_bytes && sizeof(HazardRecords) <= place_bytes &&
                sizeof(Page) <= place_bytes);
  static_assert(place_bytes % alignof(HazardRecord) == 0 && page_bytes % place_bytes == 0);
  std::size_t hash = 1;  // to be raised when what a member means changes, and no layout
  for (const std::size_t part :
       {sizeof(HazardRecord), offsetof(HazardRecord, has_deferred_), offsetof(HazardRecord, draining_),
        offsetof(HazardRecord, deferred_), offsetof(HazardRecord, state_), offsetof(HazardRecord, walks_),
        offsetof(HazardRecord, handlers_), offsetof(HazardRecord, slot_), offsetof(HazardRecord, next_),
        offsetof(HazardRecord, lent_), offsetof(HazardRecord, used_), offsetof(HazardRecord, owner_),
        offsetof(HazardRecord, life_), offsetof(HazardRecords, first_), offsetof(HazardRecords, page_),
        offsetof(HazardRecords, made_here_), offsetof(HazardRecords, process_)}) {
    hash = hash * 1'000'003 + part;
  }
  return hash;
}

/// What one shared object, or several whose variables the linker merges, know of records.
template <std::size_t Layout>
struct [[gnu::visibility("default")]] MetRecords {
  static inline constinit std::atomic<HazardRecords*> home{nullptr};
  static inline constinit std::array<std::atomic<HazardRecords*>, 16> others{};  ///< the latest
  static inline constinit std::atomic<std::size_t> count{0};
};

inline HazardRecords& HazardRecords::home() {
  auto& home = MetRecords<layout()>::home;
  HazardRecords* known = home.load(std::memory_order_acquire);
  while (known == nullptr || known->forked()) {
    HazardRecords& made = make();
    HazardRecords* const parents = known;
    if (home.compare_exchange_strong(known, &made, std::memory_order_acq_rel)) {
      if (parents != nullptr) parents->meet();  // a handler of its may be what this was forked in
      return made;
    }
    ForkByte::free(made.made_here_);
    ::munmap(made.page_.load(std::memory_order_relaxed), page_bytes);
  }
  return *known;
}

inline void HazardRecords::meet() noexcept {
  using Met = MetRecords<layout()>;
  HazardRecords* home = nullptr;
  if (Met::home.compare_exchange_strong(home, this, std::memory_order_acq_rel) || home == this) return;
  for (const auto& met : Met::others) {
    if (met.load(std::memory_order_acquire) == this) return;
  }
  const std::size_t place = Met::count.fetch_add(1, std::memory_order_relaxed) % Met::others.size();
  Met::others[place].store(this, std::memory_order_release);
}

inline HazardRecord& HazardRecords::mine() {
  const RememberedRecord& last = remembered_records.front();
  if (last.hazards == this) [[likely]]
    return *last.mine;
  return find_or_take();
}

inline HazardRecord* HazardRecords::mine_if_any() const noexcept {
  for (const RememberedRecord& one : remembered_records) {
    if (one.hazards == this) return one.mine;
  }
  return find_mine();
}

inline bool HazardRecords::holds(const void* entry) const noexcept {
  return find([entry, me = ::pthread_self()](const HazardRecord& record) { return record.holds(entry, me); }) !=
         nullptr;
}

inline HazardRecord* HazardRecords::of_handler() const noexcept {
  const auto inside = [](const HazardRecords& hazards) {
    HazardRecord* const record = hazards.mine_if_any();
    return record != nullptr && record->handlers() != 0 ? record : nullptr;
  };
  using Met = MetRecords<layout()>;
  if (HazardRecord* const record = inside(*this)) return record;
  const auto inside_other = [&](const std::atomic<HazardRecords*>& met) -> HazardRecord* {
    const HazardRecords* const hazards = met.load(std::memory_order_acquire);
    return hazards == nullptr || hazards == this ? nullptr : inside(*hazards);
  };
  if (HazardRecord* const record = inside_other(Met::home)) return record;
  for (const auto& met : Met::others) {
    if (HazardRecord* const record = inside_other(met)) return record;
  }
  return nullptr;
}

}  // namespace syncbus::inline v1::detail
