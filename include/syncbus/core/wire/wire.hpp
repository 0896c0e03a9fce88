// Bounded readers and writers of frames: fixed little-endian integers, varints (LEB128) and byte strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

#include <syncbus/core/wire/little_endian.hpp>
#include <syncbus/frame_bytes.hpp>

namespace syncbus::inline v1::core {

inline constexpr std::size_t max_varint_bytes = 10;

[[nodiscard]] constexpr std::size_t varint_bytes(std::uint64_t value) noexcept {
  std::size_t count = 1;
  for (; value >= 0x80; value >>= 7U) ++count;
  return count;
}

/// Seven bits a byte, lowest first, the high bit says that more follow. Returns the end; `out` has room.
constexpr std::byte* encode_varint(std::byte* out, std::uint64_t value) noexcept {
  for (; value >= 0x80; value >>= 7U) *out++ = static_cast<std::byte>(value | 0x80U);
  *out++ = static_cast<std::byte>(value);
  return out;
}

/// Returns the end, or nullptr when the bytes end early, exceed 64 bits, or are not the shortest form of the value.
[[nodiscard]] constexpr const std::byte* decode_varint(const std::byte* at, const std::byte* end,
                                                       std::uint64_t& value) noexcept {
  std::uint64_t result = 0;
  for (unsigned shift = 0; shift != 70 && at != end; shift += 7) {
    const auto byte = std::to_integer<std::uint64_t>(*at++);
    if (shift == 63 && byte > 1) return nullptr;
    result |= (byte & 0x7FU) << shift;
    if (byte >= 0x80) continue;
    if (byte == 0 && shift != 0) return nullptr;
    value = result;
    return at;
  }
  return nullptr;
}

/// Reads from the front of a byte string. What is not there reads as zero and makes failed() true for good.
class WireReader {
 public:
  constexpr explicit WireReader(Bytes bytes) noexcept : at_{bytes.data()}, end_{bytes.data() + bytes.size()} {}

  [[nodiscard]] constexpr bool failed() const noexcept { return failed_; }
  [[nodiscard]] constexpr bool at_end() const noexcept { return at_ == end_; }
  [[nodiscard]] constexpr Bytes rest() const noexcept { return {at_, end_}; }

  /// For a value that was read and cannot be.
  constexpr void fail() noexcept {
    failed_ = true;
    at_ = end_;
  }

  constexpr Bytes bytes(std::uint64_t count) noexcept {
    if (count > rest().size()) {
      fail();
      return {};
    }
    const Bytes result{at_, static_cast<std::size_t>(count)};
    at_ += result.size();
    return result;
  }

  constexpr std::uint8_t u8() noexcept {
    const Bytes found = bytes(1);
    return found.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(found[0]);
  }

  constexpr std::uint16_t u16() noexcept {
    const Bytes found = bytes(2);
    return found.empty() ? std::uint16_t{0} : load_le<std::uint16_t>(found.data());
  }

  constexpr std::uint64_t u64() noexcept {
    const Bytes found = bytes(8);
    return found.empty() ? 0 : load_le<std::uint64_t>(found.data());
  }

  constexpr std::uint64_t varint() noexcept {
    std::uint64_t value = 0;
    const std::byte* const after = failed_ ? nullptr : decode_varint(at_, end_, value);
    if (after == nullptr) {
      fail();
      return 0;
    }
    at_ = after;
    return value;
  }

  /// A byte string of at most 255 bytes behind its length in one byte.
  std::string_view short_string() noexcept {
    const Bytes text = bytes(u8());
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  /// A block of optional fields: its length, then for each a tag byte, a length, so many bytes. Calls `take(tag,
  /// reader)` for each; whose reader it makes fail is malformed.
  template <class Take>
  constexpr void fields(const Take& take) noexcept {
    WireReader block{bytes(varint())};
    while (!block.at_end() && !block.failed()) {
      const std::uint8_t tag = block.u8();
      WireReader field{block.bytes(block.varint())};
      take(tag, field);
      if (field.failed()) block.fail();
    }
    if (block.failed()) fail();
  }
  constexpr void skip_fields() noexcept {
    fields([](std::uint8_t, WireReader&) {});
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
  bool failed_ = false;
};

/// How many entries a frame has, which `view`, a copy, takes from `rest` by next(Entry&); 0 when any does not parse.
template <class Entry, class View>
[[nodiscard]] constexpr std::size_t count_entries(View view, WireReader View::*rest) noexcept {
  Entry entry;
  std::size_t count = 0;
  while (view.next(entry)) ++count;
  return (view.*rest).failed() ? 0 : count;
}

/// Writes into a caller's bytes. What does not fit is not written and makes size() zero for good.
class WireWriter {
 public:
  constexpr explicit WireWriter(std::span<std::byte> out) noexcept : out_{out} {}

  /// Bytes written so far, or 0 when something did not fit.
  [[nodiscard]] constexpr std::size_t size() const noexcept { return failed_ ? 0 : used_; }

  constexpr void skip(std::size_t count) noexcept { take(count); }

  constexpr void u8(std::uint8_t value) noexcept {
    if (std::byte* const at = take(1)) *at = std::byte{value};
  }

  constexpr void u16(std::uint16_t value) noexcept {
    if (std::byte* const at = take(2)) store_le(at, value);
  }

  constexpr void u64(std::uint64_t value) noexcept {
    if (std::byte* const at = take(8)) store_le(at, value);
  }

  constexpr void varint(std::uint64_t value) noexcept {
    if (std::byte* const at = take(varint_bytes(value))) encode_varint(at, value);
  }

  void bytes(Bytes value) noexcept {
    std::byte* const at = take(value.size());
    if (at != nullptr && !value.empty()) std::memcpy(at, value.data(), value.size());
  }

  /// At most 255 bytes; a longer one does not fit.
  void short_string(std::string_view text) noexcept {
    if (text.size() > (std::numeric_limits<std::uint8_t>::max)()) failed_ = true;
    u8(static_cast<std::uint8_t>(text.size()));
    bytes(std::as_bytes(std::span{text}));
  }

 private:
  constexpr std::byte* take(std::size_t count) noexcept {
    if (count > out_.size() - used_) failed_ = true;
    if (failed_) return nullptr;
    std::byte* const at = out_.data() + used_;
    used_ += count;
    return at;
  }

  std::span<std::byte> out_;
  std::size_t used_ = 0;
  bool failed_ = false;
};

}  // namespace syncbus::inline v1::core
