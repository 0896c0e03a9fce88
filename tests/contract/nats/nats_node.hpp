// A NatsTransport alone with its recorder.
#pragma once

#include <cstdint>
#include <string>

#include <syncbus/transport/nats/nats_transport.hpp>

#include "contract/fixtures/quick.hpp"
#include "contract/transport/transport_node.hpp"
#include "support/nats_server.hpp"

namespace contract {

/// A connection of a caller's that reconnects for ever, and fast.
[[nodiscard]] inline support::Nats<natsConnection> lasting_connection(const std::string& url) {
  const auto options = support::nats_options(url);
  support::require_ok(natsOptions_SetReconnectWait(options.get(), 10));
  support::require_ok(natsOptions_SetReconnectJitter(options.get(), 0, 0));
  support::require_ok(natsOptions_SetMaxReconnect(options.get(), -1));
  return support::nats_connect(options);
}

struct NatsNode : TransportNode {
  NatsNode(const std::string& url, const syncbus::TransportSettings& settings, const std::string& subject = "subject")
      : TransportNode{transport_of<syncbus::NatsTransport>(url, subject, quick), settings} {}
  NatsNode(const std::string& url, std::uint64_t id) : NatsNode{url, settings_of(id)} {}
  NatsNode(natsConnection* connection, const syncbus::TransportSettings& settings)
      : TransportNode{transport_of<syncbus::NatsTransport>(connection, "subject", quick), settings} {}
  NatsNode(natsConnection* connection, std::uint64_t id) : NatsNode{connection, settings_of(id)} {}
};

}  // namespace contract
