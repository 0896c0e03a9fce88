// KafkaTransport alone on brokers that behave: what it carries, confirms, and leaves behind.
#include <librdkafka/rdkafka.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/transport/kafka_transport.hpp>

#include "contract/kafka_clients.hpp"
#include "contract/kafka_fixture.hpp"
#include "contract/kafka_node.hpp"
#include "contract/recorder.hpp"
#include "contract/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/kafka_mock.hpp"
#include "support/kafka_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::KafkaTransport, syncbus::NodeId;

namespace {

std::size_t entries_of(const char* folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder}, {}));
}

}  // namespace

TEMPLATE_TEST_CASE("a broadcast reaches every node of the topic, the sender too, and is confirmed", "[kafka]", OnKafka,
                   OnKafkaMock) {
  TestType kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1}, b{kafka.brokers(), kafka.topic(), 2};
  CHECK(a.recorder.session() == 1);
  CHECK(a.recorder.max_frame_bytes() >= 900'000);
  const std::string frame("any\0bytes\r\n$", 12);
  const BroadcastToken token = a.broadcast(frame, 1);
  CHECK(a.recorder.will_hear(frame));
  CHECK(b.recorder.will_hear(frame));
  CHECK(a.recorder.will_confirm(token));
  CHECK(b.recorder.confirmed() == BroadcastToken{});
  CHECK(a.recorder.in_order());
  CHECK(a.recorder.problems().empty());
  CHECK(a.recorder.frame_count() == 1);
}

TEMPLATE_TEST_CASE("whatever is published once a node is open arrives there", "[kafka]", OnKafka, OnKafkaMock) {
  TestType kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1};
  for (std::uint64_t round = 1; round <= 20; ++round) {
    KafkaNode b{kafka.brokers(), kafka.topic(), 100 + round};
    const std::string text = "after the opening " + std::to_string(round);
    a.broadcast(text, round);
    REQUIRE(b.recorder.will_hear(text));
    REQUIRE(b.recorder.frame_count() == 1);  // and nothing that was before
  }
}

TEMPLATE_TEST_CASE("a directed frame arrives, and is not confirmed", "[kafka]", OnKafka, OnKafkaMock) {
  TestType kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1}, b{kafka.brokers(), kafka.topic(), 2};
  a.transport.send(NodeId{2}, bytes_of("for b"));
  CHECK(b.recorder.will_hear("for b"));
  CHECK(a.recorder.confirmed() == BroadcastToken{});
}

TEMPLATE_TEST_CASE("frames arrive in the order of their broadcasts, over Kafka", "[kafka]", OnKafka, OnKafkaMock) {
  TestType kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1}, b{kafka.brokers(), kafka.topic(), 2};
  std::vector<std::string> sent;
  for (std::uint64_t i = 1; i <= 5'000; ++i) {
    sent.push_back(std::to_string(i) + std::string(i % 700, '.'));
    a.broadcast(sent.back(), i);
  }
  CHECK(a.recorder.will_confirm({1, 5'000}));
  CHECK(eventually([&] { return b.recorder.frame_count() == sent.size(); }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.in_order());
}

TEST_CASE("frames as large as the limit are carried, and the bytes are not needed after broadcast has returned",
          "[kafka]") {
  OnKafka kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1}, b{kafka.brokers(), kafka.topic(), 2};
  std::string frame;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    frame.assign(a.recorder.max_frame_bytes(), 'x');
    a.broadcast(frame, i);
    frame.assign(a.recorder.max_frame_bytes(), '-');
  }
  CHECK(a.recorder.will_confirm({1, 20}));
  CHECK(eventually([&] { return b.recorder.frame_count() == 20; }));
  CHECK(b.recorder.frames() == std::vector<std::string>(20, std::string(a.recorder.max_frame_bytes(), 'x')));
}

TEST_CASE("a token of another session is dropped, over Kafka", "[kafka]") {
  OnKafkaMock kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1};
  a.transport.broadcast(bytes_of("of the past"), {0, 1});
  a.transport.broadcast(bytes_of("of the future"), {2, 1});
  a.broadcast("of now", 1);
  CHECK(a.recorder.will_hear("of now"));
  CHECK(a.recorder.frame_count() == 1);
}

TEST_CASE("broadcasts that share a number, or have none, are all confirmed by it, over Kafka", "[kafka]") {
  OnKafkaMock kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1};
  std::vector<std::string> sent;
  for (const std::uint64_t number : {0U, 0U, 1U, 1U, 1U, 2U, 2U}) {
    sent.push_back("frame " + std::to_string(sent.size()));
    const BroadcastToken token = a.broadcast(sent.back(), number);
    REQUIRE(a.recorder.will_confirm(token));
    REQUIRE(a.recorder.will_hear(sent.back()));
  }
  CHECK(a.recorder.frames() == sent);
  CHECK(a.recorder.interruptions() == 0);
  CHECK(a.recorder.problems().empty());
}

TEMPLATE_TEST_CASE("a publish-only node is confirmed and hears nothing, over Kafka", "[kafka]", OnKafka, OnKafkaMock) {
  TestType kafka;
  auto settings = kafka_settings_of(1);
  settings.publish_only = true;
  KafkaNode a{kafka.brokers(), kafka.topic(), settings}, b{kafka.brokers(), kafka.topic(), 2};
  CHECK(a.recorder.will_confirm(a.broadcast("x", 1)));
  CHECK(b.recorder.will_hear("x"));
  CHECK(a.recorder.frame_count() == 0);
}

TEST_CASE("another partition than the first carries frames when all agree on it", "[kafka]") {
  support::KafkaMock mock;
  mock.create_topic("two", 2);
  auto tuning = quick_node();
  tuning.partition = 1;
  KafkaNode a{mock.brokers(), "two", kafka_settings_of(1), tuning},
      b{mock.brokers(), "two", kafka_settings_of(2), tuning};
  KafkaNode elsewhere{mock.brokers(), "two", 3};
  a.broadcast("on partition 1", 1);
  CHECK(b.recorder.will_hear("on partition 1"));
  CHECK(elsewhere.works());
  CHECK(elsewhere.recorder.frame_count() == 1);
}

TEST_CASE("a message of no bytes is told as it is, one without a value is nobody's", "[kafka]") {
  OnKafkaMock kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1};
  kafka.inject(bytes_of(""));
  kafka.cluster().admin().produce(kafka.topic(), std::span<const std::byte>{});
  a.broadcast("after", 1);
  CHECK(a.recorder.will_hear("after"));
  CHECK(a.recorder.frames() == std::vector<std::string>{"", "after"});
}

TEST_CASE("a sink may broadcast and send inside its calls, over Kafka", "[kafka]") {
  struct Answering : Recorder {
    void on_ready(std::uint64_t session, std::size_t most) noexcept override {
      Recorder::on_ready(session, most);
      transport->broadcast(bytes_of("hello"), {session, 1});
    }
    void on_frame(syncbus::Bytes bytes) noexcept override {
      Recorder::on_frame(bytes);
      if (frame_count() == 1) transport->send(NodeId{1}, bytes_of("echoed"));
    }
    void on_confirmed(BroadcastToken token) noexcept override {
      Recorder::on_confirmed(token);
      if (token.frame < 100) transport->broadcast(bytes_of("again"), {token.session, token.frame + 1});
    }
    KafkaTransport* transport = nullptr;
  };
  OnKafkaMock kafka;
  Answering sink;
  KafkaTransport transport{kafka.brokers(), kafka.topic(), quick_node()};
  sink.transport = &transport;
  transport.open(sink, kafka_settings_of(1));
  CHECK(sink.will_confirm({1, 100}));
  CHECK(sink.will_hear("echoed"));
  transport.close();
}

TEMPLATE_TEST_CASE("a session that is reopened is interrupted with its reason, and the next one works, over Kafka",
                   "[kafka]", OnKafka, OnKafkaMock) {
  TestType kafka;
  auto settings = kafka_settings_of(1);
  settings.publish_only = GENERATE(false, true);
  KafkaNode a{kafka.brokers(), kafka.topic(), settings}, b{kafka.brokers(), kafka.topic(), 2};
  a.transport.reopen(1);
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.recorder.interruptions() == 1);
  REQUIRE(eventually([&] { return a.recorder.problems().size() == 1; }));
  CHECK(a.recorder.problems().front().sentence.find("heartbeat did not come back") != std::string::npos);
  CHECK(a.recorder.will_confirm(a.broadcast("again", 1)));
  CHECK(b.recorder.will_hear("again"));
  if (!settings.publish_only) CHECK(a.recorder.will_hear("again"));
  CHECK(b.recorder.interruptions() == 0);
  CHECK(a.recorder.in_order());
}

TEST_CASE("a session that is not the current one is not reopened, over Kafka", "[kafka]") {
  OnKafkaMock kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1};
  for (const std::uint64_t other : {0U, 2U, 3U}) a.transport.reopen(other);
  CHECK(a.works());
  a.transport.reopen(1);
  for (const std::uint64_t other : {3U, 1U}) a.transport.reopen(other);
  REQUIRE(a.recorder.will_be_ready(2));
  a.transport.reopen(1);
  CHECK(a.works());
  CHECK(a.recorder.interruptions() == 1);
}

TEMPLATE_TEST_CASE("nothing is missed by a node whose sessions follow each other while others publish", "[kafka]",
                   OnKafka, OnKafkaMock) {
  TestType kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1}, b{kafka.brokers(), kafka.topic(), 2};
  std::vector<std::string> sent;
  for (std::uint64_t session = 1; session <= 10; ++session) {
    for (int i = 0; i != 100; ++i) {
      sent.push_back(std::to_string(sent.size()));
      a.broadcast(sent.back(), sent.size());
      if (i == 50) b.transport.reopen(session);
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
    KafkaNode a{program.handles(), kafka.topic(), kafka_settings_of(round)}, b{kafka.brokers(), kafka.topic(), 100};
    a.broadcast("by lent clients", 1);
    a.broadcast("and again", 2);
    CHECK(b.recorder.will_hear("and again"));
    CHECK(a.recorder.will_hear("and again"));
    CHECK(a.recorder.will_confirm({1, 2}));
    CHECK(a.recorder.interruptions() == 0);
    a.transport.reopen(1);
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
  KafkaNode a{program.handles(), kafka.topic(), kafka_settings_of(1)};
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

TEST_CASE("a publish-only node with lent clients is confirmed and hears nothing", "[kafka]") {
  OnKafkaMock kafka;
  const KafkaProgram program{kafka.brokers(), KafkaProgram::careful_producer(), KafkaProgram::careful_consumer()};
  auto settings = kafka_settings_of(1);
  settings.publish_only = true;
  KafkaNode a{program.handles(), kafka.topic(), settings};
  CHECK(a.recorder.will_confirm(a.broadcast("x", 1)));
  CHECK(a.recorder.frame_count() == 0);
}

TEST_CASE("close stops everything while another thread broadcasts, over Kafka", "[kafka]") {
  OnKafkaMock kafka;
  KafkaNode a{kafka.brokers(), kafka.topic(), 1};
  std::atomic<bool> stop = false;
  std::thread publisher{[&] {
    for (std::uint64_t i = 1; !stop; ++i) {
      a.transport.broadcast(bytes_of("x"), {1, i});
      if (i % 100 == 0) std::this_thread::yield();
    }
  }};
  CHECK(eventually([&] { return a.recorder.frame_count() > 100; }));
  a.transport.close();
  const std::size_t heard = a.recorder.frame_count();
  const BroadcastToken confirmed = a.recorder.confirmed();
  std::this_thread::yield();
  CHECK(a.recorder.frame_count() == heard);
  CHECK(a.recorder.confirmed() == confirmed);
  CHECK(a.recorder.interruptions() == 0);
  stop = true;
  publisher.join();
}

TEMPLATE_TEST_CASE("what was broadcast before close is with the broker", "[kafka]", OnKafka, OnKafkaMock) {
  TestType kafka;
  KafkaNode b{kafka.brokers(), kafka.topic(), 2};
  for (std::uint64_t round = 1; round <= 10; ++round) {
    KafkaNode a{kafka.brokers(), kafka.topic(), 100 + round};
    a.broadcast("last words " + std::to_string(round), 1);
    a.transport.close();
    REQUIRE(b.recorder.will_hear("last words " + std::to_string(round)));
  }
}

TEST_CASE("no descriptor and no thread is left behind, over Kafka", "[kafka]") {
  OnKafkaMock kafka;
  { KafkaNode warm{kafka.brokers(), kafka.topic(), 1}; }
  const std::size_t descriptors = entries_of("/proc/self/fd");
  const std::size_t threads = entries_of("/proc/self/task");
  for (int i = 0; i != 10; ++i) {
    KafkaNode a{kafka.brokers(), kafka.topic(), 1};
    CHECK(thrown_by([&] { KafkaNode{"127.0.0.1:1", kafka.topic(), 1}; }) == Errc::not_connected);
  }
  // The mock cluster notices some time later that a connection was closed.
  CHECK(eventually(
      [&] { return entries_of("/proc/self/fd") <= descriptors && entries_of("/proc/self/task") <= threads; }));
}

TEST_CASE("a transport that was never opened can be closed and destroyed", "[kafka]") {
  KafkaTransport transport{"127.0.0.1:1", "topic"};
  transport.broadcast(bytes_of("x"), {1, 1});
  transport.send({1}, bytes_of("x"));
  transport.reopen(1);
  transport.close();
}
