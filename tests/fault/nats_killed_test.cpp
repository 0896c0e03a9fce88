// What a process costs that is killed without a goodbye, where there are several NATS servers: a resync at each node
// that may have missed something of it, and nothing at any other.
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <syncbus/nats_bus.hpp>

#include "fault/on_nats.hpp"
#include "support/all_resyncs.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/nats_cluster.hpp"
#include "support/server_process.hpp"
#include "support/tcp_proxy.hpp"

using namespace fault;
using namespace std::chrono_literals;
using support::all_resyncs, support::eventually, support::NatsCluster;
using syncbus::NatsBus, syncbus::NodeId;

namespace {

constexpr auto url_variable = "SYNCBUS_TEST_NODE_TO_BE_KILLED";
constexpr auto case_of_node = "a node in a process of its own goes on until it is killed";

syncbus::BusOptions options() { return {.heartbeat = 500ms, .peer_timeout = 2s}; }

/// A node that hears all others, and keeps whom its resyncs name.
class Listener {
 public:
  explicit Listener(const std::string& url) : bus_{url, OnNats::subject, options()} {}

  [[nodiscard]] NatsBus& bus() noexcept { return bus_; }
  [[nodiscard]] bool has_heard(NodeId node) const noexcept { return newest_.load() == node; }
  [[nodiscard]] NodeId newest() const noexcept { return newest_.load(); }
  [[nodiscard]] std::uint64_t resyncs() const { return all_resyncs(bus_.metrics()); }

  /// There was one resync, for the silence of this node, and the handler has heard of it.
  [[nodiscard]] bool has_lost_only(NodeId node) const {
    const std::lock_guard lock{mutex_};
    return lost_ == std::vector{node} && resyncs() == 1;
  }
  [[nodiscard]] bool has_lost_any() const {
    const std::lock_guard lock{mutex_};
    return !lost_.empty();
  }

 private:
  std::atomic<NodeId> newest_{};  // whose event was the newest
  mutable std::mutex mutex_;
  std::vector<NodeId> lost_;
  NatsBus bus_;
  syncbus::Subscription subscription_ =
      bus_.subscribe("k", [this](const syncbus::Event& event) {
        if (event.type != syncbus::EventType::resync) newest_ = event.origin;
      });
  syncbus::Subscription resyncs_ = bus_.subscribe_all([](const syncbus::Event&) {},
                                                      [this](const syncbus::Resync& resync) {
                                                        const std::lock_guard lock{mutex_};
                                                        if (resync.cause == syncbus::ResyncCause::peer_lost) {
                                                          lost_.push_back(resync.peer);
                                                        }
                                                      });
};

using Listeners = std::vector<std::unique_ptr<Listener>>;

/// Others know each one by its own heartbeat, and not by a welcome alone.
bool know_each_other(const Listeners& listeners) {
  return eventually([&] {
    for (const auto& listener : listeners) {
      if (listener->bus().peers().size() != listeners.size() - 1 || !listener->bus().is_healthy()) return false;
    }
    return true;
  });
}

/// A node that is a process, and has published an event that all have heard.
class NodeProcess {
 public:
  NodeProcess(const std::string& url, const Listeners& listeners) {
    std::array<char, PATH_MAX> program{};
    REQUIRE(::readlink("/proc/self/exe", program.data(), program.size() - 1) > 0);
    const NodeId before = listeners[0]->newest();
    REQUIRE(process_.start({"env", std::string{url_variable} + "=" + url, program.data(), case_of_node},
                           [&] { return listeners[0]->newest() != before; }));
    id_ = listeners[0]->newest();
    for (const auto& listener : listeners) CHECK(eventually([&] { return listener->has_heard(id_); }));
  }

  [[nodiscard]] NodeId id() const noexcept { return id_; }

  /// SIGKILL.
  void kill() noexcept { process_.kill(); }

 private:
  support::ServerProcess process_;
  NodeId id_{};
};

/// Returns when whoever was killed is silent for it.
void wait_until_silent(Listener& listener) {
  const auto outcome =
      listener.bus().publish_and_await("all", syncbus::Quorum::everyone(), {.timeout = support::patience});
  CHECK_FALSE(outcome.error);
}

}  // namespace

TEST_CASE("a node in a process of its own goes on until it is killed", "[.]") {
  const char* const url = std::getenv(url_variable);
  if (url == nullptr) return;
  NatsBus bus{url, OnNats::subject, options()};
  REQUIRE_FALSE(bus.publish("k"));
  while (true) ::pause();
}

TEST_CASE("in a NATS cluster a goodbye is no resync, and a process that is killed is one at each node that heard it",
          "[fault]") {
  const OnNats::Client client;
  const NatsCluster servers{3, GENERATE(NatsCluster::Announces::each_other, NatsCluster::Announces::nothing)};
  Listeners listeners;
  for (std::size_t i = 0; i != servers.size(); ++i) listeners.push_back(std::make_unique<Listener>(servers.url(i)));
  REQUIRE(know_each_other(listeners));
  {
    NatsBus closed{servers.url(1), OnNats::subject, options()};
    CHECK_FALSE(closed.publish("k"));
    for (const auto& listener : listeners) CHECK(eventually([&] { return listener->has_heard(closed.id()); }));
  }
  NodeProcess process{servers.url(0), listeners};
  process.kill();
  const auto later = std::make_unique<Listener>(servers.url(0));  // it has only been told of the one that was killed
  for (const auto& listener : listeners) CHECK(eventually([&] { return listener->has_lost_any(); }));
  for (const auto& listener : listeners) CHECK(listener->has_lost_only(process.id()));
  wait_until_silent(*later);
  CHECK(later->resyncs() == 0);
}

TEST_CASE("what is published where nobody else is, at a NATS server behind the name of all, is told of", "[fault]") {
  const OnNats::Client client;
  NatsCluster servers{2, NatsCluster::Announces::nothing, NatsCluster::Routes::by_proxies};
  std::optional<support::TcpProxy> name{servers[0].port()};
  const int port = name->port();
  Listener listener{servers.url(0)};
  NatsBus lost{support::NatsServer::url_at(port), OnNats::subject, options()};
  REQUIRE(eventually([&] { return listener.bus().peers().size() == 1 && lost.peers().size() == 1; }));
  REQUIRE_FALSE(lost.publish("k"));
  REQUIRE(eventually([&] { return listener.has_heard(lost.id()); }));
  servers.cut();
  name.reset();
  name.emplace(servers[1].port(), port);
  REQUIRE(eventually([&] { return lost.metrics().reconnects == 1 && lost.is_healthy(); }));
  REQUIRE_FALSE(lost.publish("k"));
  REQUIRE_FALSE(lost.flush(support::patience));
  name->set({.refuses = true});
  name->cut();
  wait_until_silent(listener);
  CHECK(eventually([&] { return listener.has_lost_only(lost.id()); }, 5s));
}
