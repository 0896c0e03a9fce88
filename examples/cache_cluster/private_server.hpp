// A broker of our own on a free port of the loopback interface, to be killed at will. It keeps nothing on disk.
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
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "child_process.hpp"
#include "options.hpp"

namespace cache_cluster {

/// How one is started, and how it is known that it has.
struct ServerProgram {
  std::string name;    ///< of the program, and of its package on Debian and Ubuntu
  std::string scheme;  ///< of its URLs
  int usual_port;
  std::string port_option;
  std::vector<std::string> options;
  std::string_view question;  ///< what it answers, whoever asks
  std::string_view answer;    ///< how that begins
};

[[nodiscard]] inline ServerProgram server_program(Broker broker) {
  switch (broker) {
    case Broker::nats: return {"nats-server", "nats", 4'222, "-p", {"-a", "127.0.0.1"}, "", "INFO "};
    case Broker::redis: break;
  }
  return {"redis-server", "redis", 6'379, "--port", {"--bind", "127.0.0.1", "--save", "", "--appendonly", "no"},
          "PING\r\n",     "+PONG"};
}

class PrivateServer {
 public:
  explicit PrivateServer(Broker broker) : program_{server_program(broker)}, port_{free_port()} { start(); }

  [[nodiscard]] const std::string& name() const noexcept { return program_.name; }
  [[nodiscard]] std::string url() const { return url(port_); }

  /// Without a word to it or by it: a crash.
  void kill() noexcept { server_->kill(); }

  /// It keeps its connections and says nothing: a hang.
  void stop() noexcept { server_->signal(SIGSTOP); }
  void resume() noexcept { server_->signal(SIGCONT); }

  /// On the same port; returns when it answers.
  void start() {
    server_.reset();
    server_.emplace([this] { return become_server(); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    const bool answered = wait_until(deadline, [&] { return server_->ended() || answers(); });
    if (server_->ended() == "exited with " + std::to_string(not_found)) {
      throw std::runtime_error{name() + " was not found: install it (on Debian and Ubuntu: apt install " + name() +
                               "), or give the URL of one that runs, for example " + url(program_.usual_port)};
    }
    if (server_->ended()) throw std::runtime_error{name() + ' ' + *server_->ended() + " instead of starting"};
    if (!answered) throw std::runtime_error{name() + " does not answer on port " + std::to_string(port_)};
  }

 private:
  static constexpr int not_found = 127;

  [[nodiscard]] std::string url(int port) const { return program_.scheme + "://127.0.0.1:" + std::to_string(port); }

  /// In the child.
  [[nodiscard]] int become_server() const {
    const int nowhere = ::open("/dev/null", O_RDWR);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    std::vector<std::string> words{program_.name, program_.port_option, std::to_string(port_)};
    words.insert(words.end(), program_.options.begin(), program_.options.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp(words.front().c_str(), arguments.data());
    ::execv(("/usr/sbin/" + words.front()).c_str(),
            arguments.data());  // where Debian puts some, and not every user looks
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
    const std::string_view question = program_.question;
    if (::send(socket.get(), question.data(), question.size(), MSG_NOSIGNAL) < 0) return false;
    char reply[16];
    const auto received = ::recv(socket.get(), reply, sizeof(reply), 0);
    return received > 0 && std::string_view{reply, static_cast<std::size_t>(received)}.starts_with(program_.answer);
  }

  const ServerProgram program_;
  const std::uint16_t port_;
  std::optional<ChildProcess> server_;
};

}  // namespace cache_cluster
