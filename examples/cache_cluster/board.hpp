// The board on which nodes write what they did and the supervisor writes what is to be done; shared by processes.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>

#include <syncbus/event.hpp>

#include "shared_array.hpp"

namespace cache_cluster {

/// What all nodes are to do; it only moves forward.
enum class Stage : std::uint32_t {
  starting,  ///< make a bus, subscribe
  traffic,   ///< read and write
  settling,  ///< end the writes, hear what is still under way, audit
  ended,     ///< leave, whatever you were doing
};

/// One node's line. Each is written by its own node, read by all.
struct alignas(64) NodeRecord {
  std::atomic<std::uint64_t> reads;
  std::atomic<std::uint64_t> hits;
  std::atomic<std::uint64_t> events_out;
  std::atomic<std::uint64_t> events_in;
  std::atomic<std::uint64_t> joined;
  std::atomic<std::uint64_t> gaps;
  std::atomic<std::uint64_t> repaired;
  std::atomic<std::uint64_t> quorums_satisfied;
  std::atomic<std::uint64_t> quorums_failed;
  std::atomic<std::uint64_t> worst_staleness_ms;  ///< since the table took it last
  std::array<std::atomic<std::uint64_t>, syncbus::resync_cause_count> resyncs;
  std::atomic<std::uint64_t> entries;  ///< audited
  std::atomic<std::uint64_t> stale;
  std::atomic<bool> connected;
  std::atomic<bool> ready;        ///< subscribed: traffic may begin
  std::atomic<bool> writes_over;  ///< it will never write again, and the broker has what it published
  std::atomic<bool> audited;
  std::atomic<bool> failed;  ///< it has said why on stderr

  /// Only the node itself calls it.
  void note_staleness(std::chrono::steady_clock::duration staleness) noexcept {
    const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(staleness).count();
    const auto ms = static_cast<std::uint64_t>(whole);
    if (ms > worst_staleness_ms) worst_staleness_ms = ms;
  }
};

/// What the supervisor says to all.
struct Orders {
  std::atomic<Stage> stage;
  std::atomic<std::size_t> trend;  ///< which keys are popular now
};

struct Board {
  explicit Board(std::size_t nodes) : records{nodes}, orders{1} {}

  [[nodiscard]] Stage stage() const noexcept { return orders[0].stage.load(); }
  void enter(Stage stage) noexcept { orders[0].stage.store(stage); }

  /// Popularity moves on, as in life: a stale copy of what was popular is not put right by the next write of it.
  [[nodiscard]] std::size_t trend() const noexcept { return orders[0].trend.load(std::memory_order_relaxed); }
  void next_trend() noexcept { orders[0].trend.fetch_add(1, std::memory_order_relaxed); }

  [[nodiscard]] bool all(std::atomic<bool> NodeRecord::*flag) const noexcept {
    return std::all_of(records.begin(), records.end(), [&](const NodeRecord& node) { return (node.*flag).load(); });
  }

  [[nodiscard]] std::uint64_t sum(std::atomic<std::uint64_t> NodeRecord::*counter) const noexcept {
    std::uint64_t total = 0;
    for (const NodeRecord& node : records) total += (node.*counter).load(std::memory_order_relaxed);
    return total;
  }

  [[nodiscard]] std::uint64_t take_worst_staleness_ms() noexcept {
    std::uint64_t worst = 0;
    for (NodeRecord& node : records) worst = (std::max)(worst, node.worst_staleness_ms.exchange(0));
    return worst;
  }

  SharedArray<NodeRecord> records;
  SharedArray<Orders> orders;  // one
};

/// Until `done()`, at most until `deadline`; whether it was done. Looks every few milliseconds: processes share no
/// condition variable here.
template <class Done>
[[nodiscard]] bool wait_until(std::chrono::steady_clock::time_point deadline, const Done& done) {
  while (!done()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{2});
  }
  return true;
}

}  // namespace cache_cluster
