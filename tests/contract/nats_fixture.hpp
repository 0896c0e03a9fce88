// Nodes on a NATS subject of their own, over one nats-server for the whole run of the test program.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "contract/fixture.hpp"

namespace contract {

class OnNats : public ServerFixture {
 public:
  OnNats();

  [[nodiscard]] AnyNode node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] support::TcpProxy proxy() const override;
  [[nodiscard]] AnyNode node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options = {}) override;
  [[nodiscard]] std::unique_ptr<AnyTransport> transport(const syncbus::ReconnectTuning& tuning = quick) override;
  void inject(std::span<const std::byte> bytes) override;
  [[nodiscard]] bool begins_at_one_point() const override { return false; }

  [[nodiscard]] int port() const;
  [[nodiscard]] std::string url() const;
};

/// Each transport over a connection of a caller's, which reconnects at the caller's pace.
class OnLentNats final : public OnNats {
 public:
  [[nodiscard]] bool reconnects_itself() const override { return false; }
  [[nodiscard]] std::unique_ptr<AnyTransport> transport(const syncbus::ReconnectTuning& tuning = quick) override;
};

}  // namespace contract
