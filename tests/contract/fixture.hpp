// What the suite asks of a kind of bus: nodes that hear each other, and time.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <syncbus/options.hpp>

#include "contract/any_bus.hpp"
#include "contract/quick.hpp"
#include "support/eventually.hpp"

namespace support {
class Broker;
class TcpProxy;
class TestServer;
}  // namespace support

namespace contract {

class AnyTransport;

/// A node of the suite: its test holds it, and ends it when it will.
using AnyNode = std::shared_ptr<AnyBus>;

/// For tests that nothing happens meanwhile.
inline void let_pass(std::chrono::steady_clock::duration duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  static_cast<void>(support::eventually([end] { return std::chrono::steady_clock::now() >= end; }));
}

/// In real time, unless it says otherwise.
class Fixture {
 public:
  Fixture() = default;
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;
  virtual ~Fixture() = default;

  [[nodiscard]] virtual AnyNode node(syncbus::BusOptions options = {}) = 0;

  /// Of a bus that is its own only peer: itself.
  [[nodiscard]] virtual AnyNode peer_of(const AnyNode&) { return node(); }
  [[nodiscard]] virtual bool has_peers() const { return true; }

  /// Whether all nodes begin to hear at one and the same point of what is broadcast: then a stranger's first frame has
  /// nothing before it.
  [[nodiscard]] virtual bool begins_at_one_point() const { return true; }

  /// On the clock of the nodes: now, and a time in which nothing is done.
  [[nodiscard]] virtual syncbus::TimePoint now() const { return std::chrono::steady_clock::now(); }
  virtual void let_pass(syncbus::Duration duration) { contract::let_pass(duration); }

  /// Whether the condition becomes true while time passes for the nodes.
  [[nodiscard]] virtual bool in_time(const std::function<bool()>& condition) { return support::eventually(condition); }

  /// Whether so many others are known to a node before it subscribes, where that makes a difference: where nodes begin
  /// at different points, and on a machine so busy that the others answer late, it asks for their past.
  [[nodiscard]] bool has_met(const AnyNode& node, std::size_t others) {
    return begins_at_one_point() || in_time([&] { return node->peers().size() >= others; });
  }
};

/// Nodes over a real broker, which lasts as long as the test program, in a place of their own there.
class BrokerFixture : public Fixture {
 public:
  /// `prefix` begins the name of the place. A case that failed may have left the broker killed.
  BrokerFixture(support::Broker& broker, const char* prefix);

  void kill_broker();
  void restart_broker();

  /// The channel, subject or topic.
  [[nodiscard]] const std::string& place() const noexcept { return place_; }

  /// A message on the channel that no node sent.
  virtual void inject(std::span<const std::byte> bytes) = 0;

  /// What a node has below it, not open yet.
  [[nodiscard]] virtual std::unique_ptr<AnyTransport> transport(const syncbus::ReconnectTuning& tuning = quick) = 0;

  /// Whether a transport finds out by itself that a broker which owes it nothing has stopped.
  [[nodiscard]] virtual bool notices_silence() const { return true; }

  /// Whether a transport tries to reconnect, and has each failure to tell of; else its caller's client does.
  [[nodiscard]] virtual bool reconnects_itself() const { return true; }

  /// Whether frames of a session that has ended may still come, of a client that holds them.
  [[nodiscard]] virtual bool brings_late_frames() const { return false; }

  /// Whether a directed frame passes the other nodes too.
  [[nodiscard]] virtual bool shares_directed_frames() const { return false; }

 protected:
  /// That a busy machine is slow is no silence: unless a test says how long one may be, it may be long.
  [[nodiscard]] static syncbus::BusOptions with_patience(syncbus::BusOptions options) {
    const syncbus::BusOptions unsaid;
    if (options.connect_timeout == unsaid.connect_timeout) options.connect_timeout = std::chrono::seconds{20};
    if (options.peer_timeout == unsaid.peer_timeout) options.peer_timeout = std::chrono::seconds{20};
    return options;
  }

 private:
  support::Broker& broker_;
  const std::string place_;
};

/// Nodes over a broker that is a process of its own.
class ServerFixture : public BrokerFixture {
 public:
  ServerFixture(support::TestServer& server, const char* prefix);

  /// It is there and answers nothing.
  void stop_broker();
  void resume_broker();

  /// In front of the broker, and a node whose connections go through it.
  [[nodiscard]] virtual support::TcpProxy proxy() const = 0;
  [[nodiscard]] virtual AnyNode node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options = {}) = 0;

 private:
  support::TestServer& server_;
};

}  // namespace contract
