// What the URLs of brokers have in common: numbers, percent-encoding, host and port. Pure.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace syncbus::inline v1::detail {

/// The whole text as a number in [0, most], or nothing.
[[nodiscard]] inline std::optional<std::int32_t> parse_decimal(std::string_view text, std::int32_t most) noexcept {
  std::int32_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error != std::errc{} || end != last || number < 0 || number > most) return std::nullopt;
  return number;
}

/// Percent-decoding (RFC 3986, 2.1); nothing if a '%' is not followed by two hex digits.
[[nodiscard]] inline std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i != text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || error != std::errc{} || end != digits.data() + 2) return std::nullopt;
    out += static_cast<char>(static_cast<unsigned char>(value));
    i += 2;
  }
  return out;
}

/// `text` is what follows the scheme. One of "/?#" ends the user, the password and the host. An '@' behind it shows
/// that it was meant to be part of a password. `refuse` as below.
template <class Refuse>
void require_encoded_credentials(std::string_view text, const Refuse& refuse) {
  const std::size_t end = text.find_first_of("/?#");
  if (end == std::string_view::npos || text.find('@', end) == std::string_view::npos) return;
  refuse("a '/', '?' or '#' in a user or password must be percent-encoded (%2F, %3F, %23)");
}

/// Space, control characters, and DEL stand in no URL.
[[nodiscard]] constexpr bool is_blank_or_control(char c) noexcept {
  return static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
}

/// `host[:port]`, an IPv6 address in brackets, which `host` is then without. `port` keeps its value when there is none.
/// `refuse(why)` is called for what is wrong, and throws.
template <class Refuse>
void parse_host_and_port(std::string_view text, std::string& host, std::uint16_t& port, const Refuse& refuse) {
  std::string_view behind;
  if (text.starts_with('[')) {
    const std::size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) refuse("the bracket of an IPv6 address is not closed");
    host = text.substr(1, bracket - 1);
    behind = text.substr(bracket + 1);
  } else {
    const std::size_t colon = text.find(':');
    host = text.substr(0, colon);
    if (colon != std::string_view::npos) behind = text.substr(colon);
    if (behind.rfind(':') != 0 && !behind.empty()) refuse("an IPv6 address is written in brackets");
  }
  if (host.empty()) refuse("the host is missing");
  if (behind.empty()) return;
  const auto number = behind.front() == ':' ? parse_decimal(behind.substr(1), 65'535) : std::nullopt;
  if (!number || *number == 0) refuse("the port is not a number from 1 to 65535");
  port = static_cast<std::uint16_t>(number.value_or(0));
}

}  // namespace syncbus::inline v1::detail
