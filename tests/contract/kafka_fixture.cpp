// The nodes of kafka_fixture.hpp.
#include "contract/kafka_fixture.hpp"

#include <memory>
#include <string>
#include <utility>

#include <syncbus/kafka_bus.hpp>

#include "contract/kafka_tuning.hpp"
#include "contract/real_time.hpp"
#include "support/kafka_mock.hpp"
#include "support/kafka_server.hpp"
#include "support/tcp_proxy.hpp"

template class syncbus::BusFacade<syncbus::BasicBus<syncbus::KafkaTransport>>;
template class syncbus::BasicBus<syncbus::KafkaTransport>;

namespace contract {

template <class Cluster>
std::shared_ptr<syncbus::KafkaBus> OnKafkaCluster<Cluster>::node(syncbus::BusOptions options) {
  return std::make_shared<Node>(brokers(), topic_, with_patience(std::move(options)), quick_kafka<Cluster>());
}

template class OnKafkaCluster<support::KafkaServer>;
template class OnKafkaCluster<support::KafkaMock>;

std::shared_ptr<OnKafka::Node> OnKafka::node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options) {
  return std::make_shared<Node>("127.0.0.1:" + std::to_string(proxy.port()), topic(), with_patience(std::move(options)),
                                quick_kafka<support::KafkaServer>());
}

}  // namespace contract
