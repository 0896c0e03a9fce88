// Fixed-width integers in little-endian bytes, at any alignment, on any machine.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace syncbus::inline v1::core {

/// The integer in the sizeof(Integer) bytes at `from`.
template <std::unsigned_integral Integer>
[[nodiscard]] constexpr Integer load_le(const std::byte* from) noexcept {
  Integer value{};
  if (std::endian::native == std::endian::little && !std::is_constant_evaluated()) {
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  for (std::size_t i = 0; i != sizeof value; ++i) {
    value = static_cast<Integer>(value | static_cast<Integer>(std::to_integer<Integer>(from[i]) << (8 * i)));
  }
  return value;
}

/// Writes sizeof(Integer) bytes at `to`.
template <std::unsigned_integral Integer>
constexpr void store_le(std::byte* to, Integer value) noexcept {
  if (std::endian::native == std::endian::little && !std::is_constant_evaluated()) {
    std::memcpy(to, &value, sizeof value);
    return;
  }
  for (std::size_t i = 0; i != sizeof value; ++i) to[i] = static_cast<std::byte>((value >> (8 * i)) & 0xFFU);
}

}  // namespace syncbus::inline v1::core
