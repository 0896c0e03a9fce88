// Nodes on a NATS subject of their own, over one nats-server for the whole run of the test program.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <syncbus/nats_bus.hpp>

#include "contract/nats_tuning.hpp"
#include "contract/real_time.hpp"
#include "support/eventually.hpp"
#include "support/nats_server.hpp"
#include "support/tcp_proxy.hpp"

// Buses are made in nats_fixture.cpp, where the library is compiled for them once: this is what most time goes into.
extern template class syncbus::BusFacade<syncbus::BasicBus<syncbus::NatsTransport>>;
extern template class syncbus::BasicBus<syncbus::NatsTransport>;

namespace contract {

class OnNats {
 public:
  using Node = syncbus::NatsBus;
  static constexpr bool has_peers = true;

  /// A case that failed may have left the server killed.
  OnNats() { server().revive(); }

  [[nodiscard]] std::shared_ptr<Node> node(syncbus::BusOptions options = {});
  [[nodiscard]] std::shared_ptr<Node> peer_of(const std::shared_ptr<Node>&) { return node(); }
  /// In front of the server, and a node whose connections go through it.
  [[nodiscard]] support::TcpProxy proxy() const { return support::TcpProxy{server().port()}; }
  [[nodiscard]] std::shared_ptr<Node> node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options = {});

  [[nodiscard]] syncbus::TimePoint now() const { return std::chrono::steady_clock::now(); }
  void let_pass(syncbus::Duration duration) const { contract::let_pass(duration); }
  template <class Condition>
  [[nodiscard]] bool in_time(const Condition& condition) const {
    return support::eventually(condition);
  }

  void kill_broker() { server().kill(); }
  void restart_broker() { server().start(); }
  void stop_broker() { server().stop(); }
  void resume_broker() { server().resume(); }
  void inject(std::span<const std::byte> bytes) {
    server().publish(subject_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  [[nodiscard]] int port() const { return server().port(); }
  [[nodiscard]] std::string url() const { return server().url(); }
  [[nodiscard]] const std::string& subject() const noexcept { return subject_; }

 private:
  [[nodiscard]] static support::NatsServer& server() {
    static support::NatsServer shared;
    return shared;
  }
  [[nodiscard]] static std::string next_subject() {
    static std::atomic<int> number = 0;
    return "contract." + std::to_string(++number);
  }

  std::string subject_ = next_subject();
};

}  // namespace contract
