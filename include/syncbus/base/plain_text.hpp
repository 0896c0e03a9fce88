// Escapes foreign bytes in sentences for people: no key and no exception's text can write a line of its own into a log.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace syncbus::inline v1::detail {

/// A character in UTF-8, or a byte that is in none: then `size` is 1 and `code` no character.
struct Utf8Character {
  static constexpr char32_t none = 0xffff'ffff;

  char32_t code = none;
  std::size_t size = 1;

  /// Precondition: the text is not empty.
  [[nodiscard]] static constexpr Utf8Character first_of(std::string_view text) noexcept {
    assert(!text.empty());
    const auto lead = static_cast<unsigned char>(text.front());
    if (lead < 0x80) return {lead, 1};
    const std::size_t size = lead >= 0xf0 ? 4 : (lead >= 0xe0 ? 3 : 2);
    if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return {};
    char32_t code = lead & (0x7fU >> size);
    for (const char byte : text.substr(1, size - 1)) {
      const auto value = static_cast<unsigned char>(byte);
      if ((value & 0xc0U) != 0x80) return {};
      code = code << 6U | (value & 0x3fU);
    }
    constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return {};
    return {code, size};
  }

  /// Whether it neither ends a line, nor moves the cursor, nor turns the text around it.
  [[nodiscard]] constexpr bool harmless() const noexcept {
    if (code == none || code < 0x20 || (code >= 0x7f && code <= 0x9f)) return false;
    const bool separator = code == 0x2028 || code == 0x2029;
    const bool turns = code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
                       (code >= 0x2066 && code <= 0x2069);
    return !separator && !turns;
  }
};

inline void append_escaped(std::string& out, std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    out += "\\x";
    out += digits[value >> 4U];
    out += digits[value & 0xfU];
  }
}

/// The text on one line: control characters and bytes that are no UTF-8 as \xNN. What quoted() made stays as it is.
[[nodiscard]] inline std::string one_line(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const auto character = Utf8Character::first_of(text);
    const std::string_view bytes = text.substr(0, character.size);
    character.harmless() ? static_cast<void>(line.append(bytes)) : append_escaped(line, bytes);
    text.remove_prefix(character.size);
  }
  return line;
}

/// At most about `most` bytes of a text, cut between two characters.
[[nodiscard]] inline std::string beginning_of(std::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string{text};
  std::size_t size = 0;
  while (size < most) size += Utf8Character::first_of(text.substr(size)).size;
  return std::string{text.substr(0, size)} + "...";
}

/// The same between quotes, of which it contains none.
[[nodiscard]] inline std::string quoted(std::string_view text, std::size_t most) {
  std::string out = "\"";
  for (const char byte : beginning_of(text, most)) {
    byte == '"' || byte == '\\' ? append_escaped(out, {&byte, 1}) : out.push_back(byte);
  }
  return out += '"';
}

}  // namespace syncbus::inline v1::detail
