// The URL of a Redis server: redis://[user:password@]host:port[/db]. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/url_parts.hpp>

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
    if (is_blank_or_control(c)) refuse_redis_url("it holds a space or a control character");
  }
  require_encoded_credentials(text, refuse_redis_url);
  if (text.find_first_of("?#") != std::string_view::npos) refuse_redis_url("it has a query or a fragment");

  RedisUrl url;
  const std::size_t slash = text.find('/');
  std::string_view address = text.substr(0, slash);
  if (const std::size_t at = address.rfind('@'); at != std::string_view::npos) {
    parse_redis_credentials(address.substr(0, at), url);
    address.remove_prefix(at + 1);
  }
  parse_host_and_port(address, url.host, url.port, refuse_redis_url);
  if (slash != std::string_view::npos && slash + 1 != text.size()) {
    const auto database = parse_decimal(text.substr(slash + 1), 1'000'000);
    if (!database) refuse_redis_url("the database is not a number");
    url.database = *database;
  }
  return url;
}

}  // namespace syncbus::inline v1::detail
