// Nodes without a broker: one by itself, and some on a hub.
#pragma once

#include <functional>

#include <syncbus/in_memory_hub.hpp>

#include "contract/fixture.hpp"

namespace contract {

/// An InMemoryBus{}: its own only peer.
class Alone final : public Fixture {
 public:
  [[nodiscard]] Node node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] Node peer_of(const Node& node) override { return node; }
  [[nodiscard]] bool has_peers() const override { return false; }
  void let_pass(syncbus::Duration) override {}
};

/// InMemoryBus nodes on a hub, in virtual time.
class OnHub final : public Fixture {
 public:
  [[nodiscard]] Node node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] syncbus::TimePoint now() const override { return hub_.now(); }
  void let_pass(syncbus::Duration duration) override { hub_.advance(duration); }
  [[nodiscard]] bool in_time(const std::function<bool()>& condition) override;

 private:
  syncbus::InMemoryHub hub_;
};

/// The same on the steady clock: the hub's own thread brings what is due.
class OnHubInRealTime final : public Fixture {
 public:
  [[nodiscard]] Node node(syncbus::BusOptions options = {}) override;
  [[nodiscard]] syncbus::InMemoryHub& hub() noexcept { return hub_; }

 private:
  syncbus::InMemoryHub hub_{{.real_time = true}};
};

}  // namespace contract
