// The transport over Redis pub/sub: an I/O thread that makes one session after the other.
#pragma once

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <syncbus/detail/backoff.hpp>
#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/problem_reporter.hpp>
#include <syncbus/detail/redis_url.hpp>
#include <syncbus/detail/resp.hpp>
#include <syncbus/detail/wake_fd.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/redis_connection.hpp>
#include <syncbus/transport/redis_publisher.hpp>
#include <syncbus/transport/redis_session.hpp>

namespace syncbus::inline v1 {

/// How sessions are made again after an interruption.
struct RedisTuning {
  Duration min_backoff = std::chrono::milliseconds{50};  ///< longest pause before the first attempt
  Duration max_backoff = std::chrono::seconds{2};        ///< the pause doubles up to this
  /// Limit of one attempt by URL (and never above connect_timeout): so long close() may have to wait for it.
  Duration attempt_timeout = std::chrono::seconds{1};
};

/// Broadcasts go to `channel`, directed frames to `channel`.direct.<16 hex digits of the node>; channel names may hold
/// any bytes. Two connections, one to publish and one to subscribe; all sink calls come from one I/O thread. Thread
/// safety: as the concept says.
class RedisTransport {
 public:
  /// A subscriber loses a message only when its connection is cut, which it sees; a publisher gets an answer to each.
  static constexpr bool lossless_sessions = true;

  /// Both constructors only check their arguments: std::system_error (invalid_argument) for an empty channel, an empty
  /// connector, a malformed URL.
  RedisTransport(RedisConnector connector, std::string channel, RedisTuning tuning = {})
      : RedisTransport{detail::RedisEndpoint{std::move(connector), {}}, std::move(channel), tuning} {
    if (!endpoint_.connector) refuse("the RedisConnector is empty: pass a callable that makes a redisContext*");
  }

  /// url: redis://[user:password@]host[:port][/db], percent-encoded, an IPv6 address in brackets.
  RedisTransport(std::string_view url, std::string channel, RedisTuning tuning = {})
      : RedisTransport{detail::RedisEndpoint{{}, detail::parse_redis_url(url)}, std::move(channel), tuning} {
    channels_.user = endpoint_.url->user;
  }

  RedisTransport(const RedisTransport&) = delete;
  RedisTransport& operator=(const RedisTransport&) = delete;
  ~RedisTransport() { close(); }

  /// Blocks until the first session is made. Throws std::system_error (not_connected, permission_denied). It makes one
  /// attempt: a server that is not there yet is the caller's to wait for.
  void open(TransportSink& sink, const TransportSettings& settings) {
    settings_ = settings;
    channels_.direct = direct_channel(settings.self);
    broadcast_prefix_ = detail::resp_publish_prefix(channels_.broadcast);
    thread_ = std::thread{[this, &sink]() noexcept { run(sink); }};
    std::unique_lock lock{opening_mutex_};
    opening_ended_.wait(lock, [this] { return opening_.ended; });
    if (!opening_.error) return;
    lock.unlock();
    thread_.join();
    throw std::system_error{opening_.error, opening_.sentence};
  }

  /// Writes to the socket, as far as the kernel takes it, and leaves a copy of the rest to the I/O thread.
  void broadcast(Bytes bytes, BroadcastToken token) noexcept {
    if (publisher_.broadcast(broadcast_prefix_, bytes, token)) wake_.signal();
  }

  void send(NodeId node, Bytes bytes) noexcept {
    if (publisher_.send(detail::resp_publish_prefix(direct_channel(node)), bytes)) wake_.signal();
  }

  /// Waits for the I/O thread: for a sink call that is running, or an attempt to connect (attempt_timeout, or however
  /// long the caller's connector takes).
  void close() noexcept {
    closing_.store(true);
    wake_.signal();
    if (thread_.joinable()) thread_.join();
  }

 private:
  /// What open() waits for: how the first attempt went.
  struct Opening {
    bool ended = false;
    std::error_code error{};
    std::string sentence{};
  };

  RedisTransport(detail::RedisEndpoint endpoint, std::string channel, RedisTuning tuning)
      : endpoint_{std::move(endpoint)}, channels_{std::move(channel), {}, {}}, tuning_{tuning} {
    if (channels_.broadcast.empty()) refuse("the Redis channel has no name");
  }

  [[noreturn]] static void refuse(const char* why) {
    throw std::system_error{make_error_code(Errc::invalid_argument), why};
  }
  [[nodiscard]] std::string direct_channel(NodeId node) const {
    return channels_.broadcast + ".direct." + to_string(node);
  }
  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  // --- the I/O thread ---

  void run(TransportSink& sink) noexcept {
    block_sigpipe();
    detail::ProblemReporter problems;
    const detail::RedisSurroundings around{endpoint_,  channels_, settings_, sink,
                                           publisher_, problems,  wake_,     closing_};
    const auto seed = settings_.self.value ^ static_cast<std::uint64_t>(now().time_since_epoch().count());
    detail::Backoff backoff{tuning_.min_backoff, tuning_.max_backoff, seed};
    for (std::uint64_t sessions = 0; !closing_.load(); pause(backoff.next())) {
      const Duration limit =
          sessions == 0 ? settings_.connect_timeout : (std::min)(settings_.connect_timeout, tuning_.attempt_timeout);
      const std::optional<detail::RedisEnd> failure = attempt(around, detail::deadline_after(limit), sessions, backoff);
      if (!failure) continue;
      if (sessions == 0) return end_opening({true, make_error_code(failure->code), failure->sentence});
      if (!closing_.load()) problems.report(sink, make_error_code(failure->code), failure->sentence, now());
    }
  }

  /// Makes a session and holds it to its end. Returns what went wrong.
  std::optional<detail::RedisEnd> attempt(const detail::RedisSurroundings& around, TimePoint deadline,
                                          std::uint64_t& sessions, detail::Backoff& backoff) {
    try {
      detail::RedisSession session{around, deadline};
      session.begin(++sessions);
      if (sessions == 1) end_opening({true, {}, {}});
      session.serve();
      if (closing_.load()) return std::nullopt;
      if (session.confirmed_any()) backoff.reset();
      around.sink.on_interrupted();
      return session.end();
    } catch (const detail::RedisFailure& failure) {
      return detail::RedisEnd{failure.code(), failure.what()};
    } catch (const std::exception& error) {
      return detail::RedisEnd{Errc::not_connected, std::string{"the RedisConnector threw: "} + error.what()};
    } catch (...) {
      return detail::RedisEnd{Errc::not_connected, "the RedisConnector threw"};
    }
  }

  /// hiredis, and OpenSSL below it, write without MSG_NOSIGNAL: on this thread the signal then waits for ever.
  static void block_sigpipe() noexcept {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }

  void pause(Duration delay) noexcept {
    const TimePoint until = now() + delay;
    while (!closing_.load() && now() < until) {
      pollfd waited{wake_.fd(), POLLIN, 0};
      if (::poll(&waited, 1, detail::poll_timeout(until)) > 0) wake_.drain();
    }
  }

  void end_opening(Opening opening) {
    const std::lock_guard lock{opening_mutex_};
    opening_ = std::move(opening);
    opening_ended_.notify_one();
  }

  detail::RedisEndpoint endpoint_;
  detail::RedisChannels channels_;
  RedisTuning tuning_;
  TransportSettings settings_;
  std::string broadcast_prefix_;
  detail::RedisPublisher publisher_;
  detail::WakeFd wake_;
  std::atomic<bool> closing_ = false;
  std::mutex opening_mutex_;
  std::condition_variable opening_ended_;
  Opening opening_;
  std::thread thread_;  // uses all of the above
};

static_assert(Transport<RedisTransport>);

}  // namespace syncbus::inline v1
