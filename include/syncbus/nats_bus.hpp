// NatsBus: a bus over NATS core. Including it pulls in cnats; link syncbus::nats.
#pragma once

#include <string_view>
#include <utility>

#include <syncbus/basic_bus.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport/nats/nats_transport.hpp>

namespace syncbus::inline v1 {

/// A node on a subject of a NATS server or cluster; JetStream is not needed. It needs the permissions to publish and to
/// subscribe on `subject` and `subject.direct.*`, and survives the server: while it is away publishes are accepted,
/// when it is back they go out, and what a node missed meanwhile is repaired from its peers' histories. Only where
/// these no longer have it, subscribers hear a resync with cause `interrupted`. On a cluster of several servers
/// staleness() is an estimate: it rests on one order of broadcasts for all nodes.
///
/// Constructors block until this node hears itself and a peer has named all others: a round trip and some milliseconds,
/// 20 ms or more for the first node; at most `connect_timeout`, `wait_for_broker` aside. They throw std::system_error
/// with a sentence that says what to do: invalid_argument (the URL, the subject, the options), not_connected,
/// permission_denied, frame_too_large (the server takes no message of 1 KiB).
class NatsBus : public BasicBus<NatsTransport> {
 public:
  /// `urls`: nats://[user:password@]host[:port], several separated by commas; one connection, to whichever answers. For
  /// TLS, credentials files and the like give a connection.
  NatsBus(std::string_view urls, std::string_view subject, BusOptions options = {}, NatsTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, urls, subject, tuning} {}

  /// Over the caller's connection, which stays the caller's: it is never closed, may be used for other things
  /// meanwhile, and must live until this bus is destroyed. It must be connected, and made without
  /// natsOptions_SetNoEcho. It should reconnect for ever (natsOptions_SetMaxReconnect(options, -1)): once the client
  /// has given up, the bus stays disconnected. It should have a write deadline (natsOptions_SetWriteDeadline), and
  /// natsOptions_SetSendAsap makes it no faster. A publish_only bus subscribes to `subject` here, too, and throws away
  /// what it hears: on a connection that others use only what comes back is known to have been taken.
  NatsBus(natsConnection* connection, std::string_view subject, BusOptions options = {}, NatsTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, connection, subject, tuning} {}
};

static_assert(Bus<NatsBus>);

}  // namespace syncbus::inline v1
