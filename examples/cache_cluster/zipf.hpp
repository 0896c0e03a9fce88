// Zipf's law: the key of rank k is chosen in proportion to 1 / k^s, so a few are hot and most are cold.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

namespace cache_cluster {

/// Chooses a rank in [0, count). Sampling is const: threads may share it, each with a generator of its own.
class Zipf {
 public:
  explicit Zipf(std::size_t count, double s = 0.99) {
    cumulative_.reserve(count);
    double sum = 0;
    for (std::size_t rank = 1; rank <= count; ++rank) {
      sum += std::pow(static_cast<double>(rank), -s);
      cumulative_.push_back(sum);
    }
  }

  template <class Generator>
  [[nodiscard]] std::size_t operator()(Generator& generator) const {
    std::uniform_real_distribution<double> point{0, cumulative_.back()};
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, point(generator));
    return static_cast<std::size_t>(found - cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

}  // namespace cache_cluster
