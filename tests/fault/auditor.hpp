// The auditor: a database, caches that a bus keeps right, and who writes and reads them. It shares nothing with the
// library but the verbs of a bus, and finds in the end what a cache still holds that is no longer true.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/bus.hpp>
#include <syncbus/fill_guard.hpp>

namespace fault {

/// The truth. Of each row only the version matters, from 1. Of lock-free atomics, so that processes may share one.
class Database {
 public:
  /// So many that hardly one is written twice during a fault: a second write would hide that the first was lost.
  static constexpr std::size_t rows = 20'000;

  [[nodiscard]] static std::string key(std::size_t row) { return "row:" + std::to_string(row); }

  /// Nothing for a key that is no row's.
  [[nodiscard]] static std::optional<std::size_t> row(std::string_view key) noexcept {
    constexpr std::string_view prefix = "row:";
    if (!key.starts_with(prefix)) return std::nullopt;
    std::size_t row = rows;
    std::from_chars(key.data() + prefix.size(), key.data() + key.size(), row);
    return row < rows ? std::optional{row} : std::nullopt;
  }

  [[nodiscard]] std::uint64_t current(std::size_t row) const noexcept { return writes_[row].load() + 1; }

  // An answer is under way for a while after the row was read or written: others write it meanwhile.

  [[nodiscard]] std::uint64_t read(std::size_t row) const noexcept {
    const std::uint64_t version = current(row);
    std::this_thread::yield();
    return version;
  }
  std::uint64_t write(std::size_t row) noexcept {
    const std::uint64_t version = writes_[row].fetch_add(1) + 2;
    std::this_thread::yield();
    return version;
  }

 private:
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "processes can share only atomics without a lock");

  std::array<std::atomic<std::uint64_t>, rows> writes_{};
};

/// Reads through and may keep what it wrote. Thread safety: shared objects safe.
class Cache {
 public:
  explicit Cache(Database& database) : database_{database}, versions_(Database::rows, 0) {}

  void read(std::size_t row) {
    {
      const std::lock_guard lock{mutex_};
      if (versions_[row] != 0) return;
    }
    const auto await_id = guard_.begin(Database::key(row));
    const std::uint64_t version = database_.read(row);
    const std::lock_guard lock{mutex_};
    if (guard_.may_store(await_id)) versions_[row] = version;
  }

  /// Writes through and keeps it, unless somebody else's write was heard of meanwhile. Its version, to announce.
  [[nodiscard]] std::uint64_t write(std::size_t row) {
    const std::string key = Database::key(row);
    const auto await_id = guard_.begin(key);
    const std::uint64_t version = database_.write(row);
    const std::lock_guard lock{mutex_};
    const bool undisturbed = guard_.may_store(await_id);
    guard_.invalidated(key);  // for loads of this cache that read the old version
    versions_[row] = undisturbed ? version : 0;
    return version;
  }

  void hear(const syncbus::Event& event) {
    const auto row = Database::row(event.key);
    if (!row) return;
    guard_.invalidated(event.key);
    const std::lock_guard lock{mutex_};
    if (event.supersedes(versions_[*row])) versions_[*row] = 0;
  }

  void hear(const syncbus::Resync&) {
    guard_.invalidated_all();
    const std::lock_guard lock{mutex_};
    std::fill(versions_.begin(), versions_.end(), 0);
  }

  [[nodiscard]] std::size_t entries() const {
    const std::lock_guard lock{mutex_};
    return versions_.size() - static_cast<std::size_t>(std::count(versions_.begin(), versions_.end(), 0U));
  }

  /// Entries that differ from the truth: while somebody writes they are on their way out, afterwards an event was lost.
  [[nodiscard]] std::size_t stale() const {
    const std::lock_guard lock{mutex_};
    std::size_t stale = 0;
    for (std::size_t row = 0; row != versions_.size(); ++row) {
      if (versions_[row] != 0 && versions_[row] != database_.current(row)) ++stale;
    }
    return stale;
  }

 private:
  Database& database_;
  syncbus::FillGuard guard_;
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> versions_;  // 0: not cached
};

/// A cache on its bus, and a thread that reads and writes it at a moderate rate. Every second write takes the Set path,
/// the others invalidate, also here. `bus` outlives it.
template <syncbus::Bus B>
class AuditedNode {
 public:
  AuditedNode(Database& database, B& bus, std::uint64_t seed)
      : database_{database},
        bus_{bus},
        seed_{seed},
        cache_{database},
        subscription_{bus.subscribe_all([this](const syncbus::Event& event) { cache_.hear(event); },
                                        [this](const syncbus::Resync& resync) { cache_.hear(resync); })} {}

  [[nodiscard]] const Cache& cache() const noexcept { return cache_; }

  /// Caches every row, so that nothing that is missed stays without consequence.
  void fill() {
    for (std::size_t row = 0; row != Database::rows; ++row) cache_.read(row);
  }

  void begin() {
    worker_ = std::jthread{[this](const std::stop_token& stop) { work(stop); }};
  }

  /// From here on it only reads, unless it is told to write.
  void write_no_more() noexcept { writing_ = false; }

  void end() {
    worker_.request_stop();
    if (worker_.joinable()) worker_.join();
  }

  /// Writes all rows and announces them in one call.
  void rewrite_everything() {
    std::vector<std::string> keys;
    for (std::size_t row = 0; row != Database::rows; ++row) {
      database_.write(row);
      keys.push_back(Database::key(row));
    }
    count(bus_.publish(keys));
    observe();
  }

  /// Publishes that were accepted, and that were not.
  [[nodiscard]] std::uint64_t accepted() const noexcept { return accepted_; }
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }

  /// The most that was seen.
  [[nodiscard]] std::uint64_t most_queue_bytes() const noexcept { return most_queue_bytes_; }
  [[nodiscard]] std::uint64_t most_history_bytes() const noexcept { return most_history_bytes_; }

 private:
  static constexpr std::size_t hot_rows = 100;  // where writers and readers meet
  static constexpr std::chrono::microseconds pace{200};

  void work(const std::stop_token& stop) {
    std::mt19937_64 random{seed_};
    for (std::uint64_t i = 0; !stop.stop_requested(); ++i) {
      const std::size_t row = random() % (random() % 4 == 0 ? hot_rows : Database::rows);
      writing_ && random() % 4 == 0 ? write(row, random() % 2 == 0) : cache_.read(row);
      if (i % 16 == 0) observe();
      std::this_thread::sleep_for(pace);  // a rate, not a wait
    }
  }

  void write(std::size_t row, bool keeps_it) {
    if (keeps_it) {
      const std::uint64_t version = cache_.write(row);
      return count(bus_.publish(Database::key(row), {.type = syncbus::EventType::set,
                                                     .version = version,
                                                     .scope = syncbus::Scope::remote}));
    }
    database_.write(row);
    count(bus_.publish(Database::key(row)));
  }

  void count(const std::error_code& error) noexcept { ++(error ? refused_ : accepted_); }

  void observe() {
    const syncbus::Metrics metrics = bus_.metrics();
    most_queue_bytes_ = (std::max)(most_queue_bytes_.load(), metrics.queue_bytes);
    most_history_bytes_ = (std::max)(most_history_bytes_.load(), metrics.history_bytes);
  }

  Database& database_;
  B& bus_;
  const std::uint64_t seed_;
  Cache cache_;
  std::atomic<bool> writing_ = true;
  std::atomic<std::uint64_t> accepted_ = 0;
  std::atomic<std::uint64_t> refused_ = 0;
  std::atomic<std::uint64_t> most_queue_bytes_ = 0;
  std::atomic<std::uint64_t> most_history_bytes_ = 0;
  syncbus::Subscription subscription_;  // its handlers use the cache
  std::jthread worker_;                 // last: uses everything above
};

}  // namespace fault
