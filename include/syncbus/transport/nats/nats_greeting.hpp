// Asks a NATS server what the client does not pass on: what it says first to whoever connects.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/transport/nats/nats_info.hpp>
#include <syncbus/transport/session/resolve.hpp>

namespace syncbus::inline v1::detail {

/// A second connection to the server of a session, on which this node says nothing. It is begun before the session is
/// made, which takes several answers of the server: by then the greeting has come, unless the machine is busy. For one
/// thread.
class NatsGreeting {
 public:
  NatsGreeting() = default;
  NatsGreeting(const NatsGreeting&) = delete;
  NatsGreeting& operator=(const NatsGreeting&) = delete;
  ~NatsGreeting() { hang_up(); }

  /// Forgets the last one. Without an address, nor where no connection can be made, none will come.
  void ask(const std::optional<SocketAddress>& server) noexcept {
    hang_up();
    said_.clear();
    if (!server) return;
    fd_ = ::socket(server->get()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ >= 0 && ::connect(fd_, server->get(), server->size) != 0 && errno != EINPROGRESS) hang_up();
  }

  /// Waits until the greeting has come whole, until none will come any more, or until the deadline; then it hangs up.
  void wait_until(TimePoint deadline) noexcept {
    while (fd_ >= 0) {
      pollfd polled{fd_, POLLIN, 0};
      const int ready = ::poll(&polled, 1, poll_timeout(deadline));
      if (ready > 0) read();
      if (ready == 0 || (ready < 0 && errno != EINTR)) hang_up();
    }
  }

  /// What has come, whole or not.
  [[nodiscard]] std::string_view text() const noexcept { return said_; }

 private:
  static constexpr std::size_t longest = std::size_t{1} << 20U;

  void read() noexcept try {
    std::array<char, 4'096> room{};
    const ssize_t size = ::recv(fd_, room.data(), room.size(), 0);
    if (size > 0) said_.append(room.data(), static_cast<std::size_t>(size));
    const bool over = size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
    if (over || said_.find('\n') != std::string::npos || said_.size() > longest) hang_up();
  } catch (const std::bad_alloc&) {
    hang_up();
  }

  void hang_up() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  int fd_ = -1;
  std::string said_;
};

}  // namespace syncbus::inline v1::detail
