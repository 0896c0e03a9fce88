// Makes the connections of Redis sessions, by URL or by the user's connector, each within its deadline.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/base/wake_fd.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport/redis/redis_connection.hpp>
#include <syncbus/transport/redis/redis_url.hpp>
#include <syncbus/transport/session/detachable_call.hpp>
#include <syncbus/transport/session/resolve.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// How long an attempt may take, and what ends it before.
struct DialLimit {
  TimePoint deadline;
  WakeFd& wake;
  const std::atomic<bool>& stop;

  [[nodiscard]] bool over() const noexcept { return std::chrono::steady_clock::now() >= deadline; }

  /// After something may have woken us. Throws ConnectError (closed) when it was the end of the transport.
  void look_up() const {
    wake.drain();
    if (stop.load()) throw ConnectError{Errc::closed, "the transport is being closed"};
  }
};

/// Thread safety: used by one thread at a time.
class RedisDialer {
 public:
  /// For a connector that is still running when the transport ends: then it is left behind.
  static constexpr Duration patience = std::chrono::seconds{1};

  explicit RedisDialer(RedisConnector connector)
      : connector_{connector ? std::make_shared<const RedisConnector>(std::move(connector)) : nullptr} {}
  explicit RedisDialer(RedisUrl url) : url_{std::move(url)} {}
  RedisDialer(const RedisDialer&) = delete;
  RedisDialer& operator=(const RedisDialer&) = delete;
  ~RedisDialer() {
    if (call_) static_cast<void>(call_->wait(deadline_after(patience)));
  }

  [[nodiscard]] const std::optional<RedisUrl>& url() const noexcept { return url_; }
  [[nodiscard]] bool has_connector() const noexcept { return connector_ != nullptr; }

  /// A connected context, not authenticated if by URL. `beside`: the other connection of the session, whose server it
  /// is to go to. Throws ConnectError.
  [[nodiscard]] RedisContextPtr dial(const DialLimit& limit, const RedisConnection* beside) {
    try {
      return url_ ? dial_url(limit, beside) : ask_connector(limit, beside);
    } catch (const std::system_error& error) {  // no thread or no descriptor: it says what to do
      throw ConnectError{Errc::not_connected, error.what()};
    }
  }

 private:
  // --- by URL

  [[nodiscard]] RedisContextPtr dial_url(const DialLimit& limit, const RedisConnection* beside) {
    std::string reasons;
    const auto addresses = beside == nullptr ? addresses_of_url(limit) : std::vector{beside->peer()};
    for (std::size_t i = 0; i != addresses.size(); ++i) {
      const TimePoint now = std::chrono::steady_clock::now();
      const auto left = static_cast<Duration::rep>(addresses.size() - i);
      const DialLimit share{now + (limit.deadline - now) / left, limit.wake, limit.stop};
      if (RedisContextPtr context = dial_address(addresses[i], share, reasons)) return context;
    }
    refuse_address(reasons);
  }

  [[nodiscard]] std::vector<SocketAddress> addresses_of_url(const DialLimit& limit) {
    for (;;) {
      const auto resolved = resolver_.resolve(url_->host, url_->port, limit.deadline, limit.wake.fd());
      if (resolved && !resolved->addresses.empty()) return resolved->addresses;
      if (resolved) refuse_address(resolved->error);
      limit.look_up();
      if (limit.over()) {
        throw ConnectError{Errc::not_connected, "the name " + url_->host +
                                                    " was not looked up within the time for connecting; does the name "
                                                    "server answer?"};
      }
    }
  }

  [[noreturn]] void refuse_address(const std::string& reasons) const {
    throw ConnectError{Errc::not_connected, "no Redis server could be reached at " + url_->host + ":" +
                                                std::to_string(url_->port) +
                                                " (check the address and that the server runs): " + reasons};
  }

  /// None, and the reason, if it cannot be reached.
  [[nodiscard]] static RedisContextPtr dial_address(const SocketAddress& address, const DialLimit& limit,
                                                    std::string& reasons) {
    const int fd = ::socket(address.get()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int error = fd < 0 ? errno : connect_socket(fd, address, limit);
    if (error == 0) {
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      RedisContextPtr context{redisConnectFd(fd)};
      if (!context) ::close(fd);
      require_connected(context.get(), "hiredis made no context");
      return context;
    }
    if (fd >= 0) ::close(fd);
    reasons += (reasons.empty() ? "" : "; ") + address.text() + ": " +
               (error == ETIMEDOUT ? "no answer in time" : std::generic_category().message(error));
    return nullptr;
  }

  /// Returns the error; closes the socket if it throws.
  [[nodiscard]] static int connect_socket(int fd, const SocketAddress& address, const DialLimit& limit) {
    if (::connect(fd, address.get(), address.size) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    std::array<pollfd, 2> polled{{{fd, POLLOUT, 0}, {limit.wake.fd(), POLLIN, 0}}};
    while (polled[0].revents == 0) {
      if (limit.over()) return ETIMEDOUT;
      ::poll(polled.data(), polled.size(), poll_timeout(limit.deadline));
      if (polled[1].revents == 0) continue;
      try {
        limit.look_up();
      } catch (const ConnectError&) {
        ::close(fd);
        throw;
      }
    }
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
  }

  // --- by the user's connector

  [[nodiscard]] RedisContextPtr ask_connector(const DialLimit& limit, const RedisConnection* beside) {
    if (call_) {  // it was left behind by an earlier attempt: what it makes is too old to be trusted
      wait_for_connector(limit);
      static_cast<void>(result_of_connector());
    }
    call_.emplace([connector = connector_] { return RedisContextPtr{(*connector)()}; });
    wait_for_connector(limit);
    RedisContextPtr context = result_of_connector();
    if (context && beside != nullptr) require_another(context, *beside);
    require_connected(context.get(), "the RedisConnector made no connection");
    return context;
  }

  void wait_for_connector(const DialLimit& limit) {
    while (!call_->wait(limit.deadline, limit.wake.fd())) {
      limit.look_up();
      if (limit.over()) {
        throw ConnectError{Errc::not_connected,
                           "the RedisConnector did not return within the time for connecting: give it timeouts of its "
                           "own, or raise connect_timeout"};
      }
    }
  }

  [[nodiscard]] RedisContextPtr result_of_connector() {
    DetachableCall<RedisContextPtr> call = std::move(*call_);
    call_.reset();
    try {
      return call.take();
    } catch (const std::exception& error) {
      throw ConnectError{Errc::not_connected, std::string{"the RedisConnector threw: "} + error.what()};
    } catch (...) {
      throw ConnectError{Errc::not_connected, "the RedisConnector threw"};
    }
  }

  /// Both connections would be freed, and the other one is in use.
  static void require_another(RedisContextPtr& context, const RedisConnection& beside) {
    const bool same_context = context.get() == beside.context();
    if (!same_context && context->fd != beside.context()->fd) return;
    if (same_context) {
      static_cast<void>(context.release());
    } else {
      context->fd = -1;
    }
    throw ConnectError{Errc::not_connected,
                       "the RedisConnector returned the same connection twice: a node needs two, so it must make a new "
                       "redisContext at every call"};
  }

  std::optional<RedisUrl> url_;
  Resolver resolver_;
  std::shared_ptr<const RedisConnector> connector_;
  std::optional<DetachableCall<RedisContextPtr>> call_;
};

}  // namespace syncbus::inline v1::detail
