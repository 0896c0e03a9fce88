// RedisBus: a bus over Redis pub/sub. Including it pulls in hiredis; link syncbus::redis.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <syncbus/basic_bus.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport/redis_transport.hpp>

namespace syncbus::inline v1 {

/// A node on a channel of a Redis server (also Valkey and others that speak RESP2). It uses two connections and one I/O
/// thread, needs the permissions +publish, +subscribe, +ping and the channels `channel` and `channel.direct.*`, and
/// survives the server: while it is away publishes are accepted and joined, and when it is back every subscriber of every
/// node that was cut off hears a resync with cause `interrupted`.
///
/// Constructors block until the broker has confirmed the subscription, at most `connect_timeout`, and throw
/// std::system_error with a sentence that says what to do: invalid_argument (the URL), not_connected, permission_denied.
class RedisBus : public BasicBus<RedisTransport> {
 public:
  /// `url`: redis://[user:password@]host[:port][/db]. For TLS, Sentinel or sockets use a connector.
  RedisBus(std::string_view url, std::string_view channel, BusOptions options = {}, RedisTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, url, std::string{channel}, tuning} {}

  /// `connector` makes an authenticated context; it is called again, on the bus's I/O thread, for every reconnect, and the
  /// bus owns what it returns.
  RedisBus(RedisConnector connector, std::string_view channel, BusOptions options = {}, RedisTuning tuning = {})
      : BasicBus{std::move(options), std::in_place, std::move(connector), std::string{channel}, tuning} {}

  /// Not to be had: a context cannot be rebuilt after a disconnection. Give a connector that makes one.
  RedisBus(redisContext* context, std::string_view channel, BusOptions options = {}, RedisTuning tuning = {}) = delete;
};

static_assert(Bus<RedisBus>);

}  // namespace syncbus::inline v1
