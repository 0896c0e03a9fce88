// Nodes on a Redis channel of their own, over one redis-server for the whole run of the test program.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <syncbus/redis_bus.hpp>

#include "contract/real_time.hpp"
#include "contract/redis_tuning.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"
#include "support/tcp_proxy.hpp"

// Buses are made in redis_fixture.cpp, where the library is compiled for them once: this is what most time goes into.
extern template class syncbus::BusFacade<syncbus::BasicBus<syncbus::RedisTransport>>;
extern template class syncbus::BasicBus<syncbus::RedisTransport>;

namespace contract {

class OnRedis {
 public:
  using Node = syncbus::RedisBus;
  static constexpr bool has_peers = true;

  /// A case that failed may have left the server killed.
  OnRedis() { server().revive(); }

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
    command({"PUBLISH", channel_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
  }

  [[nodiscard]] int port() const { return server().port(); }
  [[nodiscard]] std::string url() const { return server().url(); }
  [[nodiscard]] const std::string& channel() const noexcept { return channel_; }
  void command(const std::vector<std::string>& words) const { static_cast<void>(server().command(words)); }

 private:
  [[nodiscard]] static support::RedisServer& server() {
    static support::RedisServer shared;
    return shared;
  }
  [[nodiscard]] static std::string next_channel() {
    static std::atomic<int> number = 0;
    return "contract " + std::to_string(++number);
  }

  std::string channel_ = next_channel();
};

}  // namespace contract
