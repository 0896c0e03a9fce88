// What a NATS server says first to whoever connects: its INFO. The client passes on little of it. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace syncbus::inline v1::detail {

/// What follows the name of a member of a JSON object; empty: it has none of that name. The name comes with its quotes,
/// which within a string would be escaped.
[[nodiscard]] constexpr std::string_view json_member(std::string_view object, std::string_view quoted_name) noexcept {
  const auto skip_spaces = [](std::string_view text) {
    const std::size_t at = text.find_first_not_of(" \t");
    return at == std::string_view::npos ? std::string_view{} : text.substr(at);
  };
  while (true) {
    const std::size_t at = object.find(quoted_name);
    if (at == std::string_view::npos) return {};
    object = skip_spaces(object.substr(at + quoted_name.size()));
    if (object.starts_with(':')) return skip_spaces(object.substr(1));
  }
}

/// Whether a server that begins so is the one with this id, and of no cluster. Those of a cluster, or with a gateway,
/// need not announce each other, but each says to which it belongs; the oldest do not, nor whether they take headers.
[[nodiscard]] constexpr bool is_without_cluster(std::string_view info, std::string_view server_id) noexcept {
  const std::size_t end = info.find("\r\n");
  if (end == std::string_view::npos || !info.starts_with("INFO ") || server_id.empty()) return false;
  info = info.substr(0, end);
  const std::string_view id = json_member(info, "\"server_id\"");
  const bool same = id.size() > server_id.size() + 1 && id.starts_with('"') &&
                    id.substr(1).starts_with(server_id) && id[1 + server_id.size()] == '"';
  return same && !json_member(info, "\"headers\"").empty() && json_member(info, "\"cluster\"").empty();
}

}  // namespace syncbus::inline v1::detail
