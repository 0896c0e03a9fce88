// Nodes without a broker: one by itself, and some on a hub.
#pragma once

#include <functional>
#include <memory>

#include "contract/fixture.hpp"

namespace syncbus::inline v1 {
class InMemoryHub;
}

namespace contract {

/// An InMemoryBus{}: its own only peer.
class Alone final : public Fixture {
 public:
  [[nodiscard]] AnyNode node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] AnyNode peer_of(const AnyNode& node) override { return node; }
  [[nodiscard]] bool has_peers() const override { return false; }
  void let_pass(syncbus::Duration) override {}
};

/// InMemoryBus nodes on a hub, in virtual time.
class OnHub final : public Fixture {
 public:
  OnHub();
  ~OnHub() override;

  [[nodiscard]] AnyNode node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] syncbus::TimePoint now() const override;
  void let_pass(syncbus::Duration duration) override;
  [[nodiscard]] bool in_time(const std::function<bool()>& condition) override;

 private:
  std::unique_ptr<syncbus::InMemoryHub> hub_;
};

/// The same on the steady clock: the hub's own thread brings what is due.
class OnHubInRealTime final : public Fixture {
 public:
  OnHubInRealTime();
  ~OnHubInRealTime() override;

  [[nodiscard]] AnyNode node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] syncbus::InMemoryHub& hub() noexcept { return *hub_; }

 private:
  std::unique_ptr<syncbus::InMemoryHub> hub_;
};

}  // namespace contract
