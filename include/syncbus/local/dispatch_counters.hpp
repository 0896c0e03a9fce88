// The counters of dispatching: see Metrics.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <syncbus/event.hpp>
#include <syncbus/local/striped_counters.hpp>
#include <syncbus/metrics.hpp>

namespace syncbus::inline v1::detail {

/// What every event counts lies in stripes; what is rare does not. Thread safety: all of it.
class DispatchCounters : public StripedCounters {
 public:
  void add_resync(ResyncCause cause) noexcept {
    resyncs_[static_cast<std::size_t>(cause)].fetch_add(1, std::memory_order_relaxed);
  }
  void add_await(bool satisfied) noexcept { awaits_[satisfied ? 1 : 0].fetch_add(1, std::memory_order_relaxed); }

  void add_to(Metrics& metrics) const noexcept {
    metrics.quorums_not_satisfied += awaits_[0].load(std::memory_order_relaxed);
    metrics.quorums_satisfied += awaits_[1].load(std::memory_order_relaxed);
    metrics.published += sum(&CounterStripe::published);
    metrics.delivered += sum(&CounterStripe::delivered);
    metrics.joined += sum(&CounterStripe::joined);
    metrics.handler_errors += sum(&CounterStripe::handler_errors);
    for (std::size_t i = 0; i != resyncs_.size(); ++i) {
      metrics.resyncs[i] += resyncs_[i].load(std::memory_order_relaxed);
    }
  }

 private:
  std::array<std::atomic<std::uint64_t>, resync_cause_count> resyncs_{};
  std::array<std::atomic<std::uint64_t>, 2> awaits_{};  ///< not satisfied, satisfied
};

}  // namespace syncbus::inline v1::detail
