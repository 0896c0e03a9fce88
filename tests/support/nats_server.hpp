// A nats-server of a test's own on a free loopback port: to be stopped, killed and started again at will.
#pragma once

#include <nats/nats.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/test_server.hpp"

namespace support {

struct NatsDestroy {
  void operator()(natsConnection* connection) const noexcept { natsConnection_Destroy(connection); }
  void operator()(natsOptions* options) const noexcept { natsOptions_Destroy(options); }
  void operator()(natsSubscription* subscription) const noexcept { natsSubscription_Destroy(subscription); }
  void operator()(natsMsg* message) const noexcept { natsMsg_Destroy(message); }
};
template <class Handle>
using Nats = std::unique_ptr<Handle, NatsDestroy>;

/// Throws unless the call went well.
inline void require_ok(natsStatus status) {
  if (status != NATS_OK) throw std::runtime_error{natsStatus_GetText(status)};
}

[[nodiscard]] inline Nats<natsOptions> nats_options(const std::string& url) {
  natsOptions* options = nullptr;
  require_ok(natsOptions_Create(&options));
  Nats<natsOptions> owned{options};
  require_ok(natsOptions_SetURL(options, url.c_str()));
  return owned;
}
[[nodiscard]] inline Nats<natsConnection> nats_connect(const Nats<natsOptions>& options) {
  natsConnection* connection = nullptr;
  require_ok(natsConnection_Connect(&connection, options.get()));
  return Nats<natsConnection>{connection};
}

class NatsServer final : public TestServer {
 public:
  /// `configuration` is the text of a configuration file. Throws a sentence when it cannot be started.
  explicit NatsServer(std::string configuration = {}) : TestServer{"nats-server"} {
    configure(std::move(configuration));
    start_on_free_port();
  }
  ~NatsServer() override {
    ::unlink(file_.c_str());
    ::unlink(log().c_str());
  }

  [[nodiscard]] std::string url(const std::string& user = {}) const { return url_at(port(), user); }
  /// Through a proxy in front of it.
  [[nodiscard]] static std::string url_at(int port, const std::string& user = {}) {
    return "nats://" + (user.empty() ? "" : user + "@") + "127.0.0.1:" + std::to_string(port);
  }

  /// Takes effect with the next start, or a reload.
  void configure(std::string configuration) {
    if (file_.empty()) {
      char name[] = "/tmp/syncbus-nats-XXXXXX";
      const int fd = ::mkstemp(name);
      if (fd < 0) throw std::runtime_error{"no temporary file"};
      ::close(fd);
      file_ = name;
    }
    std::ofstream{file_} << configuration << "\nserver_name: " << name_  // as an argument it cannot reload
                         << "\nlog_file: " << log() << '\n';
  }
  /// Returns when the configuration holds, for connections made before as well.
  void reload() const {
    static constexpr std::string_view reloaded = "Reloaded server configuration";
    const int before = logged(reloaded);
    process().signal(SIGHUP);
    if (!eventually([&] { return logged(reloaded) > before; })) throw std::runtime_error{"nats-server does not reload"};
  }
  /// In lame-duck mode it sends its clients away, and ends. Returns when it has.
  void leave() {
    process().signal(SIGUSR2);
    if (!eventually([this] { return process().ended(); })) throw std::runtime_error{"nats-server does not leave"};
    kill();
  }
  /// How many lines of its log have these words.
  [[nodiscard]] int logged(std::string_view words) const {
    std::ifstream lines{log()};
    int count = 0;
    for (std::string line; std::getline(lines, line);) count += line.find(words) == std::string::npos ? 0 : 1;
    return count;
  }

  /// Publishes on a connection of its own; returns when the server has it.
  void publish(const std::string& subject, std::string_view bytes, const std::string& user = {}) const {
    const auto connection = nats_connect(nats_options(url(user)));
    require_ok(natsConnection_Publish(connection.get(), subject.c_str(), bytes.data(), static_cast<int>(bytes.size())));
    require_ok(natsConnection_FlushTimeout(connection.get(), 10'000));
  }

  /// What is answered, on a connection of its own.
  [[nodiscard]] std::string request(const std::string& subject, const std::string& text,
                                    const std::string& user = {}) const {
    const auto connection = nats_connect(nats_options(url(user)));
    natsMsg* answer = nullptr;
    require_ok(natsConnection_RequestString(&answer, connection.get(), subject.c_str(), text.c_str(), 10'000));
    const Nats<natsMsg> owned{answer};
    return {natsMsg_GetData(answer), static_cast<std::size_t>(natsMsg_GetDataLength(answer))};
  }

 private:
  /// Servers of a cluster must not have the same.
  [[nodiscard]] static std::string next_name() {
    static std::atomic<int> number = 0;
    return "of-test-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
  }

  [[nodiscard]] std::string log() const { return file_ + ".log"; }

  bool try_start() override {
    return process().start({"nats-server", "-a", "127.0.0.1", "-p", std::to_string(port()), "-c", file_},
                           [this] { return answers(); });
  }

  /// Our server, and not another one on a port that ours did not get: it says its name, whoever asks.
  [[nodiscard]] bool answers() const {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(port());
    std::array<char, 4'096> said{};
    ssize_t size = -1;
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      size = ::recv(socket, said.data(), said.size(), 0);
    }
    ::close(socket);
    return size > 0 && std::string_view{said.data(), static_cast<std::size_t>(size)}.find('"' + name_ + '"') !=
                           std::string_view::npos;
  }

  const std::string name_ = next_name();
  std::string file_;
};

}  // namespace support
