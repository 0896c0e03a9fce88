// RedisBus: a bus over Redis pub/sub. Including it pulls in hiredis; link syncbus::redis.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <syncbus/basic_bus.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport/redis/redis_transport.hpp>

namespace syncbus::inline v1 {

/// A node on a channel of a Redis server (also Valkey and others that speak RESP2). It uses two connections, needs the
/// permissions +publish, +subscribe, +ping and the channels `channel` and `channel.direct.*`, and survives the server:
/// while it is away publishes are accepted, when it is back they go out, and what a node missed meanwhile is repaired
/// from its peers' histories. Only where these no longer have it, subscribers hear a resync with cause `interrupted`.
/// The server is the primary: a replica is refused, and left when it becomes one. A node that comes to another server,
/// after a failover, hears a resync, too.
///
/// Constructors block until this node hears itself and a peer has named all others: a round trip and some milliseconds,
/// 20 ms or more for the first node; at most `connect_timeout`, `wait_for_broker` aside. They throw std::system_error
/// with a sentence that says what to do: invalid_argument (the URL, the options), not_connected, permission_denied,
/// transport_failure (answers that make no sense).
class RedisBus : public BasicBus<RedisTransport> {
 public:
  /// `url`: redis://[user:password@]host[:port][/db]. For TLS, Sentinel or sockets use a connector. Channels are the
  /// same in every database; one that the server does not have is refused by it, and thrown with its words.
  RedisBus(std::string_view url, std::string_view channel, BusOptions options = {}, RedisTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, url, std::string{channel}, tuning} {}

  /// `connector` makes a new, authenticated context; it is called again, on a thread of the bus, for every reconnect,
  /// and the bus owns what it returns. See RedisConnector for what becomes of one that does not return in time.
  RedisBus(RedisConnector connector, std::string_view channel, BusOptions options = {}, RedisTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, std::move(connector), std::string{channel}, tuning} {}

  /// Deleted: a context cannot be rebuilt after a disconnection. Give a connector that makes one.
  RedisBus(redisContext* context, std::string_view channel, BusOptions options = {}, RedisTuning tuning = {}) = delete;
};

static_assert(Bus<RedisBus>);

}  // namespace syncbus::inline v1
