// The nodes of nats_fixture.hpp, and their server.
#include "contract/nats_fixture.hpp"

#include <memory>
#include <utility>

#include <syncbus/nats_bus.hpp>

#include "contract/nats_node.hpp"
#include "contract/quick.hpp"
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

}  // namespace

OnNats::OnNats() : ServerFixture{server(), "contract."} {}

AnyNode OnNats::node(syncbus::BusOptions options) {
  return std::make_shared<NatsBusNode>(url(), place(), with_patience(std::move(options)), quick);
}

support::TcpProxy OnNats::proxy() const { return support::TcpProxy{server().port()}; }

AnyNode OnNats::node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options) {
  return std::make_shared<NatsBusNode>(server().url_at(proxy.port()), place(), with_patience(std::move(options)),
                                       quick);
}

std::unique_ptr<AnyTransport> OnNats::transport(const syncbus::ReconnectTuning& tuning) {
  return transport_of<syncbus::NatsTransport>(url(), place(), tuning);
}

std::unique_ptr<AnyTransport> OnLentNats::transport(const syncbus::ReconnectTuning& tuning) {
  const std::shared_ptr<natsConnection> connection = lasting_connection(url());
  return std::make_unique<TransportOf<syncbus::NatsTransport>>(connection, connection.get(), place(), tuning);
}

void OnNats::inject(std::span<const std::byte> bytes) {
  server().publish(place(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

int OnNats::port() const { return server().port(); }
std::string OnNats::url() const { return server().url(); }

}  // namespace contract
