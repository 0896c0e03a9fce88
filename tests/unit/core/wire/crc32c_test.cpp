// CRC32C against published values, and its two implementations against each other.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <syncbus/core/wire/crc32c.hpp>

#include "support/catch.hpp"

namespace {

namespace core = syncbus::core;

std::vector<std::byte> ramp(std::size_t size, std::uint8_t first, int step) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i != size; ++i) bytes[i] = static_cast<std::byte>(first + step * static_cast<int>(i));
  return bytes;
}

/// Bit by bit, straight from the definition.
std::uint32_t reference(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit != 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

std::vector<std::byte> noise(std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint64_t state = 0x9E3779B97F4A7C15U;
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56U);
  }
  return bytes;
}

using Update = std::uint32_t (*)(std::uint32_t, const std::byte*, std::size_t) noexcept;

std::uint32_t crc_by(Update update, std::span<const std::byte> bytes) {
  return ~update(0xFFFFFFFFU, bytes.data(), bytes.size());
}

std::vector<Update> implementations() {
  std::vector<Update> found{core::crc32c_update, core::crc32c_update_portable};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) found.push_back(core::crc32c_update_sse42);
#endif
  return found;
}

constexpr std::uint32_t crc_at_compile_time() {
  constexpr std::array digits{std::byte{'1'}, std::byte{'2'}, std::byte{'3'}, std::byte{'4'}, std::byte{'5'},
                              std::byte{'6'}, std::byte{'7'}, std::byte{'8'}, std::byte{'9'}};
  return ~core::crc32c_update_portable(0xFFFFFFFFU, digits.data(), digits.size());
}

static_assert(crc_at_compile_time() == 0xE3069283U);

}  // namespace

TEST_CASE("CRC32C gives the values of RFC 3720, appendix B.4", "[crc32c]") {
  // A SCSI Read (10) command PDU.
  constexpr std::array<std::uint8_t, 48> read_pdu{0x01, 0xc0, 0,    0,    0,    0, 0, 0, 0,    0, 0, 0, 0,    0,
                                                  0,    0,    0x14, 0,    0,    0, 0, 0, 0x04, 0, 0, 0, 0,    0x14,
                                                  0,    0,    0,    0x18, 0x28, 0, 0, 0, 0,    0, 0, 0, 0x02, 0};
  for (const Update update : implementations()) {
    CHECK(crc_by(update, ramp(32, 0x00, 0)) == 0x8A9136AAU);
    CHECK(crc_by(update, ramp(32, 0xFF, 0)) == 0x62A8AB43U);
    CHECK(crc_by(update, ramp(32, 0x00, 1)) == 0x46DD794EU);
    CHECK(crc_by(update, ramp(32, 0x1F, -1)) == 0x113FDB5CU);
    CHECK(crc_by(update, std::as_bytes(std::span{read_pdu})) == 0xD9963A56U);
  }
}

TEST_CASE("CRC32C gives the catalogue's check value, and 0 for nothing", "[crc32c]") {
  constexpr std::string_view digits = "123456789";
  CHECK(core::crc32c(std::as_bytes(std::span{digits})) == 0xE3069283U);
  CHECK(core::crc32c({}) == 0);
}

TEST_CASE("every implementation agrees with the definition at every length and alignment", "[crc32c]") {
  const auto bytes = noise(3 * 3 * 256 + 64);
  for (const Update update : implementations()) {
    std::size_t wrong = 0;
    for (std::size_t size = 0; size <= 3 * 3 * 256 + 32; size += size < 40 ? 1 : 13) {
      for (std::size_t start = 0; start != 9; ++start) {
        const auto part = std::span{bytes}.subspan(start, size);
        wrong += crc_by(update, part) != reference(part);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("a CRC32C goes on where another one ended", "[crc32c]") {
  const auto bytes = noise(1'000);
  const std::span<const std::byte> all{bytes};
  const std::uint32_t whole = core::crc32c(all);
  for (const std::size_t cut : {0U, 1U, 8U, 13U, 768U, 999U, 1'000U}) {
    CHECK(core::crc32c(all.subspan(cut), core::crc32c(all.first(cut))) == whole);
  }
}
