// The place of a NATS server: see TransportSink::on_place.
#pragma once

#include <cstdint>
#include <string_view>

namespace syncbus::inline v1::detail {

/// Of the id that a server draws when it starts: FNV-1a (draft-eastlake-fnv) of 64 bits, the same in every node and
/// version. An empty id is no place.
[[nodiscard]] constexpr std::uint64_t nats_place(std::string_view server_id) noexcept {
  if (server_id.empty()) return 0;
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : server_id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash == 0 ? 1 : hash;
}

}  // namespace syncbus::inline v1::detail
