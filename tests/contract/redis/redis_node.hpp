// A RedisTransport alone with its recorder.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <syncbus/transport/redis/redis_transport.hpp>

#include "contract/fixtures/quick.hpp"
#include "contract/transport/transport_node.hpp"

namespace contract {

struct RedisNode : TransportNode {
  RedisNode(const std::string& url, const syncbus::TransportSettings& settings, const std::string& channel = "channel")
      : TransportNode{transport_of<syncbus::RedisTransport>(url, channel, quick), settings} {}
  RedisNode(const std::string& url, std::uint64_t id) : RedisNode{url, settings_of(id)} {}
  RedisNode(syncbus::RedisConnector connector, std::uint64_t id)
      : TransportNode{transport_of<syncbus::RedisTransport>(std::move(connector), "channel", quick), id} {}
};

}  // namespace contract
