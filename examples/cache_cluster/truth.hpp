// The table of truth: stands in for the database that all nodes share. Of each row only the version matters here.
#pragma once

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include "shared_array.hpp"

namespace cache_cluster {

class Truth {
 public:
  explicit Truth(std::size_t keys) : writes_{keys} {}

  [[nodiscard]] static std::string key(std::size_t row) { return "user:" + std::to_string(row); }

  // A database's answer is under way for a while after the row was read or written, and others write it meanwhile: the
  // races that a cache must survive happen here.

  /// The version of the row as of some moment during the call.
  [[nodiscard]] std::uint64_t load(std::string_view key) const {
    const auto version = current(key);
    answer();
    return version;
  }

  /// Writes the row; its new version.
  [[nodiscard]] std::uint64_t write(std::string_view key) {
    const auto version = writes_[row(key)].fetch_add(1) + 2;
    answer();
    return version;
  }

  /// The version of the row now, from 1: 0 would say that there is none.
  [[nodiscard]] std::uint64_t current(std::string_view key) const noexcept { return writes_[row(key)].load() + 1; }

 private:
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "processes can share only atomics without a lock");

  static void answer() { std::this_thread::sleep_for(std::chrono::microseconds{200}); }

  [[nodiscard]] static std::size_t row(std::string_view key) noexcept {
    constexpr std::string_view prefix = "user:";
    std::size_t row = 0;
    std::from_chars(key.data() + prefix.size(), key.data() + key.size(), row);
    return row;
  }

  SharedArray<std::atomic<std::uint64_t>> writes_;
};

}  // namespace cache_cluster
