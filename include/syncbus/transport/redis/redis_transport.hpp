// The transport over Redis pub/sub: two connections, and the I/O on them by a thread of its own or lent ones.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/redis/redis_connection.hpp>
#include <syncbus/transport/redis/redis_dialer.hpp>
#include <syncbus/transport/redis/redis_publisher.hpp>
#include <syncbus/transport/redis/redis_session.hpp>
#include <syncbus/transport/redis/redis_url.hpp>
#include <syncbus/transport/redis/resp.hpp>
#include <syncbus/transport/session/reconnect_tuning.hpp>
#include <syncbus/transport/session/session_loop.hpp>

namespace syncbus::inline v1 {

using RedisTuning = ReconnectTuning;

/// Broadcasts go to `channel`, directed frames to `channel`.direct.<16 hex digits of the node>; channel names may hold
/// any bytes. Two connections, one to publish and one to subscribe; sink calls come from whichever thread does the I/O,
/// one at a time. Thread safety: as the concept says.
class RedisTransport {
 public:
  /// A subscriber loses a message only when its connection is cut, which it sees; a publisher gets an answer to each.
  static constexpr bool lossless_sessions = true;

  /// Both constructors only check their arguments: std::system_error (invalid_argument) for an empty channel, an empty
  /// connector, a malformed URL.
  RedisTransport(RedisConnector connector, std::string channel, RedisTuning tuning = {})
      : dialer_{std::move(connector)}, channels_{std::move(channel), {}, {}}, tuning_{tuning} {
    require_channel();
    if (!dialer_.has_connector()) refuse("the RedisConnector is empty: pass a callable that makes a redisContext*");
  }

  /// url: redis://[user:password@]host[:port][/db], percent-encoded, an IPv6 address in brackets.
  RedisTransport(std::string_view url, std::string channel, RedisTuning tuning = {})
      : dialer_{detail::parse_redis_url(url)},
        channels_{std::move(channel), {}, dialer_.url()->user},
        tuning_{tuning} {
    require_channel();
  }

  RedisTransport(const RedisTransport&) = delete;
  RedisTransport& operator=(const RedisTransport&) = delete;
  ~RedisTransport() { close(); }

  /// Blocks until the first session is made. Throws std::system_error (not_connected, permission_denied,
  /// transport_failure). It makes one attempt, unless wait_for_broker says otherwise.
  void open(TransportSink& sink, const TransportSettings& settings) {
    channels_.direct = direct_channel(settings.self);
    broadcast_prefix_ = detail::resp_publish_prefix(channels_.broadcast);
    loop_.open(sink, settings, tuning_, [this](const detail::SessionContext& common) {
      return detail::RedisContext{common, dialer_, channels_, publisher_, home_};
    });
  }

  /// See LendableTransport.
  [[nodiscard]] bool serve(const std::atomic<bool>& leave) noexcept { return loop_.serve(leave); }

  /// Writes to the socket, as far as the kernel takes it, and leaves a copy of the rest to the I/O thread.
  void broadcast(Bytes bytes, BroadcastToken token) noexcept {
    if (publisher_.broadcast(broadcast_prefix_, bytes, token)) loop_.wake();
  }

  void send(NodeId node, Bytes bytes) noexcept {
    if (publisher_.send(detail::resp_publish_prefix(direct_channel(node)), bytes)) loop_.wake();
  }

  /// Leaves it to the I/O thread. Attempts to connect begin with the shortest pause again: the engine asks once in a
  /// peer_timeout at most.
  void reopen(std::uint64_t session) noexcept { loop_.reopen(session); }

  /// Waits for a sink call that is running. An attempt to connect ends at once; a connector that is still running then
  /// is waited for by the destructor, for a second at most.
  void close() noexcept { loop_.close(); }

 private:
  void require_channel() const {
    if (channels_.broadcast.empty()) refuse("the Redis channel has no name");
  }

  [[noreturn]] static void refuse(const char* why) {
    throw std::system_error{make_error_code(Errc::invalid_argument), why};
  }
  [[nodiscard]] std::string direct_channel(NodeId node) const {
    return channels_.broadcast + ".direct." + to_string(node);
  }

  detail::RedisDialer dialer_;
  detail::RedisChannels channels_;
  RedisTuning tuning_;
  std::string broadcast_prefix_;
  detail::RedisPublisher publisher_;
  detail::RedisHome home_;
  detail::SessionLoop<detail::RedisSession> loop_;  // uses all of the above
};

static_assert(Transport<RedisTransport> && LendableTransport<RedisTransport>);

}  // namespace syncbus::inline v1
