// What a cluster of audited nodes has to know of Redis: its server, and a user for each node, so that one of them can
// be cut off.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/redis_bus.hpp>

#include "support/redis_server.hpp"

namespace fault {

struct OnRedis {
  using Server = support::RedisServer;
  using Bus = syncbus::RedisBus;
  struct Client {};

  static constexpr std::string_view channel = "fault";

  /// Long enough a pause that a node misses something when it is thrown out while others publish.
  static constexpr syncbus::RedisTuning tuning{.min_backoff = std::chrono::milliseconds{20},
                                               .max_backoff = std::chrono::milliseconds{100}};

  [[nodiscard]] static std::string user(std::size_t index) { return "node" + std::to_string(index); }

  /// With the users of four nodes, also after a restart.
  [[nodiscard]] static Server server() {
    std::vector<std::string> words;
    for (std::size_t index = 0; index != 4; ++index) {
      words.insert(words.end(), {"--user", user(index), "on", ">password", "&*", "+@all"});
    }
    return Server{std::move(words)};
  }

  [[nodiscard]] static Bus bus(const Server& server, std::size_t index, syncbus::BusOptions options) {
    const std::string url = "redis://" + user(index) + ":password@127.0.0.1:" + std::to_string(server.port());
    return Bus{url, channel, std::move(options), tuning};
  }
};

}  // namespace fault
