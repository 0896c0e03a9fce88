// What the benchmarks share: keys, rounds in which a subject and its peer take turns, and medians of their ratios.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

inline constexpr std::size_t key_bytes = 32;

/// Keys of `key_bytes`, numbered in leaps, so that neighbours have little in common.
[[nodiscard]] inline std::vector<std::string> make_keys(std::size_t count, std::string_view begin = "warp:entity:") {
  std::vector<std::string> keys;
  keys.reserve(count);
  for (std::size_t i = 0; i != count; ++i) {
    std::string key = std::string{begin} + std::to_string(i * 2'654'435'761U);
    key.resize(key_bytes, '.');
    keys.push_back(std::move(key));
  }
  return keys;
}

[[nodiscard]] inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[nodiscard]] inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// One thing to measure: each call is a round and returns a rate or a time.
struct Subject {
  std::string name;
  std::function<double()> round;
};

/// Runs all subjects in turn, `rounds` times after one that does not count, so that a drift of the machine's speed
/// meets all of them; prints each subject's median and, round by round, the median ratio to the first subject (the
/// peer).
inline std::vector<double> compare(std::string_view title, std::string_view unit, std::size_t rounds,
                                   const std::vector<Subject>& subjects) {
  std::vector<std::vector<double>> values(subjects.size());
  std::vector<std::vector<double>> ratios(subjects.size());
  for (std::size_t round = 0; round <= rounds; ++round) {
    double peer = 0;
    for (std::size_t i = 0; i != subjects.size(); ++i) {
      const double value = subjects[i].round();
      if (round == 0) continue;
      if (i == 0) peer = value;
      values[i].push_back(value);
      ratios[i].push_back(value / peer);
    }
  }
  std::printf("\n%.*s (%.*s, medians of %zu rounds)\n", static_cast<int>(title.size()), title.data(),
              static_cast<int>(unit.size()), unit.data(), rounds);
  std::vector<double> result;
  for (std::size_t i = 0; i != subjects.size(); ++i) {
    const auto [low, high] = std::minmax_element(ratios[i].begin(), ratios[i].end());
    std::printf("  %-58s %14.2f   x%.2f  [%.2f, %.2f]\n", subjects[i].name.c_str(), median(values[i]),
                median(ratios[i]), *low, *high);
    result.push_back(median(ratios[i]));
  }
  return result;
}

}  // namespace bench
