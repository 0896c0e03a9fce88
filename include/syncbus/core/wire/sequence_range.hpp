// A run of a publisher's sequences.
#pragma once

#include <cstdint>

namespace syncbus::inline v1::core {

/// Sequences from `first` to `last`, both included.
struct SequenceRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;

  friend constexpr bool operator==(const SequenceRange&, const SequenceRange&) = default;
};

}  // namespace syncbus::inline v1::core
