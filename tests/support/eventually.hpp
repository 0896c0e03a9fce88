// Waits for a condition with a deadline: what a test does instead of sleeping.
#pragma once

#include <chrono>
#include <thread>

namespace support {

/// Long enough for a sanitizer on a busy machine; a test that passes never waits for it.
inline constexpr std::chrono::seconds patience{30};

/// Whether the condition became true before the deadline. Asks about every millisecond.
template <class Condition>
[[nodiscard]] bool eventually(const Condition& condition, std::chrono::steady_clock::duration limit = patience) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

}  // namespace support
