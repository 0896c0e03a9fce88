// A keyed hash in the manner of wyhash, for tables whose keys strangers choose; both inlined into the publish path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace syncbus::inline v1::detail {

/// Eight bytes from anywhere, in the machine's order.
[[nodiscard]] inline std::uint64_t load_word(const char* from) noexcept {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

/// The two halves of a 128-bit product, folded: each bit of the result depends on nearly all bits of both factors.
[[nodiscard]] inline std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Product = unsigned __int128;
  const Product product = static_cast<Product>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

/// The two odd numbers that a table hashes with. They are secret: with them known, keys can be made that collide, by
/// making one factor of a product zero. So the shell draws them when it makes a table; the constants are for tests and
/// simulators, whose runs are to repeat.
struct HashSecret {
  constexpr HashSecret() noexcept = default;
  constexpr HashSecret(std::uint64_t random1, std::uint64_t random2) noexcept
      : odd1{random1 | 1U}, odd2{random2 | 1U} {}

  std::uint64_t odd1 = 0xa0761d6478bd642fU;
  std::uint64_t odd2 = 0xe7037ed1a0b428dbU;
};

/// A 64-bit hash of bytes and a small number, in the manner of wyhash (Wang Yi, 2019). For tables in memory only: it is
/// not the same on machines of another byte order.
[[nodiscard]] inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed,
                                              const HashSecret& secret) noexcept {
  const auto [odd1, odd2] = secret;
  const char* at = bytes.data();
  const std::size_t size = bytes.size();
  std::uint64_t hash = (seed << 56U ^ size) * odd1;
  if (size >= 16) [[likely]] {
    const char* const last = at + size - 16;  // the last 16 bytes count, also when some of them were counted before
    for (; at < last; at += 16) hash = fold_product(load_word(at) ^ odd2, load_word(at + 8) ^ hash);
    return fold_product(load_word(last) ^ odd2, load_word(last + 8) ^ hash);
  }
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  if (size >= 8) {
    low = load_word(at);
    high = load_word(at + size - 8);
  } else {
    for (std::size_t i = 0; i != size; ++i) low = low << 8U | static_cast<unsigned char>(at[i]);
  }
  return fold_product(low ^ odd2, high ^ hash);
}

/// Whether two strings of `size` bytes are equal. They nearly always are, and short: compilers inline comparisons of 16
/// bytes, and a call would cost more.
[[nodiscard]] inline bool equal_bytes(const char* a, const char* b, std::size_t size) noexcept {
  if (size < 16) return std::memcmp(a, b, size) == 0;
  const std::size_t last = size - 16;
  for (std::size_t at = 0; at < last; at += 16) {
    if (std::memcmp(a + at, b + at, 16) != 0) return false;
  }
  return std::memcmp(a + last, b + last, 16) == 0;
}

}  // namespace syncbus::inline v1::detail
