// One node's cache: reads through to the truth, stores what it writes, drops what others wrote. It knows no bus.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include <syncbus/event.hpp>
#include <syncbus/fill_guard.hpp>

#include "truth.hpp"

namespace cache_cluster {

/// Thread safety: shared objects safe.
class LocalCache {
 public:
  explicit LocalCache(Truth& truth) : truth_{truth} {}

  /// Whether the cache had it; else it is loaded. A copy is stored unless an invalidation came while it was loaded.
  bool read(std::string_view key) {
    Shard& shard = shard_of(key);
    {
      const std::lock_guard lock{shard.mutex};
      if (shard.versions.find(key) != shard.versions.end()) return true;
    }
    const auto ticket = guard_.begin(key);
    const std::uint64_t version = truth_.load(key);
    const std::lock_guard lock{shard.mutex};
    if (guard_.may_store(ticket)) shard.versions.insert_or_assign(std::string{key}, version);
    return false;
  }

  /// Writes through; the version to announce. What was written is stored too, unless somebody else's write of the key
  /// was heard of meanwhile: which of the two is newer, the next read finds out.
  [[nodiscard]] std::uint64_t write(std::string_view key) {
    Shard& shard = shard_of(key);
    const auto ticket = guard_.begin(key);
    const std::uint64_t version = truth_.write(key);
    const std::lock_guard lock{shard.mutex};
    const bool undisturbed = guard_.may_store(ticket);
    guard_.invalidated(key);  // for loads on this node that read the old version
    if (undisturbed) {
      shard.versions.insert_or_assign(std::string{key}, version);
    } else {
      shard.versions.erase(std::string{key});
    }
    return version;
  }

  /// Another node wrote the key.
  void apply(const syncbus::Event& event) {
    guard_.invalidated(event.key);
    Shard& shard = shard_of(event.key);
    const std::lock_guard lock{shard.mutex};
    const auto found = shard.versions.find(event.key);
    if (found != shard.versions.end() && event.supersedes(found->second)) shard.versions.erase(found);
  }

  /// Anything may have been missed.
  void clear() {
    guard_.invalidated_all();
    for (Shard& shard : shards_) {
      const std::lock_guard lock{shard.mutex};
      shard.versions.clear();
    }
  }

  /// visit(key, version) for every entry.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (const Shard& shard : shards_) {
      const std::lock_guard lock{shard.mutex};
      for (const auto& [key, version] : shard.versions) visit(key, version);
    }
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const noexcept { return std::hash<std::string_view>{}(key); }
  };

  struct alignas(64) Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string, std::uint64_t, Hash, std::equal_to<>> versions;
  };

  [[nodiscard]] Shard& shard_of(std::string_view key) noexcept {
    return shards_[(Hash{}(key) >> 16U) % shards_.size()];
  }

  Truth& truth_;
  syncbus::FillGuard guard_;
  std::array<Shard, 16> shards_;
};

}  // namespace cache_cluster
