// A broker of our own on a free port of the loopback interface, to be killed at will. It leaves nothing behind.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
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
  std::string name;
  std::string package;  ///< on Debian and Ubuntu
  std::string scheme;   ///< of its URLs
  int usual_port;
  std::string_view question;  ///< what it answers, whoever asks
  std::string_view answer;    ///< how that begins
};

[[nodiscard]] inline ServerProgram server_program(Broker broker) {
  using namespace std::string_view_literals;
  switch (broker) {
    case Broker::kafka:  // asked for the versions of its protocol
      return {"Apache Kafka", "maven", "kafka", 9'092, "\0\0\0\xa\0\x12\0\0\0\0\0\1\xff\xff"sv, "\0\0"sv};
    case Broker::nats: return {"nats-server", "nats-server", "nats", 4'222, "", "INFO "};
    case Broker::redis: break;
  }
  return {"redis-server", "redis-server", "redis", 6'379, "PING\r\n", "+PONG"};
}

class PrivateServer {
 public:
  explicit PrivateServer(Broker broker)
      : broker_{broker}, program_{server_program(broker)}, port_{free_port()}, folder_{make_folder()} {
    for (auto& port : further_ports_) port = free_port();
    start();
  }
  PrivateServer(const PrivateServer&) = delete;
  PrivateServer& operator=(const PrivateServer&) = delete;
  ~PrivateServer() {
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

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
    const auto deadline = std::chrono::steady_clock::now() + start_patience;
    const bool answered = wait_until(deadline, [&] { return server_->ended() || answers(); });
    if (server_->ended() == "exited with " + std::to_string(not_found)) {
      throw std::runtime_error{name() + " was not found: install it (on Debian and Ubuntu: apt install " +
                               program_.package + "), or give the URL of one that runs, for example " +
                               url(program_.usual_port)};
    }
    if (server_->ended()) throw std::runtime_error{name() + ' ' + *server_->ended() + " instead of starting"};
    if (!answered) throw std::runtime_error{name() + " does not answer on port " + std::to_string(port_)};
  }

 private:
  static constexpr int not_found = 127;
  static constexpr std::chrono::minutes start_patience{1};  // a virtual machine takes some seconds

  [[nodiscard]] std::string url(int port) const { return program_.scheme + "://127.0.0.1:" + std::to_string(port); }

  [[nodiscard]] static std::string make_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "cache_cluster-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::system_error{errno, std::generic_category(), name};
    return name;
  }

  [[nodiscard]] std::vector<std::string> command() const {
    const std::string port = std::to_string(port_);
    switch (broker_) {
      case Broker::kafka: {
        std::vector<std::string> words{SYNCBUS_KAFKA_RUN, folder_, port};
        for (const auto further : further_ports_) words.push_back(std::to_string(further));
        return words;
      }
      case Broker::nats: return {"nats-server", "-a", "127.0.0.1", "-p", port};
      case Broker::redis: break;
    }
    return {"redis-server", "--port", port,    "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no",     "--dir", folder_};
  }

  /// In the child.
  [[nodiscard]] int become_server() const {
    const int nowhere = ::open("/dev/null", O_RDWR);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    std::vector<std::string> words = command();
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

  const Broker broker_;
  const ServerProgram program_;
  const std::uint16_t port_;
  std::array<std::uint16_t, 3> further_ports_{};  // of Kafka
  const std::string folder_;
  std::optional<ChildProcess> server_;
};

}  // namespace cache_cluster
