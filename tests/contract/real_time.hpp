// Lets real time pass, for tests that nothing happens in it.
#pragma once

#include <chrono>

#include "support/eventually.hpp"

namespace contract {

inline void let_pass(std::chrono::steady_clock::duration duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  static_cast<void>(support::eventually([end] { return std::chrono::steady_clock::now() >= end; }));
}

}  // namespace contract
