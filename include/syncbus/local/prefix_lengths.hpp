// The distinct lengths of subscribed prefixes: which beginnings of a key are worth looking up.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace syncbus::inline v1::detail {

/// A list that only grows, one entry for each length that ever was in use, so at most as many as a key has bytes. One
/// writer (whoever calls add and remove); readers take no lock.
class PrefixLengths {
 public:
  struct Entry {
    explicit Entry(std::size_t its_length) noexcept : length{its_length} {}

    const std::size_t length;
    std::atomic<std::size_t> prefixes{0};  ///< of this length that are subscribed to now
    Entry* next = nullptr;
  };

  PrefixLengths() = default;
  PrefixLengths(const PrefixLengths&) = delete;
  PrefixLengths& operator=(const PrefixLengths&) = delete;
  ~PrefixLengths() {
    for (Entry* entry = first_.load(std::memory_order_relaxed); entry != nullptr;) {
      const std::unique_ptr<Entry> owned{entry};
      entry = owned->next;
    }
  }

  void add(std::size_t length) {
    Entry* entry = find(length);
    if (entry == nullptr) {
      entry = new Entry{length};
      entry->next = first_.load(std::memory_order_relaxed);
      first_.store(entry, std::memory_order_release);
    }
    entry->prefixes.fetch_add(1, std::memory_order_release);
  }

  void remove(std::size_t length) noexcept {
    if (Entry* const entry = find(length)) entry->prefixes.fetch_sub(1, std::memory_order_release);
  }

  [[nodiscard]] const Entry* first() const noexcept { return first_.load(std::memory_order_acquire); }

 private:
  [[nodiscard]] Entry* find(std::size_t length) const noexcept {
    Entry* entry = first_.load(std::memory_order_relaxed);
    while (entry != nullptr && entry->length != length) entry = entry->next;
    return entry;
  }

  std::atomic<Entry*> first_{nullptr};
};

}  // namespace syncbus::inline v1::detail
