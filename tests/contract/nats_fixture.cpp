// The nodes of nats_fixture.hpp, and their server.
#include "contract/nats_fixture.hpp"

#include <atomic>
#include <memory>
#include <utility>

#include <syncbus/nats_bus.hpp>

#include "contract/nats_node.hpp"
#include "contract/nats_tuning.hpp"
#include "contract/transport_node.hpp"
#include "support/nats_server.hpp"
#include "support/tcp_proxy.hpp"

namespace contract {

namespace {

using NatsBusNode = BusOf<syncbus::NatsBus>;

support::NatsServer& server() {
  static support::NatsServer shared;
  return shared;
}

std::string next_subject() {
  static std::atomic<int> number = 0;
  return "contract." + std::to_string(++number);
}

}  // namespace

OnNats::OnNats() : subject_{next_subject()} { server().revive(); }
OnNats::~OnNats() = default;

AnyNode OnNats::node(syncbus::BusOptions options) {
  return std::make_shared<NatsBusNode>(url(), subject_, with_patience(std::move(options)), quick_nats);
}

support::TcpProxy OnNats::proxy() const { return support::TcpProxy{server().port()}; }

AnyNode OnNats::node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options) {
  return std::make_shared<NatsBusNode>(server().url_at(proxy.port()), subject_, with_patience(std::move(options)),
                                       quick_nats);
}

std::unique_ptr<AnyTransport> OnNats::transport(Pauses pauses) {
  const syncbus::NatsTuning tuning{.min_backoff = pauses.min, .max_backoff = pauses.max};
  return transport_of<syncbus::NatsTransport>(url(), subject_, tuning);
}

std::unique_ptr<AnyTransport> OnLentNats::transport(Pauses pauses) {
  const std::shared_ptr<natsConnection> connection = lasting_connection(url());
  const syncbus::NatsTuning tuning{.min_backoff = pauses.min, .max_backoff = pauses.max};
  return std::make_unique<TransportOf<syncbus::NatsTransport>>(connection, connection.get(), subject(), tuning);
}

void OnNats::kill_broker() { server().kill(); }
void OnNats::restart_broker() { server().start(); }
void OnNats::stop_broker() { server().stop(); }
void OnNats::resume_broker() { server().resume(); }

void OnNats::inject(std::span<const std::byte> bytes) {
  server().publish(subject_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

int OnNats::port() const { return server().port(); }
std::string OnNats::url() const { return server().url(); }

}  // namespace contract
