// The nodes of redis_fixture.hpp, and their server.
#include "contract/redis_fixture.hpp"

#include <memory>
#include <utility>

#include <syncbus/redis_bus.hpp>

#include "contract/quick.hpp"
#include "contract/transport_node.hpp"
#include "support/redis_server.hpp"
#include "support/tcp_proxy.hpp"

namespace contract {

namespace {

using RedisBusNode = BusOf<syncbus::RedisBus>;

support::RedisServer& server() {
  static support::RedisServer shared;
  return shared;
}

}  // namespace

OnRedis::OnRedis() : ServerFixture{server(), "contract "} {}

AnyNode OnRedis::node(syncbus::BusOptions options) {
  return std::make_shared<RedisBusNode>(url(), place(), with_patience(std::move(options)), quick);
}

support::TcpProxy OnRedis::proxy() const { return support::TcpProxy{server().port()}; }

AnyNode OnRedis::node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options) {
  return std::make_shared<RedisBusNode>(server().url_at(proxy.port()), place(), with_patience(std::move(options)),
                                        quick);
}

std::unique_ptr<AnyTransport> OnRedis::transport(const syncbus::ReconnectTuning& tuning) {
  return transport_of<syncbus::RedisTransport>(url(), place(), tuning);
}

void OnRedis::inject(std::span<const std::byte> bytes) {
  command({"PUBLISH", place(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
}

int OnRedis::port() const { return server().port(); }
std::string OnRedis::url() const { return server().url(); }
void OnRedis::command(const std::vector<std::string>& words) const { static_cast<void>(server().command(words)); }

}  // namespace contract
