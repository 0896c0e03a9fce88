// CRC32C, the checksum of every frame: Castagnoli's polynomial as in RFC 3720, appendix B.4.
// On x86-64 the SSE4.2 instruction where the processor has it, elsewhere tables; both give the same values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <syncbus/core/wire/little_endian.hpp>

namespace syncbus::inline v1::core {

inline constexpr std::uint32_t crc32c_polynomial = 0x82F63B78U;  // reflected: the lowest bit is the highest power

using Crc32cTable = std::array<std::uint32_t, 256>;

/// Slicing-by-8 (Kounavis and Berry): table[k][b] is byte b followed by k zero bytes.
[[nodiscard]] constexpr std::array<Crc32cTable, 8> make_crc32c_tables() noexcept {
  std::array<Crc32cTable, 8> tables{};
  for (std::uint32_t byte = 0; byte != 256; ++byte) {
    std::uint32_t state = byte;
    for (int bit = 0; bit != 8; ++bit) state = (state >> 1U) ^ ((state & 1U) != 0 ? crc32c_polynomial : 0U);
    tables[0][byte] = state;
  }
  for (std::size_t k = 1; k != tables.size(); ++k) {
    for (std::size_t byte = 0; byte != 256; ++byte) {
      const std::uint32_t state = tables[k - 1][byte];
      tables[k][byte] = (state >> 8U) ^ tables[0][state & 0xFFU];
    }
  }
  return tables;
}

inline constexpr std::array<Crc32cTable, 8> crc32c_tables = make_crc32c_tables();

/// Advances the shift register over `size` bytes with tables. The register is the CRC without its two inversions.
[[nodiscard]] constexpr std::uint32_t crc32c_update_portable(std::uint32_t state, const std::byte* at,
                                                             std::size_t size) noexcept {
  const auto& t = crc32c_tables;
  for (; size >= 8; size -= 8, at += 8) {
    const std::uint64_t word = load_le<std::uint64_t>(at) ^ state;
    state = t[7][word & 0xFFU] ^ t[6][(word >> 8U) & 0xFFU] ^ t[5][(word >> 16U) & 0xFFU] ^
            t[4][(word >> 24U) & 0xFFU] ^ t[3][(word >> 32U) & 0xFFU] ^ t[2][(word >> 40U) & 0xFFU] ^
            t[1][(word >> 48U) & 0xFFU] ^ t[0][word >> 56U];
  }
  for (; size != 0; --size, ++at) state = (state >> 8U) ^ t[0][(state ^ std::to_integer<std::uint32_t>(*at)) & 0xFFU];
  return state;
}

#if defined(__x86_64__)

/// The instruction takes a word each cycle but answers after three, so long inputs run in three lanes of so many bytes.
inline constexpr std::size_t crc32c_lane_bytes = 256;

/// a * b modulo the polynomial, all reflected.
[[nodiscard]] constexpr std::uint32_t crc32c_multiply(std::uint32_t a, std::uint32_t b) noexcept {
  std::uint32_t product = 0;
  for (std::uint32_t bit = 1U << 31U; bit != 0; bit >>= 1U) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1U) ^ ((b & 1U) != 0 ? crc32c_polynomial : 0U);
  }
  return product;
}

/// What one lane of zero bytes makes of a register, by the register's bytes: a multiplication by x^(8 * lane bytes).
[[nodiscard]] constexpr std::array<Crc32cTable, 4> make_crc32c_lane_shift() noexcept {
  std::uint32_t power = 1U << 30U;  // x
  for (std::size_t bits = 1; bits != 8 * crc32c_lane_bytes; bits *= 2) power = crc32c_multiply(power, power);
  std::array<Crc32cTable, 4> shift{};
  for (std::size_t k = 0; k != shift.size(); ++k) {
    for (std::uint32_t byte = 1; byte != 256; ++byte) {
      const std::uint32_t rest = byte & (byte - 1);  // linear: all but the powers of two are sums
      shift[k][byte] = rest == 0 ? crc32c_multiply(byte << (8 * k), power) : shift[k][rest] ^ shift[k][byte ^ rest];
    }
  }
  return shift;
}

inline constexpr std::array<Crc32cTable, 4> crc32c_lane_shift = make_crc32c_lane_shift();

[[nodiscard]] constexpr std::uint64_t crc32c_shift_lane(std::uint64_t state) noexcept {
  const auto& t = crc32c_lane_shift;
  return t[0][state & 0xFFU] ^ t[1][(state >> 8U) & 0xFFU] ^ t[2][(state >> 16U) & 0xFFU] ^
         t[3][(state >> 24U) & 0xFFU];
}

/// The same as crc32c_update_portable by the instruction; only for a processor that has SSE4.2.
[[gnu::target("sse4.2")]] [[nodiscard]] inline std::uint32_t crc32c_update_sse42(std::uint32_t start,
                                                                                 const std::byte* at,
                                                                                 std::size_t size) noexcept {
  constexpr std::size_t lane = crc32c_lane_bytes;
  std::uint64_t state = start;
  for (; size >= 3 * lane; size -= 3 * lane, at += 3 * lane) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (const std::byte* word = at; word != at + lane; word += 8) {
      state = __builtin_ia32_crc32di(state, load_le<std::uint64_t>(word));
      second = __builtin_ia32_crc32di(second, load_le<std::uint64_t>(word + lane));
      third = __builtin_ia32_crc32di(third, load_le<std::uint64_t>(word + 2 * lane));
    }
    state = crc32c_shift_lane(crc32c_shift_lane(state) ^ second) ^ third;
  }
  for (; size >= 8; size -= 8, at += 8) state = __builtin_ia32_crc32di(state, load_le<std::uint64_t>(at));
  auto narrow = static_cast<std::uint32_t>(state);
  for (; size != 0; --size, ++at) narrow = __builtin_ia32_crc32qi(narrow, std::to_integer<std::uint8_t>(*at));
  return narrow;
}

/// The runtime library asks the processor once, before the program's first constructor: here it is one load.
[[nodiscard]] inline std::uint32_t crc32c_update(std::uint32_t state, const std::byte* at, std::size_t size) noexcept {
  return __builtin_cpu_supports("sse4.2") ? crc32c_update_sse42(state, at, size)
                                          : crc32c_update_portable(state, at, size);
}

#else

[[nodiscard]] inline std::uint32_t crc32c_update(std::uint32_t state, const std::byte* at, std::size_t size) noexcept {
  return crc32c_update_portable(state, at, size);
}

#endif

/// The CRC32C of the bytes; with `before`, that of what `before` covers followed by them.
[[nodiscard]] inline std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept {
  return ~crc32c_update(~before, bytes.data(), bytes.size());
}

}  // namespace syncbus::inline v1::core
