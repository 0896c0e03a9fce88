// Counters without a shared cache line: each thread counts in its own, and a reader adds them up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace syncbus::inline v1::detail {

struct alignas(64) CounterStripe {
  std::atomic<std::uint64_t> published{0};
  std::atomic<std::uint64_t> delivered{0};
  std::atomic<std::uint64_t> joined{0};
  std::atomic<std::uint64_t> handler_errors{0};
};

/// 64 stripes for the threads with the lowest slots, and one that all others share.
class StripedCounters {
 public:
  using Counter = std::atomic<std::uint64_t> CounterStripe::*;

  StripedCounters() : stripes_{std::make_unique<CounterStripe[]>(owned + 1)} {}

  /// `slot`: of the calling thread. A stripe with one writer needs no read-modify-write.
  void add(std::size_t slot, Counter counter, std::uint64_t amount) noexcept {
    if (slot < owned) [[likely]] {
      auto& value = stripes_[slot].*counter;
      value.store(value.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    } else {
      (stripes_[owned].*counter).fetch_add(amount, std::memory_order_relaxed);
    }
  }

  [[nodiscard]] std::uint64_t sum(Counter counter) const noexcept {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i != owned + 1; ++i) total += (stripes_[i].*counter).load(std::memory_order_relaxed);
    return total;
  }

 private:
  static constexpr std::size_t owned = 64;

  std::unique_ptr<CounterStripe[]> stripes_;
};

}  // namespace syncbus::inline v1::detail
