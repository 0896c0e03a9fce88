// Several NATS servers of a test's own, each of which passes on to the others what its clients publish, until they are
// cut off from each other.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "support/nats_server.hpp"
#include "support/server_process.hpp"
#include "support/tcp_proxy.hpp"

namespace support {

class NatsCluster {
 public:
  /// Whether the servers tell their clients of each other.
  enum class Announces : bool { nothing, each_other };
  /// By proxies, with descriptors of this process, they can be cut off from each other.
  enum class Routes : bool { direct, by_proxies };

  explicit NatsCluster(std::size_t size, Announces announces = Announces::each_other, Routes routes = Routes::direct) {
    while (servers_.size() != size) {
      const int port = ServerProcess::free_port();
      if (routes == Routes::by_proxies) proxies_.push_back(std::make_unique<TcpProxy>(port));
      ports_.push_back(routes == Routes::by_proxies ? proxies_.back()->port() : port);
      servers_.push_back(std::make_unique<NatsServer>(configuration(port, announces)));
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }
  [[nodiscard]] NatsServer& operator[](std::size_t index) const noexcept { return *servers_[index]; }

  [[nodiscard]] std::string url(std::size_t index) const { return servers_[index]->url(); }

  /// Of all, beginning with one of them.
  [[nodiscard]] std::string urls(std::size_t first) const {
    std::string all = url(first);
    for (std::size_t i = 1; i != size(); ++i) all += ',' + url((first + i) % size());
    return all;
  }

  /// Nothing passes between servers any more. Only by proxies.
  void cut() {
    for (const auto& proxy : proxies_) {
      proxy->set({.refuses = true});
      proxy->cut();
    }
  }

 private:
  /// Of the next one, which listens for others at `port`, and is reached by the last of ports_. Those before it hear
  /// of it from each other.
  [[nodiscard]] std::string configuration(int port, Announces announces) const {
    const auto address = [](int of) { return "127.0.0.1:" + std::to_string(of); };
    std::string routes;
    for (std::size_t i = 0; i + 1 != ports_.size(); ++i) {
      routes.append(i == 0 ? "" : ", ").append("\"nats://" + address(ports_[i]) + '"');
    }
    return "lame_duck_grace_period: \"100ms\"\ncluster { name: several, listen: \"" + address(port) +
           "\", advertise: \"" + address(ports_.back()) + "\", no_advertise: " +
           (announces == Announces::nothing ? "true" : "false") + ", routes: [" + routes + "] }";
  }

  std::vector<std::unique_ptr<NatsServer>> servers_;
  std::vector<int> ports_;  // for routes to each of them
  std::vector<std::unique_ptr<TcpProxy>> proxies_;
};

}  // namespace support
