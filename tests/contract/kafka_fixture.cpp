// The nodes of kafka_fixture.hpp, and their brokers.
#include "contract/kafka_fixture.hpp"

#include <memory>
#include <utility>

#include <syncbus/kafka_bus.hpp>

#include "contract/kafka_clients.hpp"
#include "contract/kafka_tuning.hpp"
#include "contract/transport_node.hpp"
#include "support/kafka_mock.hpp"
#include "support/kafka_server.hpp"
#include "support/tcp_proxy.hpp"

namespace contract {

namespace {

using KafkaBusNode = BusOf<syncbus::KafkaBus>;

}  // namespace

template <class Cluster, class Base>
Cluster& OnKafkaCluster<Cluster, Base>::cluster() {
  static Cluster shared;
  return shared;
}

template <class Cluster, class Base>
OnKafkaCluster<Cluster, Base>::OnKafkaCluster() : Base{cluster(), "contract-"} {
  cluster().create_topic(this->place());
}

template <class Cluster, class Base>
AnyNode OnKafkaCluster<Cluster, Base>::node(syncbus::BusOptions options) {
  return std::make_shared<KafkaBusNode>(brokers(), this->place(), Base::with_patience(std::move(options)),
                                        quick_kafka<Cluster>());
}

template <class Cluster, class Base>
std::unique_ptr<AnyTransport> OnKafkaCluster<Cluster, Base>::transport(const syncbus::ReconnectTuning& tuning) {
  return transport_of<syncbus::KafkaTransport>(brokers(), this->place(), quick_kafka<Cluster>(tuning));
}

template <class Cluster, class Base>
std::string OnKafkaCluster<Cluster, Base>::brokers() const {
  return cluster().brokers();
}

template <class Cluster, class Base>
void OnKafkaCluster<Cluster, Base>::inject(std::span<const std::byte> bytes) {
  constexpr std::byte none{};  // a message of no bytes is not one without a value
  cluster().admin().produce(this->place(), bytes.data() != nullptr ? bytes : std::span{&none, std::size_t{0}});
}

template class OnKafkaCluster<support::KafkaServer, ServerFixture>;
template class OnKafkaCluster<support::KafkaMock, BrokerFixture>;

std::unique_ptr<AnyTransport> OnLentKafkaMock::transport(const syncbus::ReconnectTuning& tuning) {
  const auto program =
      std::make_shared<KafkaProgram>(brokers(), KafkaProgram::careful_producer(), KafkaProgram::careful_consumer());
  return std::make_unique<TransportOf<syncbus::KafkaTransport>>(program, program->handles(), place(),
                                                                quick_kafka<support::KafkaMock>(tuning));
}

support::TcpProxy OnKafka::proxy() const { return cluster().proxy(); }

AnyNode OnKafka::node_behind(const support::TcpProxy& proxy, syncbus::BusOptions options) {
  return std::make_shared<KafkaBusNode>("127.0.0.1:" + std::to_string(proxy.port()), place(),
                                        with_patience(std::move(options)), quick_kafka<support::KafkaServer>());
}

}  // namespace contract
