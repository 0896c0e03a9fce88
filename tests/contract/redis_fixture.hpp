// Nodes on a Redis channel of their own, over one redis-server for the whole run of the test program.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "contract/fixture.hpp"

namespace contract {

class OnRedis final : public ServerFixture {
 public:
  OnRedis();

  [[nodiscard]] AnyNode node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] support::TcpProxy proxy() const override;
  [[nodiscard]] AnyNode node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options = {}) override;
  [[nodiscard]] std::unique_ptr<AnyTransport> transport(const syncbus::ReconnectTuning& tuning = quick) override;
  void inject(std::span<const std::byte> bytes) override;

  [[nodiscard]] int port() const;
  [[nodiscard]] std::string url() const;
  void command(const std::vector<std::string>& words) const;
};

}  // namespace contract
