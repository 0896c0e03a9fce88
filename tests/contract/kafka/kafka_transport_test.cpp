// What is particular to KafkaTransport on brokers that behave: partitions, values, lent clients. See
// transport_test.cpp.
#include <librdkafka/rdkafka.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <syncbus/transport/kafka/kafka_transport.hpp>

#include "contract/fixtures/kafka_fixture.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "contract/kafka/kafka_clients.hpp"
#include "contract/kafka/kafka_node.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/kafka_mock.hpp"
#include "support/kafka_server.hpp"
#include "support/process_limits.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually;
using syncbus::BroadcastToken, syncbus::Errc;

TEST_CASE("another partition than the first carries frames when all agree on it", "[kafka]") {
  support::KafkaMock mock;
  mock.create_topic("two", 2);
  auto tuning = quick_node();
  tuning.partition = 1;
  KafkaNode a{mock.brokers(), "two", settings_of(1), tuning}, b{mock.brokers(), "two", settings_of(2), tuning};
  KafkaNode elsewhere{mock.brokers(), "two", 3};
  a.broadcast("on partition 1", 1);
  CHECK(b.recorder.will_hear("on partition 1"));
  CHECK(elsewhere.works());
  CHECK(elsewhere.recorder.frame_count() == 2);
}

TEST_CASE("a message of no bytes is told as it is, one without a value is nobody's", "[kafka]") {
  OnKafkaMock kafka;
  KafkaNode a{kafka.brokers(), kafka.place(), 1};
  kafka.inject(bytes_of(""));
  kafka.cluster().admin().produce(kafka.place(), std::span<const std::byte>{});
  a.broadcast("after", 1);
  CHECK(a.recorder.will_hear("after"));
  CHECK(a.recorder.frames() == std::vector<std::string>{"", "after"});
}

TEMPLATE_TEST_CASE("nothing is missed by a node whose sessions follow each other while others publish", "[kafka]",
                   OnKafka, OnKafkaMock) {
  TestType kafka;
  KafkaNode a{kafka.brokers(), kafka.place(), 1}, b{kafka.brokers(), kafka.place(), 2};
  std::vector<std::string> sent;
  for (std::uint64_t session = 1; session <= 10; ++session) {
    for (int i = 0; i != 100; ++i) {
      sent.push_back(std::to_string(sent.size()));
      a.broadcast(sent.back(), sent.size());
      if (i == 50) b.transport->reopen(session);
    }
    REQUIRE(b.recorder.will_be_ready(session + 1));
  }
  CHECK(eventually([&] { return b.recorder.frame_count() >= sent.size(); }));
  CHECK(b.recorder.frames() == sent);
}

TEST_CASE("lent clients carry and confirm, and stay the lender's", "[kafka]") {
  OnKafkaMock kafka;
  const KafkaProgram program{kafka.brokers(), KafkaProgram::careful_producer(), KafkaProgram::careful_consumer()};
  for (std::uint64_t round = 1; round <= 3; ++round) {
    KafkaNode a{program.handles(), kafka.place(), settings_of(round)}, b{kafka.brokers(), kafka.place(), 100};
    a.broadcast("by lent clients", 1);
    a.broadcast("and again", 2);
    CHECK(b.recorder.will_hear("and again"));
    CHECK(a.recorder.will_hear("and again"));
    CHECK(a.recorder.will_confirm({1, 2}));
    CHECK(a.recorder.interruptions() == 0);
    a.transport->reopen(1);
    REQUIRE(a.recorder.will_be_ready(2));
    CHECK(a.works());
  }
  CHECK(rd_kafka_outq_len(program.producer()) == 0);
}

TEST_CASE("a lent producer's own messages and reports go on beside the bus's", "[kafka]") {
  OnKafkaMock kafka;
  std::atomic<int> reports = 0;
  const KafkaProgram program{kafka.brokers(),
                             {{"queue.buffering.max.messages", "100"}},
                             KafkaProgram::careful_consumer(),
                             [](rd_kafka_t*, const rd_kafka_message_t* message, void* count) {
                               if (message->_private != nullptr) ++*static_cast<std::atomic<int>*>(count);
                             },
                             &reports};
  kafka.cluster().create_topic("program");
  KafkaNode a{program.handles(), kafka.place(), settings_of(1)};
  BroadcastToken last;
  rd_kafka_topic_t* own = rd_kafka_topic_new(program.producer(), "program", nullptr);
  for (int sent = 0; sent != 500;) {  // more than its queue holds: somebody has to poll it
    const int refused = rd_kafka_produce(own, 0, RD_KAFKA_MSG_F_COPY, &sent, sizeof sent, nullptr, 0, &reports);
    if (refused == 0) ++sent;
    if (sent % 10 == 0 && last.frame < 50) last = a.broadcast("in a queue that is full", last.frame + 1);
  }
  CHECK(a.recorder.will_confirm(last));
  CHECK(a.recorder.interruptions() == 0);
  CHECK(eventually([&] { return reports == 500; }));
  CHECK(a.works());
  rd_kafka_topic_destroy(own);
}

TEST_CASE("an attempt that fails leaves no descriptor and no thread behind, over Kafka", "[kafka]") {
  OnKafkaMock kafka;
  { KafkaNode warm{kafka.brokers(), kafka.place(), 1}; }
  const support::ProcessLimits limits;
  for (int i = 0; i != 10; ++i) {
    CHECK(thrown_by([&] { KafkaNode{"127.0.0.1:1", kafka.place(), 1}; }) == Errc::not_connected);
  }
  CHECK(limits.hold());
}
