// Several NATS servers of a test's own, each of which passes on to the others what its clients publish.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "support/nats_server.hpp"
#include "support/server_process.hpp"

namespace support {

class NatsCluster {
 public:
  /// Whether the servers tell their clients of each other.
  enum class Announces : bool { nothing, each_other };

  explicit NatsCluster(std::size_t size, Announces announces = Announces::each_other) {
    std::vector<int> ports;
    while (ports.size() != size) ports.push_back(ServerProcess::free_port());
    for (const int port : ports) {
      servers_.push_back(std::make_unique<NatsServer>(configuration(port, ports, announces)));
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

 private:
  [[nodiscard]] static std::string configuration(int port, const std::vector<int>& ports, Announces announces) {
    const auto address = [](int of) { return "127.0.0.1:" + std::to_string(of); };
    std::string routes;
    for (const int other : ports) {
      if (other != port) routes.append(routes.empty() ? "" : ", ").append("\"nats://" + address(other) + '"');
    }
    const std::string_view silence = announces == Announces::nothing ? "no_advertise: true, " : "";
    return "lame_duck_grace_period: \"100ms\"\ncluster { name: several, " + std::string{silence} + "listen: \"" +
           address(port) + "\", routes: [" + routes + "] }";
  }

  std::vector<std::unique_ptr<NatsServer>> servers_;
};

}  // namespace support
