// How a KafkaBus is made, and how it refuses: addresses, topics, partitions, permissions, lent clients, each with its
// error and a sentence.
#include <librdkafka/rdkafka.h>

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <syncbus/kafka_bus.hpp>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "contract/kafka/kafka_clients.hpp"
#include "contract/kafka/kafka_node.hpp"
#include "support/c11_threads.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/fake_names.hpp"
#include "support/kafka_mock.hpp"
#include "support/kafka_server.hpp"
#include "support/tcp_proxy.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::KafkaMock, support::KafkaRequest;
using syncbus::Errc, syncbus::KafkaBus, syncbus::KafkaHandles, syncbus::KafkaTuning;

static_assert(syncbus::Bus<KafkaBus> && !std::copyable<KafkaBus>);
static_assert(noexcept(std::declval<KafkaBus&>().publish("k")));

namespace {

std::error_code refusal(std::string_view brokers, std::string_view topic = "topic", std::string* sentence = nullptr,
                        const KafkaTuning& tuning = quick_node(), syncbus::Duration limit = 10s) {
  return thrown_by([&] { KafkaBus{brokers, topic, {.connect_timeout = limit}, tuning}; }, sentence);
}

bool has(const std::string& sentence, std::string_view words) { return sentence.find(words) != std::string::npos; }

}  // namespace

TEST_CASE("malformed addresses are an invalid argument", "[contract]") {
  for (const std::string_view brokers :
       {"", "kafka://", "kafka:///", "http://127.0.0.1:9092", "redis://127.0.0.1", "127.0.0.1:port", "127.0.0.1:0",
        "127.0.0.1:65536", "h:1,", ",h:1", ":9092", "h h:1", "kafka://h:1/topic", "[::1", "user@h:1"}) {
    INFO(brokers);
    std::string sentence;
    CHECK(refusal(brokers, "topic", &sentence) == Errc::invalid_argument);
    CHECK(has(sentence, "kafka://127.0.0.1:9092"));
  }
}

TEST_CASE("a name that no topic can have is an invalid argument", "[contract]") {
  for (const std::string& topic : {std::string{}, std::string{"."}, std::string{".."}, std::string{"a b"},
                                   std::string{"a/b"}, std::string(250, 'a'), std::string("a\0b", 3)}) {
    CHECK(refusal("127.0.0.1:9092", topic) == Errc::invalid_argument);
  }
}

TEST_CASE("brokers are given with or without the scheme, one or many", "[contract]") {
  OnKafkaMock kafka;
  for (const std::string& brokers : {kafka.brokers(), "kafka://" + kafka.brokers(), "kafka://" + kafka.brokers() + "/",
                                     "127.0.0.1:1," + kafka.brokers(), kafka.brokers() + ",127.0.0.1:1"}) {
    INFO(brokers);
    KafkaBus bus{brokers, kafka.place(), {}, quick_node()};
    CHECK(bus.is_healthy());
    CHECK_FALSE(bus.publish("k"));
    CHECK_FALSE(bus.flush(10s));
  }
}

TEST_CASE("no broker is not_connected, long before connect_timeout, in a sentence with the address", "[contract]") {
  const auto begin = std::chrono::steady_clock::now();
  std::string sentence;
  CHECK(refusal("127.0.0.1:1", "topic", &sentence) == Errc::not_connected);
  CHECK(has(sentence, "127.0.0.1:1"));
  CHECK(has(sentence, "refused"));
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(refusal("no-such-host.invalid", "topic", &sentence) == Errc::not_connected);
  CHECK(has(sentence, "no-such-host.invalid"));
}

TEST_CASE("a broker that accepts and says nothing is not_connected at the deadline", "[contract]") {
  OnKafka kafka;
  kafka.cluster().stop();
  const auto begin = std::chrono::steady_clock::now();
  CHECK(refusal(kafka.brokers(), kafka.place(), nullptr, quick_kafka<support::KafkaServer>(), 500ms) ==
        Errc::not_connected);
  CHECK(std::chrono::steady_clock::now() - begin >= 500ms);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  kafka.cluster().resume();
}

TEST_CASE(
    "a leader that is not where the cluster says is not_connected at the deadline, in a sentence with its address",
    "[contract]") {
  OnKafka kafka;
  const bool lent = GENERATE(false, true);
  const KafkaProgram program{kafka.cluster().misadvertised(), {}, {{"group.id", "own"}}};
  const syncbus::BusOptions options{.connect_timeout = 1s};
  const auto begin = std::chrono::steady_clock::now();
  std::string sentence;
  CHECK(thrown_by(
            [&] {
              if (lent) KafkaBus{program.handles(), kafka.place(), options};
              KafkaBus{kafka.cluster().misadvertised(), kafka.place(), options};
            },
            &sentence) == Errc::not_connected);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(has(sentence, "advertised.listeners"));
  CHECK(has(sentence, kafka.cluster().advertised_wrongly()));
  CHECK((lent || has(sentence, "refused")));  // what their errors are lent clients tell the program
}

TEST_CASE("a name server that does not answer holds neither the constructor of a KafkaBus up nor its close",
          "[contract]") {
  OnKafkaMock kafka;
  support::FakeName name{"kafka.test", {"127.0.0.1"}};
  const std::string brokers = name.host() + kafka.brokers().substr(kafka.brokers().find(':'));
  KafkaBus bus{brokers, kafka.place(), {}, quick_node()};
  name.hold();
  auto begin = std::chrono::steady_clock::now();
  CHECK(refusal(brokers, kafka.place(), nullptr, quick_node(), 500ms) == Errc::not_connected);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  const int held = name.waiting();
  kafka.kill_broker();
  CHECK(support::eventually([&] { return name.waiting() > held; }));  // it reconnects
  begin = std::chrono::steady_clock::now();
  static_cast<void>(bus.close(500ms));
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
}

TEST_CASE("a topic that does not exist is not_connected with what to do, and is not made by asking", "[contract]") {
  OnKafka kafka;  // its broker makes topics for whoever asks as producers do
  const bool publish_only = GENERATE(false, true);
  std::string sentence;
  CHECK(thrown_by(
            [&] {
              KafkaBus{kafka.brokers(), "missing", {.publish_only = publish_only}};
            },
            &sentence) == Errc::not_connected);
  CHECK(has(sentence, "'missing' does not exist"));
  CHECK(has(sentence, "create_topic"));
  CHECK(kafka.cluster().admin().leaders("missing") == 0);
}

TEST_CASE("a topic is made when that is wanted, as it is wanted", "[contract]") {
  OnKafka kafka;
  KafkaTuning tuning;
  tuning.create_topic = true;
  tuning.topic_partitions = 3;
  tuning.topic_replication = 1;
  tuning.topic_retention = 5min;
  KafkaBus a{kafka.brokers(), "made", {}, tuning}, b{kafka.brokers(), "made"};
  CHECK(kafka.cluster().admin().leaders("made") == 3);
  REQUIRE(caught_up(a, b));
  tuning.topic_replication = 3;  // of one broker
  std::string sentence;
  CHECK(refusal(kafka.brokers(), "too-many", &sentence, tuning) == Errc::transport_failure);
  CHECK(has(sentence, "INVALID_REPLICATION_FACTOR"));
}

TEST_CASE("a limit of frames that is too small for a node is refused with the reason", "[contract]") {
  OnKafkaMock kafka;
  auto tuning = quick_node();
  tuning.max_frame_bytes = 1'000;
  std::string sentence;
  CHECK(refusal(kafka.brokers(), kafka.place(), &sentence, tuning) == Errc::frame_too_large);
  CHECK(has(sentence, "a node needs 1024"));
}

TEST_CASE("a partition that the topic does not have is an invalid argument", "[contract]") {
  OnKafkaMock kafka;
  auto tuning = quick_node();
  tuning.partition = 1;
  std::string sentence;
  CHECK(refusal(kafka.brokers(), kafka.place(), &sentence, tuning) == Errc::invalid_argument);
  CHECK(has(sentence, "has 1 partitions"));
  tuning.partition = -1;
  CHECK(refusal(kafka.brokers(), kafka.place(), &sentence, tuning) == Errc::invalid_argument);
}

TEST_CASE("what a user may not do is permission_denied, at construction", "[contract]") {
  KafkaMock mock;
  mock.create_topic("topic");
  std::string sentence;
  SECTION("describe") {
    mock.refuse(KafkaRequest::list_offsets,
                std::vector<rd_kafka_resp_err_t>(1'000, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED));
  }
  SECTION("write") { mock.refuse(KafkaRequest::produce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED}); }
  SECTION("read") {
    mock.refuse(KafkaRequest::fetch,
                std::vector<rd_kafka_resp_err_t>(1'000, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED));
  }
  CHECK(refusal(mock.brokers(), "topic", &sentence) == Errc::permission_denied);
  CHECK(has(sentence, "'topic'"));
  CHECK(has(sentence, "TOPIC_AUTHORIZATION_FAILED"));
}

TEST_CASE("a property that librdkafka does not know is an invalid argument", "[contract]") {
  OnKafkaMock kafka;
  auto tuning = quick_node();
  tuning.properties = {{"no.such.property", "1"}};
  std::string sentence;
  CHECK(refusal(kafka.brokers(), kafka.place(), &sentence, tuning) == Errc::invalid_argument);
  CHECK(has(sentence, "no.such.property"));
}

TEST_CASE("handles that are none, or of the wrong kind, are an invalid argument", "[contract]") {
  OnKafkaMock kafka;
  const KafkaProgram program{kafka.brokers(), {}, {{"group.id", "own"}}};
  const auto refused = [&](KafkaHandles handles) {
    return thrown_by([&] { KafkaBus{handles, kafka.place()}; }) == Errc::invalid_argument;
  };
  CHECK(refused({}));
  CHECK(refused({.producer = program.producer()}));
  CHECK(refused({.consumer = program.consumer()}));
  CHECK(refused({.producer = program.consumer(), .consumer = program.producer()}));
  CHECK(refused({.producer = program.producer(), .consumer = program.producer()}));
}

TEST_CASE("a consumer that reads something already, or has no group.id, is an invalid argument", "[contract]") {
  OnKafkaMock kafka;
  const KafkaProgram reading{kafka.brokers(), {}, {{"group.id", "own"}}};
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, kafka.place().c_str(), 0)->offset = 0;
  rd_kafka_assign(reading.consumer(), list);
  rd_kafka_topic_partition_list_destroy(list);
  CHECK(thrown_by([&] { KafkaBus{reading.handles(), kafka.place()}; }) == Errc::invalid_argument);
  rd_kafka_assign(reading.consumer(), nullptr);
  CHECK_FALSE(thrown_by([&] { KafkaBus{reading.handles(), kafka.place()}; }));

  const KafkaProgram groupless{kafka.brokers()};
  std::string sentence;
  CHECK(thrown_by([&] { KafkaBus{groupless.handles(), kafka.place()}; }, &sentence) == Errc::invalid_argument);
  CHECK(has(sentence, "group.id"));
}

TEST_CASE("a producer that takes its reports as events is an invalid argument: polling it would lose them",
          "[contract]") {
  OnKafkaMock kafka;
  const KafkaProgram program{kafka.brokers(), {{"enabled_events", "1"}}, {{"group.id", "own"}}};
  std::string sentence;
  CHECK(thrown_by([&] { KafkaBus{program.handles(), kafka.place()}; }, &sentence) == Errc::invalid_argument);
  CHECK(has(sentence, "as events"));
}

TEST_CASE("properties that leave the bus without reports are an invalid argument", "[contract]") {
  for (const auto& property : KafkaProperties{{"transactional.id", "own"}, {"delivery.report.only.error", "true"}}) {
    auto tuning = quick_node();
    tuning.properties = {property};
    std::string sentence;
    CHECK(refusal("127.0.0.1:1", "topic", &sentence, tuning) == Errc::invalid_argument);
    CHECK(has(sentence, property.first + ", and the bus"));
  }
}

TEST_CASE("a transactional producer is an invalid argument", "[contract]") {
  OnKafkaMock kafka;
  const KafkaProgram program{kafka.brokers(), {{"transactional.id", "own"}}, {{"group.id", "own"}}};
  std::string sentence;
  CHECK(thrown_by([&] { KafkaBus{program.handles(), kafka.place()}; }, &sentence) == Errc::invalid_argument);
  CHECK(has(sentence, "transactional"));
}

TEST_CASE("a lent producer whose queue is full at the moment is waited for", "[contract]") {
  OnKafkaMock kafka;
  const KafkaProgram program{kafka.brokers(),
                             {{"queue.buffering.max.messages", "10"}, {"linger.ms", "300"}},
                             KafkaProgram::careful_consumer()};
  kafka.cluster().create_topic("program");
  rd_kafka_topic_t* const own = rd_kafka_topic_new(program.producer(), "program", nullptr);
  char byte = 'x';
  while (rd_kafka_produce(own, 0, RD_KAFKA_MSG_F_COPY, &byte, 1, nullptr, 0, nullptr) == 0) continue;
  CHECK_FALSE(thrown_by([&] { KafkaBus{program.handles(), kafka.place(), {.connect_timeout = 20s}}; }));
  rd_kafka_topic_destroy(own);
}

TEST_CASE("a topic that is compacted is refused, in a sentence that says what to do", "[contract]") {
  OnKafka kafka;
  const std::string policy = GENERATE(as<std::string>{}, "compact", "compact,delete");
  const std::string topic = policy == "compact" ? "compacted" : "compacted-and-deleted";
  kafka.cluster().admin().create_topic(topic, 1, {{"cleanup.policy", policy}});
  std::string sentence;
  CHECK(refusal(kafka.brokers(), topic, &sentence) == Errc::transport_failure);
  CHECK(has(sentence, "cleanup.policy"));
  const KafkaProgram program{kafka.brokers(), {}, {{"group.id", "own"}}};
  CHECK(thrown_by([&] { KafkaBus{program.handles(), topic}; }, &sentence) == Errc::transport_failure);
  CHECK(has(sentence, "cleanup.policy"));
}

TEST_CASE("a cluster that comes up a moment later is waited for: a client tries an address after the other",
          "[contract]") {
  OnKafkaMock kafka;
  kafka.kill_broker();
  std::jthread starting{[&] {
    let_pass(300ms);
    kafka.restart_broker();
  }};
  std::string sentence;
  const auto error =
      thrown_by([&] { KafkaBus{kafka.brokers(), kafka.place(), {.connect_timeout = 20s}}; }, &sentence);
  INFO(sentence);
  CHECK_FALSE(error);
}

TEST_CASE("a Kafka client that gets no thread is told of in a sentence, and made once there are threads again",
          "[contract]") {
  OnKafkaMock kafka;
  auto& none = support::has_no_c11_threads();
  none = true;
  std::string sentence;
  CHECK(refusal(kafka.brokers(), kafka.place(), &sentence) == Errc::transport_failure);
  CHECK(has(sentence, "ulimit -u"));
  syncbus::BusOptions options{.connect_timeout = 20s, .wait_for_broker = 20s};
  options.on_log = [&](std::string_view line) {
    if (line.find("ulimit -u") != std::string_view::npos) none = false;
  };
  CHECK_FALSE(thrown_by([&] { KafkaBus{kafka.brokers(), kafka.place(), options, quick_node()}; }));
  none = false;
}

TEST_CASE("what a lent producer may not write is told of when it does not come back", "[contract]") {
  OnKafkaMock kafka;
  const KafkaProgram program{kafka.brokers(), {}, {{"group.id", "own"}}};
  kafka.cluster().refuse(KafkaRequest::produce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  std::string sentence;
  CHECK(thrown_by(
            [&] {
              KafkaBus{program.handles(), kafka.place(), {.connect_timeout = 1s}};
            },
            &sentence) == Errc::not_connected);
  CHECK(has(sentence, "does not come back"));
  CHECK(has(sentence, "write"));
}

TEST_CASE("statistics, and lines of the client, that properties ask for go to the log", "[contract]") {
  OnKafkaMock kafka;
  struct Wish {
    std::pair<std::string, std::string> property;
    std::string words;
  };
  const auto wish =
      GENERATE(Wish{{"statistics.interval.ms", "50"}, "\"txmsgs\""}, Wish{{"debug", "broker"}, "CONNECT"});
  auto tuning = quick_node();
  tuning.properties = {wish.property};
  std::atomic<bool> told = false;
  syncbus::BusOptions options;
  options.on_log = [&](std::string_view line) {
    if (line.find(wish.words) != std::string_view::npos) told = true;
  };
  KafkaBus bus{kafka.brokers(), kafka.place(), options, tuning};
  CHECK(support::eventually([&] { return told.load(); }));
}

TEST_CASE("what Kafka dropped while a node was away is a resync there, for who published it may be gone",
          "[contract]") {
  OnKafka kafka;
  support::TcpProxy proxy = kafka.proxy();
  const auto node = kafka.node_behind(proxy);
  Heard heard;
  const auto subscription = node->subscribe_all(heard.on_event(), heard.on_resync());
  proxy.set({.refuses = true});
  proxy.cut();
  REQUIRE(support::eventually([&] { return !node->is_healthy(); }));
  {
    const auto passing = kafka.node();
    CHECK_FALSE(passing->publish("lost"));
    CHECK_FALSE(passing->flush(20s));
  }
  kafka.cluster().admin().trim(kafka.place(), kafka.cluster().admin().end_of(kafka.place()));
  proxy.set({});
  REQUIRE(support::eventually([&] { return node->is_healthy(); }));
  CHECK(support::eventually([&] { return heard.count("resync: interrupted") == 1; }));
  CHECK_FALSE(heard.contains("invalidate lost"));
}

TEMPLATE_TEST_CASE("buses over lent clients and their own hear each other, and leave the lent ones usable",
                   "[contract]", OnKafka, OnKafkaMock) {
  TestType kafka;
  const KafkaProgram program{kafka.brokers(), KafkaProgram::careful_producer(), KafkaProgram::careful_consumer()};
  const auto other = kafka.node();
  for (int round = 0; round != 2; ++round) {
    KafkaBus bus{program.handles(), kafka.place(), {}, quick_node()};
    REQUIRE(caught_up(bus, *other));
    REQUIRE(caught_up(*other, bus));
    Heard heard;
    const auto subscription = other->subscribe("k", heard.on_event());
    CHECK_FALSE(bus.publish_and_await("k", 1, {.timeout = 20s}).error);
    CHECK_FALSE(bus.flush(20s));
    CHECK_FALSE(bus.close(10s));
  }
}

TEST_CASE("a bus over clients with librdkafka's defaults works", "[contract]") {
  OnKafka kafka;
  const KafkaProgram program{kafka.brokers(), {}, {{"group.id", "own"}}};
  const auto other = kafka.node();
  KafkaBus bus{program.handles(), kafka.place()};
  REQUIRE(caught_up(bus, *other));
  REQUIRE(caught_up(*other, bus));
  CHECK_FALSE(bus.flush(20s));
}
