// What is particular to KafkaTransport while its broker forgets, refuses, elects or is slow.
#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
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

using namespace contract;
using namespace std::chrono_literals;
using support::eventually, support::KafkaMock, support::KafkaRequest;
using syncbus::BroadcastToken, syncbus::Errc, syncbus::KafkaTransport;

namespace {

auto now() { return std::chrono::steady_clock::now(); }

bool was_told(const Recorder& recorder, std::string_view words, syncbus::Errc code) {
  const auto problems = recorder.problems();
  return std::any_of(problems.begin(), problems.end(), [&](const auto& problem) {
    return problem.code == code && problem.sentence.find(words) != std::string::npos;
  });
}

/// A mock cluster with one topic.
struct Mock {
  explicit Mock(int brokers = 1) : cluster{brokers} { cluster.create_topic("topic"); }
  KafkaMock cluster;
};

/// Clients that fetch little at once, and nothing while they hold something: what is trimmed then was not read.
const KafkaProperties small_fetches{
    {"queued.min.messages", "1"}, {"queued.max.messages.kbytes", "1"}, {"fetch.message.max.bytes", "1000"}};

/// Trims the topic of the fixture up to the last few messages.
void trim(OnKafka& kafka, std::int64_t left) {
  const auto& admin = kafka.cluster().admin();
  admin.trim(kafka.place(), admin.end_of(kafka.place()) - left);
}

/// While the sink's thread is held, 200 messages come and are trimmed, up to the last few, `left`.
void trim_what_is_unread(OnKafka& kafka, HeldRecorder& sink, std::int64_t left = 0) {
  sink.held = true;
  kafka.inject(bytes_of("hold"));
  REQUIRE(sink.will_hear("hold"));
  const std::string text(900, 'x');
  for (int i = 0; i != 200; ++i) kafka.inject(bytes_of(text));
  trim(kafka, left);
  sink.release();
}

/// One more message is trimmed whenever it hears of a loss.
struct TrimmingRecorder : HeldRecorder {
  TrimmingRecorder(OnKafka& of, std::int64_t left) : kafka{of}, left_now{left} {}

  void on_lost() noexcept override {
    HeldRecorder::on_lost();
    if (left_now != 0) trim(kafka, --left_now);
  }

  OnKafka& kafka;
  std::int64_t left_now;
};

}  // namespace

TEST_CASE("what was stored while a node was cut off is read by its next session", "[kafka]") {
  OnKafka kafka;
  KafkaNode a{kafka.brokers(), kafka.place(), 1};
  REQUIRE(a.works());
  kafka.kill_broker();
  REQUIRE(a.will_be_interrupted());
  kafka.restart_broker();
  for (int i = 0; i != 20; ++i) kafka.inject(bytes_of("meanwhile " + std::to_string(i)));
  REQUIRE(a.comes_back());
  CHECK(a.recorder.will_hear("meanwhile 19"));
  CHECK(a.recorder.losses() == 0);
  CHECK(a.recorder.frame_count() == 22);
}

TEST_CASE("a broker that is stopped for seven seconds is noticed by whoever publishes, and loses nothing", "[kafka]") {
  OnKafka kafka;
  auto settings = settings_of(1);
  settings.peer_timeout = 2s;
  KafkaNode a{kafka.brokers(), kafka.place(), settings}, b{kafka.brokers(), kafka.place(), settings_of(2)};
  REQUIRE(a.works());
  kafka.cluster().stop();
  const auto begin = now();
  a.broadcast("unanswered", 1);
  REQUIRE(a.will_be_interrupted());
  CHECK(now() - begin >= 1s);
  CHECK(now() - begin < 2s + 5s);             // and what a busy machine adds
  std::this_thread::sleep_until(begin + 7s);  // the fault itself
  kafka.cluster().resume();
  REQUIRE(a.comes_back());
  CHECK(a.works());
  CHECK(b.recorder.will_hear("session " + std::to_string(a.recorder.session())));
  CHECK(a.recorder.in_order());
}

TEST_CASE("a topic that is deleted and made again is an interruption, and frames are carried by the new one",
          "[kafka]") {
  OnKafka kafka;
  kafka.kill_broker();
  kafka.restart_broker();  // so that the new log's leader has a smaller epoch than the old one's
  auto settings = settings_of(1);
  settings.peer_timeout = 2s;
  KafkaNode a{kafka.brokers(), kafka.place(), settings}, b{kafka.brokers(), kafka.place(), settings_of(2)};
  for (std::uint64_t i = 1; i <= 50; ++i) a.broadcast("of the old log", i);
  REQUIRE(a.recorder.will_confirm({1, 50}));
  kafka.cluster().admin().delete_topic(kafka.place());
  a.broadcast("into nothing", 51);  // who only reads is told when there is a log again
  REQUIRE(eventually([&] { return a.recorder.interruptions() >= 1; }));
  CHECK(eventually([&] { return was_told(a.recorder, "does not exist", Errc::not_connected); }));
  kafka.cluster().create_topic(kafka.place());
  REQUIRE(a.comes_back());
  b.transport->reopen(1);  // as the engine does that misses its own heartbeats: librdkafka 2.8 tells b nothing, ever
  REQUIRE(b.comes_back());
  CHECK(a.works());
  CHECK(b.recorder.will_hear("session " + std::to_string(a.recorder.session())));
  CHECK(was_told(a.recorder, "deleted and made again", Errc::transport_failure));
  CHECK(a.recorder.losses() == 1);
  CHECK(a.recorder.in_order());
}

TEST_CASE("a topic that is deleted is made again by the nodes when they may", "[kafka]") {
  OnKafka kafka;
  auto tuning = quick_node();
  tuning.create_topic = true;
  auto settings = settings_of(1);
  settings.peer_timeout = 2s;
  KafkaNode a{kafka.brokers(), kafka.place(), settings, tuning};
  REQUIRE(a.works());
  kafka.cluster().admin().delete_topic(kafka.place());
  a.broadcast("into nothing", 2'000'000);
  REQUIRE(a.comes_back());
  CHECK(a.works());
}

TEST_CASE("messages that were trimmed before they were read are an interruption with its reason", "[kafka]") {
  OnKafka kafka;
  HeldRecorder sink;
  auto tuning = quick_node();
  tuning.properties = small_fetches;
  KafkaTransport a{kafka.brokers(), kafka.place(), tuning};
  a.open(sink, settings_of(1));
  trim_what_is_unread(kafka, sink);
  REQUIRE(eventually([&] { return sink.interruptions() >= 1; }));
  REQUIRE(eventually([&] { return sink.ready(); }));
  CHECK(was_told(sink, "OFFSET", Errc::transport_failure));
  CHECK(eventually([&] { return was_told(sink, "to its retention", Errc::transport_failure); }));
  CHECK(sink.losses() == 1);
  kafka.inject(bytes_of("after"));
  CHECK(sink.will_hear("after"));
  CHECK(sink.frame_count() < 202);
  a.close();
}

TEST_CASE("a log that is trimmed on and on is one loss, and read on at its end", "[kafka]") {
  OnKafka kafka;
  constexpr std::int64_t left = 20;
  TrimmingRecorder sink{kafka, left};
  auto tuning = quick_node();
  tuning.properties = small_fetches;
  KafkaTransport a{kafka.brokers(), kafka.place(), tuning};
  a.open(sink, settings_of(1));
  trim_what_is_unread(kafka, sink, left);
  REQUIRE(eventually([&] { return sink.losses() != 0 && sink.ready(); }));
  kafka.inject(bytes_of("after"));
  CHECK(sink.will_hear("after"));
  CHECK(sink.losses() == 1);
  CHECK(sink.in_order());
  a.close();
}

TEST_CASE("messages that a lent consumer jumps over in silence are a loss, in the first session, too", "[kafka]") {
  OnKafka kafka;
  const std::string reset = GENERATE(as<std::string>{}, "earliest", "latest");
  KafkaProperties of_consumer = small_fetches;
  of_consumer.insert(of_consumer.end(),
                     {{"group.id", "own"}, {"auto.offset.reset", reset}, {"enable.auto.commit", "false"}});
  const KafkaProgram program{kafka.brokers(), KafkaProgram::careful_producer(), of_consumer};
  HeldRecorder sink;
  KafkaTransport a{program.handles(), kafka.place(), quick_node()};
  a.open(sink, settings_of(1));
  trim_what_is_unread(kafka, sink);
  REQUIRE(eventually([&] {  // the first message that is read behind the jump shows it
    kafka.inject(bytes_of("more"));
    let_pass(200ms);  // such a consumer reads slowly
    return sink.losses() == 1 && sink.ready();
  }));
  kafka.inject(bytes_of("after"));
  CHECK(sink.will_hear("after"));
  CHECK(was_told(sink, "instead of", Errc::transport_failure));
  CHECK(sink.in_order());
  a.close();
}

TEST_CASE("an own producer that fails for good is made anew", "[kafka]") {
  Mock mock;
  auto tuning = quick_node();
  tuning.properties = {{"enable.idempotence", "true"}};
  KafkaNode a{mock.cluster.brokers(), "topic", settings_of(1), tuning};
  mock.cluster.refuse(KafkaRequest::produce, {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER});
  a.broadcast("refused", 1);
  REQUIRE(a.will_be_interrupted());
  REQUIRE(a.comes_back());
  CHECK(a.works());
}

TEST_CASE("a lent consumer that jumps to another offset in silence is an interruption", "[kafka]") {
  OnKafka kafka;
  const std::string reset = GENERATE(as<std::string>{}, "earliest", "latest");
  const KafkaProgram program{kafka.brokers(),
                             KafkaProgram::careful_producer(),
                             {{"group.id", "own"}, {"auto.offset.reset", reset}, {"enable.auto.commit", "false"}}};
  auto settings = settings_of(1);
  settings.peer_timeout = 2s;
  KafkaNode a{program.handles(), kafka.place(), settings};
  // A new log that has grown beyond the old one before the consumer looks again is taken for it: this one does not.
  constexpr std::uint64_t old_frames = 5'000;
  std::uint64_t frame = 0;
  while (frame != old_frames) a.broadcast("x", ++frame);
  REQUIRE(a.recorder.will_confirm({1, old_frames}));
  kafka.cluster().admin().delete_topic(kafka.place());
  kafka.cluster().create_topic(kafka.place());
  // Its client has no error to tell the bus; a frame that is published shows it.
  REQUIRE(eventually([&] {
    if (a.recorder.ready()) a.broadcast("y", ++frame);
    kafka.inject(bytes_of("z"));
    let_pass(20ms);
    return a.recorder.interruptions() >= 1;
  }));
  CHECK(2 * (frame - old_frames) < old_frames);
  REQUIRE(eventually([&] { return a.recorder.ready(); }));
  CHECK(a.works());
}

TEST_CASE("marks of transactions between the messages are no loss, whatever a lent consumer does at them", "[kafka]") {
  OnKafka kafka;
  const std::string reset = GENERATE(as<std::string>{}, "error", "latest");
  const KafkaProgram program{kafka.brokers(),
                             KafkaProgram::careful_producer(),
                             {{"group.id", "own"}, {"auto.offset.reset", reset}, {"enable.auto.commit", "false"}}};
  KafkaNode a{program.handles(), kafka.place(), settings_of(1)};
  const KafkaProgram stranger{kafka.brokers(), {{"transactional.id", "stranger " + reset}}};
  const auto require_done = [](rd_kafka_error_t* error) {
    if (error == nullptr) return;
    const std::string said = rd_kafka_error_string(error);
    rd_kafka_error_destroy(error);
    FAIL(said);
  };
  require_done(rd_kafka_init_transactions(stranger.producer(), 30'000));
  rd_kafka_topic_t* const topic = rd_kafka_topic_new(stranger.producer(), kafka.place().c_str(), nullptr);
  for (int round = 1; round <= 3; ++round) {
    std::string text = "in a transaction " + std::to_string(round);
    require_done(rd_kafka_begin_transaction(stranger.producer()));
    REQUIRE(rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, text.data(), text.size(), nullptr, 0, nullptr) == 0);
    require_done(rd_kafka_commit_transaction(stranger.producer(), 30'000));
    kafka.inject(bytes_of("behind it " + std::to_string(round)));
    CHECK(a.recorder.will_hear("behind it " + std::to_string(round)));
    CHECK(a.recorder.heard(text));
  }
  rd_kafka_topic_destroy(topic);
  REQUIRE(eventually([&] { return a.recorder.ready(); }));
  CHECK(a.works());
  CHECK(a.recorder.losses() == 0);
  CHECK(a.recorder.interruptions() <= (reset == "error" ? 0 : 3));
}

TEST_CASE("what is larger than the topic takes is sent in smaller pieces from the next session on", "[kafka]") {
  OnKafka kafka;
  kafka.cluster().admin().create_topic("small", 1, {{"max.message.bytes", "100000"}});
  KafkaNode a{kafka.brokers(), "small", 1}, b{kafka.brokers(), "small", 2};
  const std::string frame(30'000, 'x');
  REQUIRE(eventually([&] {
    const BroadcastToken last{a.recorder.session(), 20};
    if (!a.recorder.ready()) return false;
    for (std::uint64_t i = 1; i <= last.frame; ++i) a.broadcast(frame, i);
    return eventually([&] { return a.recorder.confirmed() == last || a.recorder.session() != last.session; }) &&
           a.recorder.confirmed() == last;
  }));
  CHECK(a.recorder.max_frame_bytes() < 100'000);
  CHECK(a.recorder.max_frame_bytes() >= 30'000);
  CHECK(was_told(a.recorder, "MSG_SIZE_TOO_LARGE", Errc::transport_failure));
  CHECK(was_told(a.recorder, "max.message.bytes", Errc::transport_failure));
  CHECK(b.recorder.interruptions() == 0);
}

TEST_CASE("what is larger than the topic takes is not sent by a lent producer either", "[kafka]") {
  OnKafka kafka;
  kafka.cluster().admin().create_topic("small-for-lent", 1, {{"max.message.bytes", "100000"}});
  const KafkaProgram program{kafka.brokers(), {}, {{"group.id", "own"}}};
  KafkaNode a{program.handles(), "small-for-lent", settings_of(1)};
  CHECK(a.recorder.max_frame_bytes() < 100'000);
  CHECK(a.recorder.max_frame_bytes() > 90'000);
  const std::string frame(30'000, 'x');
  for (std::uint64_t i = 1; i <= 20; ++i) a.broadcast(frame, i);  // in a batch they would be too large
  CHECK(a.recorder.will_confirm({1, 20}));
  CHECK(a.recorder.interruptions() == 0);
  CHECK(a.recorder.in_order());
}

/// A node over lent clients on a mock cluster, which describes no topic.
struct Undescribed : Mock {
  static syncbus::TransportSettings settings() {
    auto settings = settings_of(1);
    settings.peer_timeout = 500ms;
    return settings;
  }

  /// In a session, which ends because a frame of so many bytes is too large for the topic.
  void refuse(std::size_t bytes, std::uint64_t frame) {
    const int times = a.recorder.interruptions() + 1;
    cluster.refuse(KafkaRequest::produce, {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE});
    a.broadcast(std::string(bytes, 'x'), frame);
    REQUIRE(a.will_be_interrupted(times));
    REQUIRE(eventually([&] { return a.recorder.ready(); }));
  }

  const KafkaProgram program{cluster.brokers(), KafkaProgram::careful_producer(), KafkaProgram::careful_consumer()};
  KafkaNode a{program.handles(), "topic", settings()};
  const std::size_t before = a.recorder.max_frame_bytes();
};

TEST_CASE("a lent producer finds out what the topic takes where nobody tells, and what it takes after all", "[kafka]") {
  Undescribed topic;
  KafkaNode& a = topic.a;
  REQUIRE(a.works());
  CHECK(topic.before > 500'000);
  topic.refuse(100'000, 2'000'000);
  CHECK(a.recorder.max_frame_bytes() == topic.before);  // once may be an outage
  topic.refuse(100'000, 2'000'000);
  CHECK(was_told(a.recorder, "max.message.bytes", Errc::not_connected));
  CHECK(a.recorder.max_frame_bytes() == 50'000);
  REQUIRE(a.works());
  REQUIRE(a.recorder.will_confirm(a.broadcast(std::string(40'000, 'x'), 3'000'000)));
  a.transport->reopen(a.recorder.session());
  REQUIRE(a.comes_back(a.recorder.session() + 1));
  CHECK(a.recorder.max_frame_bytes() == 100'000);
}

TEST_CASE("an outage leaves the frames of a lent producer as large as they were", "[kafka]") {
  Undescribed topic;
  KafkaNode& a = topic.a;
  for (std::uint64_t round = 1; round <= 2; ++round) {
    topic.cluster.slow(2s);
    a.broadcast(std::string(round == 1 ? 20'000 : 2'000, 'x'), round);
    REQUIRE(a.will_be_interrupted(static_cast<int>(round)));
    topic.cluster.slow(0s);
    REQUIRE(eventually([&] { return a.recorder.ready(); }));
    CHECK(a.recorder.max_frame_bytes() == topic.before);
    CHECK(a.works());
  }
}

TEST_CASE("what is too large for a topic is believed twice, alone, and once more when it was taken back", "[kafka]") {
  constexpr std::size_t client = 1'000'000;
  syncbus::detail::KafkaFrameLimit limit{0};
  CHECK_FALSE(limit.suspect(4'096, 0, client));
  CHECK_FALSE(limit.one_by_one());
  CHECK_FALSE(limit.suspect(100'000, 0, client));
  CHECK(limit.one_by_one());
  CHECK_FALSE(limit.suspect(100'000, 1'000'000, client));  // so much was stored meanwhile: another outage
  CHECK(limit.suspect(80'000, 300'000, client));
  CHECK(limit.of_frames(client) == 40'000);
  CHECK_FALSE(limit.one_by_one());
  limit.grow(10'000, client);
  CHECK(limit.of_frames(client) == 40'000);
  limit.grow(30'000, client);
  CHECK(limit.of_frames(client) == 80'000);
  CHECK_FALSE(limit.suspect(70'000, 0, client));
  CHECK(limit.suspect(70'000, 0, client));
  limit.grow(35'000, client);
  CHECK(limit.of_frames(client) == 35'000);  // it was no error
  limit.obey(500'000);
  CHECK(limit.of_frames(client) > 490'000);
  CHECK_FALSE(limit.suspect(70'000, 0, client));
}

TEST_CASE("a frame that the broker refuses is an interruption, and nothing behind it is confirmed", "[kafka]") {
  Mock mock;
  KafkaNode a{mock.cluster.brokers(), "topic", 1};
  mock.cluster.refuse(KafkaRequest::produce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  a.broadcast("refused", 1);
  REQUIRE(a.will_be_interrupted());
  CHECK(eventually([&] { return was_told(a.recorder, "TOPIC_AUTHORIZATION_FAILED", Errc::permission_denied); }));
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.works());
  CHECK_FALSE(a.recorder.heard("refused"));
  CHECK(a.recorder.in_order());
}

TEST_CASE("a refused directed frame is a problem and no interruption, over Kafka", "[kafka]") {
  Mock mock;
  KafkaNode a{mock.cluster.brokers(), "topic", 1};
  mock.cluster.refuse(KafkaRequest::produce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  a.transport->send({2}, bytes_of("refused"));
  REQUIRE(eventually([&] { return was_told(a.recorder, "directed", Errc::permission_denied); }));
  CHECK(a.recorder.interruptions() == 0);
  CHECK(a.works());
}

TEST_CASE("errors that pass are the client's to retry, in order, and interrupt nobody", "[kafka]") {
  Mock mock;
  KafkaNode a{mock.cluster.brokers(), "topic", 1}, b{mock.cluster.brokers(), "topic", 2};
  mock.cluster.refuse(KafkaRequest::produce,
                      {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                       RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT});
  std::vector<std::string> sent;
  for (std::uint64_t i = 1; i <= 200; ++i) {
    sent.push_back(std::to_string(i));
    a.broadcast(sent.back(), i);
  }
  CHECK(a.recorder.will_confirm({1, 200}));
  CHECK(eventually([&] { return b.recorder.frame_count() >= 200; }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a partition that another broker leads from now on is followed, and nothing is lost", "[kafka]") {
  Mock mock{3};
  KafkaNode a{mock.cluster.brokers(), "topic", 1}, b{mock.cluster.brokers(), "topic", 2};
  std::uint64_t frame = 0;
  for (const int leader : {1, 2, 3, 1}) {
    mock.cluster.lead("topic", leader);
    for (int i = 0; i != 20; ++i) {
      ++frame;
      a.broadcast(std::to_string(frame), frame);
    }
    CHECK(a.recorder.will_confirm({a.recorder.session(), frame}));
    CHECK(b.recorder.will_hear(std::to_string(frame)));
  }
  CHECK(b.recorder.frame_count() == frame);
  CHECK(a.recorder.interruptions() == 0);
}

TEST_CASE("a leader that hangs, and is replaced while a session is made, is left by the producer, too", "[kafka]") {
  Mock mock{2};
  mock.cluster.lead("topic", 1);
  auto settings = settings_of(1);
  settings.peer_timeout = 2s;
  KafkaNode a{mock.cluster.brokers(), "topic", settings};
  REQUIRE(a.works());
  mock.cluster.slow(1, 1min);
  a.transport->reopen(1);
  REQUIRE(eventually([&] { return was_told(a.recorder, "is led by broker 1", Errc::not_connected); }));
  let_pass(700ms);  // by now the next attempt has asked the producer, and asks for the offsets
  mock.cluster.lead("topic", 2);
  REQUIRE(a.comes_back());
  CHECK(a.recorder.will_confirm(a.broadcast("to the new leader", 1)));
  CHECK(a.works());
  CHECK(a.recorder.interruptions() == 1);
}

TEST_CASE("a broker that leads nothing may die without an interruption", "[kafka]") {
  Mock mock{3};
  mock.cluster.lead("topic", 1);
  KafkaNode a{mock.cluster.brokers(), "topic", 1};
  REQUIRE(a.works());
  mock.cluster.kill(3);
  contract::let_pass(1s);  // the only way to see that nothing happens
  CHECK(a.recorder.interruptions() == 0);
  CHECK(a.works());
}

TEST_CASE("a frame that is not answered ends the session within the peer timeout", "[kafka]") {
  Mock mock;
  auto settings = settings_of(1);
  settings.peer_timeout = 500ms;
  const bool lent = GENERATE(false, true);
  const KafkaProgram program{mock.cluster.brokers(), KafkaProgram::careful_producer(),
                             KafkaProgram::careful_consumer()};
  Recorder recorder;
  KafkaTransport a = lent ? KafkaTransport{program.handles(), "topic", quick_node()}
                          : KafkaTransport{mock.cluster.brokers(), "topic", quick_node()};
  a.open(recorder, settings);
  mock.cluster.slow(5s);
  const auto begin = now();
  a.broadcast(bytes_of("unanswered"), {1, 1});
  REQUIRE(eventually([&] { return recorder.interruptions() == 1; }));
  CHECK(now() - begin >= 250ms);
  CHECK(now() - begin < 4s);
  mock.cluster.slow(0s);
  CHECK(eventually([&] { return recorder.ready(); }));
  a.close();
}

TEST_CASE("a cluster whose every answer takes long is waited for", "[kafka]") {
  Mock mock;
  mock.cluster.slow(400ms);
  KafkaNode a{mock.cluster.brokers(), "topic", 1};
  a.transport->reopen(1);
  CHECK(eventually([&] { return a.recorder.ready() && a.recorder.session() >= 2; }));
}

TEST_CASE("errors that say that a client's view of the cluster is old are told from those that others have", "[kafka]") {
  using syncbus::detail::is_outdated;
  for (const auto error :
       {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_BROKER,
        RD_KAFKA_RESP_ERR__NOENT, RD_KAFKA_RESP_ERR__WAIT_CACHE, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND,
        RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_CONTROLLER}) {
    INFO(rd_kafka_err2name(error));
    CHECK(is_outdated(error));
  }
  for (const auto error :
       {RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE}) {
    INFO(rd_kafka_err2name(error));
    CHECK_FALSE(is_outdated(error));
  }
}

TEST_CASE("a client whose offsets are refused because its view is old is made anew", "[kafka]") {
  const auto error = GENERATE(RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
                              RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
                              RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE);
  INFO(rd_kafka_err2name(error));
  Mock mock;
  auto tuning = quick_node();
  tuning.attempt_timeout = 300ms;
  tuning.properties = {{"debug", "generic"}};
  KafkaNode a{mock.cluster.brokers(), "topic", settings_of(1), tuning};
  const auto clients = [&] {
    const auto problems = a.recorder.problems();
    return std::count_if(problems.begin(), problems.end(), [](const auto& problem) {
      return problem.sentence.find("initialized") != std::string::npos;
    });
  };
  mock.cluster.refuse(KafkaRequest::list_offsets, std::vector<rd_kafka_resp_err_t>(40, error));
  a.transport->reopen(1);  // which makes new ones, too
  REQUIRE(a.comes_back());
  CHECK(eventually([&] { return clients() >= 6; }));
  CHECK(a.works());
}

TEST_CASE("answers teach how long a question may take, and what a client says by itself does not", "[kafka]") {
  syncbus::detail::KafkaPatience patience;
  const auto least = patience.limit();
  patience.timed_out();
  patience.timed_out();
  CHECK(patience.limit() == 4 * least);
  patience.reached_nobody();
  CHECK(patience.limit() == least);  // asked again soon, it connects again
  patience.begin_attempt();
  patience.timed_out();
  CHECK(patience.limit() == 8 * least);  // the attempt before had got that far
  patience.begin_attempt();
  CHECK(patience.limit() == 4 * least);  // which leaves time for another question
  patience.answered_after(600ms);
  patience.timed_out();
  patience.begin_attempt();
  CHECK(patience.limit() == 2400ms);
}

TEST_CASE("a cluster that answers nothing holds neither the constructor up nor close", "[kafka]") {
  Mock mock;
  KafkaNode a{mock.cluster.brokers(), "topic", 1};
  mock.cluster.slow(1min);
  auto settings = settings_of(2);
  settings.connect_timeout = 500ms;
  auto begin = now();
  CHECK(thrown_by([&] { KafkaNode{mock.cluster.brokers(), "topic", settings}; }) == Errc::not_connected);
  CHECK(now() - begin < 6s);
  a.broadcast("unanswered", 1);
  if (GENERATE(false, true)) {
    a.transport->reopen(1);
    REQUIRE(a.will_be_interrupted());
  }
  begin = now();
  a.transport->close();
  CHECK(now() - begin < 6s);
}
