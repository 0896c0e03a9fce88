// The URL of a Redis server: redis://[user:password@]host:port[/db]. Pure.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/error.hpp>

namespace syncbus::inline v1::detail {

/// What such a URL says. Without a user the password is that of the user "default".
struct RedisUrl {
  std::string host;
  std::uint16_t port = 6'379;
  std::string user;
  std::optional<std::string> password;
  std::int32_t database = 0;
};

/// Never shows the URL itself: it may hold a password.
[[noreturn]] inline void refuse_redis_url(std::string_view why) {
  throw std::system_error{
      make_error_code(Errc::invalid_argument),
      "not a URL of a Redis server: " + std::string{why} +
          "; expected redis://[user:password@]host[:port][/db], for example redis://127.0.0.1:6379"};
}

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

inline void parse_redis_credentials(std::string_view text, RedisUrl& url) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    refuse_redis_url("a user comes with a password (a password alone is written redis://:password@host)");
  }
  auto user = percent_decoded(text.substr(0, colon));
  url.password = percent_decoded(text.substr(colon + 1));
  if (!user || !url.password) refuse_redis_url("'%' in a user or password must be followed by two hex digits");
  url.user = std::move(*user);
}

inline void parse_redis_address(std::string_view text, RedisUrl& url) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) refuse_redis_url("the bracket of an IPv6 address is not closed");
    url.host = text.substr(1, bracket - 1);
    port = text.substr(bracket + 1);
  } else {
    const std::size_t colon = text.find(':');
    url.host = text.substr(0, colon);
    if (colon != std::string_view::npos) port = text.substr(colon);
    if (port.rfind(':') != 0 && !port.empty()) refuse_redis_url("an IPv6 address is written in brackets");
  }
  if (url.host.empty()) refuse_redis_url("the host is missing");
  if (port.empty()) return;
  const auto number = port.front() == ':' ? parse_decimal(port.substr(1), 65'535) : std::nullopt;
  if (!number || *number == 0) refuse_redis_url("the port is not a number from 1 to 65535");
  url.port = static_cast<std::uint16_t>(*number);
}

/// Throws std::system_error (invalid_argument) with a sentence that says what was expected, never with the password.
[[nodiscard]] inline RedisUrl parse_redis_url(std::string_view text) {
  constexpr std::string_view scheme = "redis://";
  if (text.starts_with("rediss://")) {
    throw std::system_error{make_error_code(Errc::invalid_argument),
                            "rediss:// is not opened by URL: pass a RedisConnector that makes the TLS connection"};
  }
  if (!text.starts_with(scheme)) refuse_redis_url("it does not begin with redis://");
  text.remove_prefix(scheme.size());
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f')
      refuse_redis_url("it holds a space or a control character");
  }
  if (text.find_first_of("?#") != std::string_view::npos) refuse_redis_url("it has a query or a fragment");

  RedisUrl url;
  const std::size_t slash = text.find('/');
  std::string_view address = text.substr(0, slash);
  if (const std::size_t at = address.rfind('@'); at != std::string_view::npos) {
    parse_redis_credentials(address.substr(0, at), url);
    address.remove_prefix(at + 1);
  }
  parse_redis_address(address, url);
  if (slash != std::string_view::npos && slash + 1 != text.size()) {
    const auto database = parse_decimal(text.substr(slash + 1), 1'000'000);
    if (!database) refuse_redis_url("the database is not a number");
    url.database = *database;
  }
  return url;
}

}  // namespace syncbus::inline v1::detail
