// A RedisTransport alone with its recorder: one end of the pipe, for tests below the bus.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/transport/redis_transport.hpp>

#include "contract/recorder.hpp"
#include "contract/redis_tuning.hpp"

namespace contract {

[[nodiscard]] inline syncbus::TransportSettings settings_of(std::uint64_t id) {
  return {.self = {id},
          .publish_only = false,
          .connect_timeout = std::chrono::seconds{20},
          .peer_timeout = std::chrono::seconds{20}};
}

struct RedisNode {
  RedisNode(const std::string& url, const syncbus::TransportSettings& settings, const std::string& channel = "channel")
      : transport{url, channel, quick} {
    transport.open(recorder, settings);
  }
  RedisNode(const std::string& url, std::uint64_t id) : RedisNode{url, settings_of(id)} {}
  RedisNode(syncbus::RedisConnector connector, std::uint64_t id) : transport{std::move(connector), "channel", quick} {
    transport.open(recorder, settings_of(id));
  }

  /// In the session that the recorder knows of; `frame` numbers them.
  syncbus::BroadcastToken broadcast(std::string_view text, std::uint64_t frame) {
    const syncbus::BroadcastToken token{recorder.session(), frame};
    transport.broadcast(bytes_of(text), token);
    return token;
  }

  Recorder recorder;  // first: the transport tells it things until it is closed
  syncbus::RedisTransport transport;
};

}  // namespace contract
