// Reads what a Redis server says about itself: whether it is a primary, and whether it is the same as before. Pure.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <syncbus/base/time.hpp>
#include <syncbus/transport/redis/resp.hpp>

namespace syncbus::inline v1::detail {

/// A message that is published on a replica reaches only its own subscribers; a Sentinel has its own pub/sub.
enum class RedisRole : std::uint8_t { unknown, primary, replica, sentinel };

/// The value of `key` in the text of INFO; empty if it has none.
[[nodiscard]] inline std::string_view redis_info(std::string_view text, std::string_view key) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = (std::min)(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with(key) && line.substr(key.size()).starts_with(':')) return line.substr(key.size() + 1);
    at = end + 1;
  }
  return {};
}

[[nodiscard]] inline RedisRole redis_role(std::string_view word) noexcept {
  if (word == "master") return RedisRole::primary;
  if (word == "slave" || word == "replica") return RedisRole::replica;
  return word == "sentinel" ? RedisRole::sentinel : RedisRole::unknown;
}

/// The role that the answer to HELLO, ROLE or INFO replication tells.
[[nodiscard]] inline RedisRole redis_role(const RespReply& reply) noexcept {
  if (reply.kind == RespReply::Kind::text) return redis_role(redis_info(reply.word(0), "role"));
  if (reply.kind != RespReply::Kind::array) return RedisRole::unknown;
  for (std::size_t i = 0; i + 1 < reply.size; i += 2) {
    if (reply.word(i) == "mode" && reply.word(i + 1) == "sentinel") return RedisRole::sentinel;
    if (reply.word(i) == "role") return redis_role(reply.word(i + 1));
  }
  return redis_role(reply.word(0));
}

/// Which server it is, as far as its user may ask. An empty member is not known.
struct RedisServer {
  std::string address{};               ///< of its end of the connection
  std::string run_id{};                ///< of its process
  std::string replication_id{};        ///< new when it becomes a primary
  bool followed = false;               ///< it was a replica before, or loaded what it had saved
  TimePoint started{};                 ///< at the latest, its process
};

/// Takes over what INFO server and INFO replication say, not after `now`.
inline void learn_redis_server(std::string_view server, std::string_view replication, TimePoint now,
                               RedisServer& known) {
  known.run_id = redis_info(server, "run_id");
  known.replication_id = redis_info(replication, "master_replid");
  known.followed = redis_info(replication, "master_replid2").find_first_not_of('0') != std::string_view::npos;
  const std::string_view digits = redis_info(server, "uptime_in_seconds");
  std::int64_t uptime = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), uptime);
  known.started = now - std::chrono::seconds{uptime - 1};  // between two full seconds of its clock may lie a moment
}

/// Whether nodes may have been on `to` while we were on `from`, which we last heard at `heard`. Then messages may have
/// been published there of which no living node knows. A server that was only started again is no other: while one
/// process was there, the other was not.
[[nodiscard]] inline bool redis_server_changed(const RedisServer& from, TimePoint heard,
                                               const RedisServer& to) noexcept {
  if (from.run_id.empty() || to.run_id.empty()) return from.address != to.address;
  if (from.run_id != to.run_id) return to.started <= heard;
  return from.replication_id != to.replication_id && to.followed;
}

}  // namespace syncbus::inline v1::detail
