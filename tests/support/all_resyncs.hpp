// How many resyncs there were, whatever their causes.
#pragma once

#include <cstdint>
#include <numeric>

#include <syncbus/metrics.hpp>

namespace support {

[[nodiscard]] inline std::uint64_t all_resyncs(const syncbus::Metrics& metrics) noexcept {
  return std::accumulate(metrics.resyncs.begin(), metrics.resyncs.end(), std::uint64_t{0});
}

}  // namespace support
