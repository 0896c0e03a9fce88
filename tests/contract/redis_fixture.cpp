// The nodes of redis_fixture.hpp.
#include "contract/redis_fixture.hpp"

#include <memory>
#include <string>
#include <utility>

#include <syncbus/redis_bus.hpp>

#include "contract/real_time.hpp"
#include "contract/redis_tuning.hpp"
#include "support/tcp_proxy.hpp"

template class syncbus::BusFacade<syncbus::BasicBus<syncbus::RedisTransport>>;
template class syncbus::BasicBus<syncbus::RedisTransport>;

namespace contract {

std::shared_ptr<OnRedis::Node> OnRedis::node(syncbus::BusOptions options) {
  return std::make_shared<Node>(url(), channel_, with_patience(std::move(options)), quick);
}

std::shared_ptr<OnRedis::Node> OnRedis::node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options) {
  return std::make_shared<Node>(server().url_at(proxy.port()), channel_, with_patience(std::move(options)), quick);
}

}  // namespace contract
