// A redis-server of our own on a free port of the loopback interface, to be killed at will. It keeps nothing on disk.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "child_process.hpp"

namespace cache_cluster {

class PrivateRedis {
 public:
  PrivateRedis() : port_{free_port()} { start(); }

  [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  /// Without a word to it or by it: a crash.
  void kill() noexcept { server_->kill(); }

  /// It keeps its connections and says nothing: a hang.
  void stop() noexcept { server_->signal(SIGSTOP); }
  void resume() noexcept { server_->signal(SIGCONT); }

  /// On the same port; returns when it answers.
  void start() {
    server_.reset();
    server_.emplace([port = port_] { return become_server(port); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    const bool answered = wait_until(deadline, [&] { return server_->ended() || answers(); });
    if (server_->ended() == "exited with " + std::to_string(not_found)) {
      throw std::runtime_error{
          "redis-server was not found: install it (on Debian and Ubuntu: apt install redis-server), or give the URL of "
          "one that runs, for example redis://127.0.0.1:6379"};
    }
    if (server_->ended()) throw std::runtime_error{"redis-server " + *server_->ended() + " instead of starting"};
    if (!answered) throw std::runtime_error{"redis-server does not answer on port " + std::to_string(port_)};
  }

 private:
  static constexpr int not_found = 127;

  /// In the child.
  [[nodiscard]] static int become_server(std::uint16_t port) {
    const int nowhere = ::open("/dev/null", O_RDWR);
    ::dup2(nowhere, STDOUT_FILENO);
    const std::string number = std::to_string(port);
    ::execlp("redis-server", "redis-server", "--port", number.c_str(), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", nullptr);
    std::_Exit(errno == ENOENT ? not_found : EXIT_FAILURE);
  }

  class Socket {
   public:
    Socket() : descriptor_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
      if (descriptor_ < 0) throw std::system_error{errno, std::generic_category(), "cannot make a socket"};
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() { ::close(descriptor_); }
    [[nodiscard]] int get() const noexcept { return descriptor_; }

   private:
    int descriptor_;
  };

  [[nodiscard]] static sockaddr_in loopback(std::uint16_t port) noexcept {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  [[nodiscard]] static std::uint16_t free_port() {
    const Socket socket;
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(socket.get(), generic, size) != 0 || ::getsockname(socket.get(), generic, &size) != 0) {
      throw std::system_error{errno, std::generic_category(), "no free port on the loopback interface"};
    }
    return ntohs(address.sin_port);
  }

  [[nodiscard]] bool answers() const {
    const Socket socket;
    const timeval patience{.tv_sec = 1, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const sockaddr_in address = loopback(port_);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return false;
    constexpr std::string_view ping = "PING\r\n";
    if (::send(socket.get(), ping.data(), ping.size(), MSG_NOSIGNAL) < 0) return false;
    char reply[16];
    const auto received = ::recv(socket.get(), reply, sizeof(reply), 0);
    return received > 0 && std::string_view{reply, static_cast<std::size_t>(received)}.starts_with("+PONG");
  }

  const std::uint16_t port_;
  std::optional<ChildProcess> server_;
};

}  // namespace cache_cluster
