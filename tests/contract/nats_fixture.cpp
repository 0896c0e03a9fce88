// The nodes of nats_fixture.hpp.
#include "contract/nats_fixture.hpp"

#include <memory>
#include <string>
#include <utility>

#include <syncbus/nats_bus.hpp>

#include "contract/nats_tuning.hpp"
#include "contract/real_time.hpp"
#include "support/tcp_proxy.hpp"

template class syncbus::BusFacade<syncbus::BasicBus<syncbus::NatsTransport>>;
template class syncbus::BasicBus<syncbus::NatsTransport>;

namespace contract {

std::shared_ptr<OnNats::Node> OnNats::node(syncbus::BusOptions options) {
  return std::make_shared<Node>(url(), subject_, with_patience(std::move(options)), quick_nats);
}

std::shared_ptr<OnNats::Node> OnNats::node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options) {
  return std::make_shared<Node>(server().url_at(proxy.port()), subject_, with_patience(std::move(options)), quick_nats);
}

}  // namespace contract
