// A NatsTransport alone with its recorder: one end of the pipe, for tests below the bus.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <syncbus/transport/nats_transport.hpp>

#include "contract/nats_tuning.hpp"
#include "contract/recorder.hpp"
#include "support/nats_server.hpp"

namespace contract {

[[nodiscard]] inline syncbus::TransportSettings nats_settings_of(std::uint64_t id) {
  return {.self = {id},
          .publish_only = false,
          .connect_timeout = std::chrono::seconds{20},
          .peer_timeout = std::chrono::seconds{20}};
}

/// A connection of a caller's that reconnects for ever, and fast.
[[nodiscard]] inline support::Nats<natsConnection> lasting_connection(const std::string& url) {
  const auto options = support::nats_options(url);
  support::require_ok(natsOptions_SetReconnectWait(options.get(), 10));
  support::require_ok(natsOptions_SetReconnectJitter(options.get(), 0, 0));
  support::require_ok(natsOptions_SetMaxReconnect(options.get(), -1));
  return support::nats_connect(options);
}

struct NatsNode {
  NatsNode(const std::string& url, const syncbus::TransportSettings& settings, const std::string& subject = "subject")
      : transport{url, subject, quick_nats} {
    transport.open(recorder, settings);
  }
  NatsNode(const std::string& url, std::uint64_t id) : NatsNode{url, nats_settings_of(id)} {}
  NatsNode(natsConnection* connection, const syncbus::TransportSettings& settings)
      : transport{connection, "subject", quick_nats} {
    transport.open(recorder, settings);
  }
  NatsNode(natsConnection* connection, std::uint64_t id) : NatsNode{connection, nats_settings_of(id)} {}

  /// In the session that the recorder knows of; `frame` numbers them.
  syncbus::BroadcastToken broadcast(std::string_view text, std::uint64_t frame) {
    const syncbus::BroadcastToken token{recorder.session(), frame};
    transport.broadcast(bytes_of(text), token);
    return token;
  }

  Recorder recorder;  // first: the transport tells it things until it is closed
  syncbus::NatsTransport transport;
};

}  // namespace contract
