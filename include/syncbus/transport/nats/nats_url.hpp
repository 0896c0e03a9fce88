// The URLs of NATS servers: nats://[user:password@]host[:port], several separated by commas. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/url_parts.hpp>

namespace syncbus::inline v1::detail {

/// What one such URL says. A user without a password is a token.
struct NatsUrl {
  std::string host;
  std::uint16_t port = 4'222;
  std::string user;
  std::optional<std::string> password;

  /// Without what is secret.
  [[nodiscard]] std::string address() const {
    const bool v6 = host.find(':') != std::string::npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  }
};

/// Never shows the URL itself: it may hold a password.
[[noreturn]] inline void refuse_nats_url(std::string_view why) {
  throw std::system_error{make_error_code(Errc::invalid_argument),
                          "not a URL of a NATS server: " + std::string{why} +
                              "; expected nats://[user:password@]host[:port], several separated by commas, for example "
                              "nats://127.0.0.1:4222"};
}

inline void parse_nats_credentials(std::string_view text, NatsUrl& url) {
  const std::size_t colon = text.find(':');
  auto user = percent_decoded(text.substr(0, colon));
  if (colon != std::string_view::npos) {
    url.password = percent_decoded(text.substr(colon + 1));
    if (!url.password) user.reset();
  }
  if (!user) refuse_nats_url("'%' in a user or password must be followed by two hex digits");
  if (user->empty()) refuse_nats_url("a password comes with a user");
  // The client takes C strings, and writes them into JSON as they are.
  const auto is_odd = [](char c) { return is_blank_or_control(c) && c != ' '; };
  const auto would_be_garbled = [&](std::string_view word) {
    return std::any_of(word.begin(), word.end(), is_odd) || word.find_first_of("\"\\") != std::string_view::npos;
  };
  if (would_be_garbled(*user) || (url.password && would_be_garbled(*url.password))) {
    refuse_nats_url("a user or password with quotes, backslashes or control characters: pass a natsConnection");
  }
  url.user = std::move(*user);
}

[[nodiscard]] inline NatsUrl parse_one_nats_url(std::string_view text) {
  constexpr std::string_view scheme = "nats://";
  if (text.starts_with("tls://")) {
    throw std::system_error{make_error_code(Errc::invalid_argument),
                            "tls:// is not opened by URL: pass a natsConnection made with natsOptions_SetSecure"};
  }
  if (!text.starts_with(scheme)) refuse_nats_url("it does not begin with nats://");
  text.remove_prefix(scheme.size());
  for (const char c : text) {
    if (is_blank_or_control(c)) refuse_nats_url("it holds a space or a control character");
  }
  if (text.ends_with('/')) text.remove_suffix(1);
  require_encoded_credentials(text, refuse_nats_url);
  if (text.find_first_of("/?#") != std::string_view::npos) refuse_nats_url("it has a path, a query or a fragment");

  NatsUrl url;
  if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) {
    parse_nats_credentials(text.substr(0, at), url);
    text.remove_prefix(at + 1);
  }
  parse_host_and_port(text, url.host, url.port, refuse_nats_url);
  return url;
}

/// One at least. Throws std::system_error (invalid_argument) with a sentence that says what was expected, never with
/// the password.
[[nodiscard]] inline std::vector<NatsUrl> parse_nats_urls(std::string_view text) {
  std::vector<NatsUrl> urls;
  for (std::size_t comma = 0; comma != std::string_view::npos;) {
    comma = text.find(',');
    urls.push_back(parse_one_nats_url(text.substr(0, comma)));
    if (comma != std::string_view::npos) text.remove_prefix(comma + 1);
  }
  return urls;
}

}  // namespace syncbus::inline v1::detail
