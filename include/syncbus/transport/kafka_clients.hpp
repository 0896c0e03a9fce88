// The producer and the consumer of a node: its own, made from addresses, or the caller's, checked.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <syncbus/detail/handler_scope.hpp>
#include <syncbus/detail/session_failure.hpp>
#include <syncbus/detail/thread_marks.hpp>
#include <syncbus/detail/wake_fd.hpp>
#include <syncbus/error.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/kafka_events.hpp>
#include <syncbus/transport/kafka_handles.hpp>
#include <syncbus/transport/kafka_tuning.hpp>

namespace syncbus::inline v1::detail {

/// Where the cluster is and what is used there.
struct KafkaPlace {
  std::string brokers;   ///< of own clients; empty: the caller's handles
  KafkaHandles handles;  ///< the caller's
  std::string topic;
  KafkaTuning tuning;
};

/// Properties of a client that is to be made.
class KafkaConf {
 public:
  void set(const std::string& name, const std::string& value) {
    char why[512] = "";
    if (rd_kafka_conf_set(conf_.get(), name.c_str(), value.c_str(), why, sizeof why) == RD_KAFKA_CONF_OK) return;
    throw SessionFailure{Errc::invalid_argument, "librdkafka does not take the property " + name + ": " + why};
  }
  void set(const std::string& name, std::int64_t value) { set(name, std::to_string(value)); }

  /// For properties that older versions do not know.
  void set_if_known(const char* name, const char* value) noexcept {
    char why[8];
    static_cast<void>(rd_kafka_conf_set(conf_.get(), name, value, why, sizeof why));
  }

  [[nodiscard]] rd_kafka_conf_t* get() const noexcept { return conf_.get(); }

  [[nodiscard]] KafkaHandle<rd_kafka_t> make(rd_kafka_type_t type) {
    char why[512] = "";
    KafkaHandle<rd_kafka_t> client{rd_kafka_new(type, conf_.get(), why, sizeof why)};
    if (!client) throw SessionFailure{Errc::invalid_argument, std::string{"librdkafka makes no client: "} + why};
    static_cast<void>(conf_.release());  // the client's now
    return client;
  }

 private:
  KafkaHandle<rd_kafka_conf_t> conf_{rd_kafka_conf_new()};
};

/// Whole milliseconds within what librdkafka takes.
[[nodiscard]] inline std::int64_t kafka_ms(Duration duration, std::int64_t least, std::int64_t most) noexcept {
  return std::clamp<std::int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count(), least, most);
}

/// Thread safety: the producer may be used by any thread once start() has returned; all else is for the I/O thread.
class KafkaClients {
 public:
  explicit KafkaClients(const KafkaPlace& place) noexcept : place_{place} {}
  KafkaClients(const KafkaClients&) = delete;
  KafkaClients& operator=(const KafkaClients&) = delete;
  ~KafkaClients() { stop(); }

  /// Makes own clients, which signal `wake` whenever there is something to poll. Throws SessionFailure
  /// (invalid_argument).
  void start(const TransportSettings& settings, WakeFd& wake) {
    settings_ = settings;
    retired_ = false;
    fresh_ = true;
    if (owned()) {
      own_producer_ = make_producer();
      if (!settings.publish_only) own_consumer_ = make_consumer();
      producer_ = own_producer_.get();
      consumer_ = own_consumer_.get();
      reports_.reset(rd_kafka_queue_get_main(producer_));
      signal(reports_.get(), wake);
    } else {
      producer_ = place_.handles.producer;
      consumer_ = place_.handles.consumer;
    }
    topic_ = open_topic();
    if (consumer_ == nullptr) return;
    jumps_silently_ = kafka_property(consumer_, "auto.offset.reset") != "error";
    rd_kafka_poll_set_consumer(consumer_);
    messages_.reset(rd_kafka_queue_get_consumer(consumer_));
    if (!messages_) throw SessionFailure{Errc::invalid_argument, "the Kafka consumer has no group.id: give it any"};
    signal(messages_.get(), wake);
    if (!owned()) listing_.reset(rd_kafka_topic_new(consumer_, place_.topic.c_str(), nullptr));
  }

  [[nodiscard]] bool started() const noexcept { return producer_ != nullptr; }

  /// Own clients are made anew for the next session: what they remember of the topic may be the trouble.
  void retire() noexcept { retired_ = true; }
  /// Makes them, if that is to be. Returns whether it did; takes a second or so.
  bool renew(WakeFd& wake) {
    if (!retired_ || !owned()) return false;
    stop();
    start(settings_, wake);
    return true;
  }
  /// Whether no session has used them yet, as far as we can make them.
  [[nodiscard]] bool fresh() const noexcept { return fresh_ || !owned(); }
  void used() noexcept { fresh_ = false; }

  /// A broker found something too large: what is sent at once is halved, from the next session on.
  void shrink() noexcept {
    constexpr std::size_t smallest = 4'096;
    limit_ = (std::min)(max_frame_bytes(), (std::max)(smallest, max_frame_bytes() / 2));
    retire();
  }

  /// How long one question to the cluster may take. It is asked again, and has more time then.
  [[nodiscard]] Duration question_time() const noexcept { return question_time_; }
  void ask_longer() noexcept { question_time_ = (std::min)(2 * question_time_, longest_question); }

  /// A request that is unanswered for so long has broken its connection.
  [[nodiscard]] Duration patience() const noexcept {
    return (std::max)(settings_.peer_timeout, Duration{std::chrono::milliseconds{100}});
  }

  /// Whether the clients are the node's own: then delivery reports are heard, and errors.
  [[nodiscard]] bool owned() const noexcept { return !place_.brokers.empty(); }

  [[nodiscard]] rd_kafka_t* producer() const noexcept { return producer_; }
  [[nodiscard]] rd_kafka_t* consumer() const noexcept { return consumer_; }  ///< none in a publish_only node of its own
  [[nodiscard]] rd_kafka_topic_t* topic() const noexcept { return topic_.get(); }
  [[nodiscard]] KafkaEvents& events() noexcept { return events_; }

  /// The one to ask about the cluster, and its handle of the topic. An own producer then also knows what became of a
  /// topic that was refused. A lent one's question might make the topic, if the cluster's auto.create.topics.enable
  /// lets it.
  [[nodiscard]] rd_kafka_t* asking() const noexcept { return owned() ? producer_ : consumer_; }
  [[nodiscard]] rd_kafka_topic_t* asked_topic() const noexcept { return owned() ? topic_.get() : listing_.get(); }

  /// Runs the producer's callbacks.
  void poll_producer() noexcept {
    const OfProgram of_program{*this};
    rd_kafka_poll(producer_, 0);
  }

  /// Runs the consumer's callbacks, and takes what has arrived; how many. Does not wait.
  [[nodiscard]] std::size_t receive(std::span<rd_kafka_message_t*> room) noexcept {
    const OfProgram of_program{*this};
    return take(messages_, room);
  }

  /// Runs the callbacks of both while nothing is assigned. A lent consumer may need one to be let in (OAUTHBEARER).
  void poll_idle() noexcept {
    poll_producer();
    if (!owned()) drain(messages_);
  }

  /// Forgets what the clients have to say so far. While nothing is assigned.
  void hear_out() noexcept {
    poll_producer();
    drain(messages_);
    events_.forget();
  }

  /// From this offset on, without a group. While nothing is assigned.
  void assign(std::int64_t offset) {
    release_partition();
    const KafkaHandle<rd_kafka_topic_partition_list_t> list{rd_kafka_topic_partition_list_new(1)};
    rd_kafka_topic_partition_list_add(list.get(), place_.topic.c_str(), place_.tuning.partition)->offset = offset;
    const rd_kafka_resp_err_t error = rd_kafka_assign(consumer_, list.get());
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      throw SessionFailure{kafka_errc(error), "the Kafka consumer takes no assignment: " + kafka_words(error)};
    }
    partition_.reset(rd_kafka_queue_get_partition(consumer_, place_.topic.c_str(), place_.tuning.partition));
  }
  void unassign() noexcept {
    if (consumer_ != nullptr) rd_kafka_assign(consumer_, nullptr);
  }

  /// Largest frame that the producer takes, in bytes: its limit counts what Kafka wraps around it.
  [[nodiscard]] std::size_t max_frame_bytes() const {
    constexpr std::size_t around = 1'024;
    const std::string text = kafka_property(producer_, "message.max.bytes");
    const std::size_t most = text.empty() ? 1'000'000 : std::stoul(text);
    const std::size_t wanted = limit_;
    const std::size_t least = most > 2 * around ? most - around : most / 2;
    return wanted == 0 ? least : (std::min)(wanted, least);
  }

  /// Whether the consumer goes on elsewhere, without an error, when the offset to be read is gone.
  [[nodiscard]] bool jumps_silently() const noexcept { return jumps_silently_; }

  /// Whether the producer takes nothing any more, ever, and in which words of the client's.
  [[nodiscard]] bool failed(std::span<char> why = {}) const noexcept {
    return rd_kafka_fatal_error(producer_, why.data(), why.size()) != RD_KAFKA_RESP_ERR_NO_ERROR;
  }

  /// Sends what was accepted as far as `limit` allows, then lets go of everything. Own clients end; librdkafka may take
  /// a second for it. Idempotent.
  void stop(Duration limit = Duration::zero()) noexcept {
    if (!started()) return;
    unassign();
    if (messages_) rd_kafka_queue_io_event_enable(messages_.get(), -1, nullptr, 0);
    if (reports_) rd_kafka_queue_io_event_enable(reports_.get(), -1, nullptr, 0);
    release_partition();
    messages_.reset();
    listing_.reset();
    own_consumer_.reset();
    if (own_producer_) {
      rd_kafka_flush(producer_, static_cast<int>(kafka_ms(limit, 0, 60'000)));
      rd_kafka_purge(producer_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
      rd_kafka_flush(producer_, 0);
    }
    reports_.reset();
    topic_.reset();
    own_producer_.reset();
    producer_ = consumer_ = nullptr;
  }

 private:
  /// While it lives, callbacks run: those of lent clients are the program's, and like handlers.
  class OfProgram {
   public:
    explicit OfProgram(const KafkaClients& clients) noexcept {
      if (!clients.owned()) scope_.emplace(ThreadMarks::home().mine());
    }

   private:
    std::optional<HandlerScope> scope_;
  };

  static void signal(rd_kafka_queue_t* queue, WakeFd& wake) noexcept {
    const std::uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, wake.fd(), &one, sizeof one);
  }

  static std::size_t take(const KafkaHandle<rd_kafka_queue_t>& queue, std::span<rd_kafka_message_t*> room) noexcept {
    if (!queue) return 0;
    const auto count = rd_kafka_consume_batch_queue(queue.get(), 0, room.data(), room.size());
    return count < 0 ? 0 : static_cast<std::size_t>(count);
  }

  void drain(const KafkaHandle<rd_kafka_queue_t>& queue) noexcept {
    const OfProgram of_program{*this};
    std::array<rd_kafka_message_t*, 64> room;
    while (const std::size_t count = take(queue, room)) {
      for (rd_kafka_message_t* const message : std::span{room}.first(count)) rd_kafka_message_destroy(message);
    }
  }

  /// What stays in the queue of a partition that was deleted while it was read refers to that partition, and the
  /// partition to its queue: before librdkafka 2.8 (its issue 4724) the consumer's end would wait for that for ever.
  void release_partition() noexcept {
    drain(partition_);
    partition_.reset();
  }

  static constexpr Duration longest_question = std::chrono::seconds{4};

  [[nodiscard]] std::int64_t patience_ms() const noexcept { return kafka_ms(patience(), 100, 300'000); }

  void set_common(KafkaConf& conf) {
    events_.listen_to(conf.get());
    conf.set("bootstrap.servers", place_.brokers);
    conf.set("client.id", "syncbus");
    conf.set("socket.nagle.disable", "true");
    conf.set("socket.keepalive.enable", "true");
    conf.set("socket.timeout.ms", patience_ms());
    conf.set("reconnect.backoff.ms", kafka_ms(place_.tuning.min_backoff, 1, 500));
    conf.set("reconnect.backoff.max.ms", 500);  // the default is 10 s
    conf.set("allow.auto.create.topics", "false");
  }
  void set_callers(KafkaConf& conf) {
    for (const auto& [name, value] : place_.tuning.properties) conf.set(name, value);
  }

  [[nodiscard]] KafkaHandle<rd_kafka_t> make_producer() {
    KafkaConf conf;
    set_common(conf);
    events_.listen_to_reports(conf.get());
    if (limit_ != 0) conf.set("batch.size", static_cast<std::int64_t>(limit_));  // the topic's limit is one of batches
    conf.set("linger.ms", 0);                                                    // frames are batches already
    conf.set("max.in.flight", 1);  // a retry must not overtake; see kafka_transport.hpp
    conf.set("request.timeout.ms", patience_ms());
    set_callers(conf);
    return conf.make(RD_KAFKA_PRODUCER);
  }

  [[nodiscard]] KafkaHandle<rd_kafka_t> make_consumer() {
    KafkaConf conf;
    set_common(conf);
    // Its question for the end of the log lasts so long where nobody answers (librdkafka 2.0), and close() with it.
    conf.set("socket.timeout.ms", (std::min<std::int64_t>)(patience_ms(), 2'000));
    conf.set("isolation.level", "read_uncommitted");  // a stranger's open transaction would hold everything up
    conf.set("queued.max.messages.kbytes", 16'384);   // beside BusOptions::queue_bytes
    conf.set("group.id", "syncbus");                  // asked for by librdkafka; no group is joined
    conf.set("enable.auto.commit", "false");
    conf.set("enable.auto.offset.store", "false");
    conf.set("auto.offset.reset", "error");  // what is no longer there must not be jumped over in silence
    conf.set("fetch.wait.max.ms",
             kafka_ms(place_.tuning.fetch_wait, 0, (std::max<std::int64_t>)(1, patience_ms() / 2)));
    conf.set("fetch.error.backoff.ms", 50);
    conf.set_if_known("fetch.queue.backoff.ms", "10");  // the default, a second, would stall a busy reader
    set_callers(conf);
    return conf.make(RD_KAFKA_CONSUMER);
  }

  /// In a caller's producer, too, a frame counts as stored when all replicas in sync have it. A topic that the producer
  /// has used already keeps the settings that it was used with.
  [[nodiscard]] KafkaHandle<rd_kafka_topic_t> open_topic() {
    KafkaHandle<rd_kafka_topic_conf_t> conf{rd_kafka_default_topic_conf_dup(producer_)};
    char why[512] = "";
    rd_kafka_topic_conf_set(conf.get(), "acks", "all", why, sizeof why);
    rd_kafka_topic_conf_set(conf.get(), "message.timeout.ms", std::to_string(patience_ms()).c_str(), why, sizeof why);
    KafkaHandle<rd_kafka_topic_t> topic{rd_kafka_topic_new(producer_, place_.topic.c_str(), conf.get())};
    if (!topic) {
      throw SessionFailure{Errc::invalid_argument, "the Kafka producer takes no topic '" + place_.topic +
                                                       "': " + kafka_words(rd_kafka_last_error())};
    }
    static_cast<void>(conf.release());  // the topic's now
    return topic;
  }

  const KafkaPlace& place_;
  TransportSettings settings_;
  std::size_t limit_ = place_.tuning.max_frame_bytes;
  Duration question_time_ = std::chrono::milliseconds{250};
  bool retired_ = false;
  bool fresh_ = true;
  bool jumps_silently_ = false;
  KafkaEvents events_;  // the clients' opaque
  KafkaHandle<rd_kafka_t> own_producer_;
  KafkaHandle<rd_kafka_t> own_consumer_;
  rd_kafka_t* producer_ = nullptr;
  rd_kafka_t* consumer_ = nullptr;
  KafkaHandle<rd_kafka_topic_t> topic_;
  KafkaHandle<rd_kafka_topic_t> listing_;  ///< of a lent consumer
  KafkaHandle<rd_kafka_queue_t> reports_;
  KafkaHandle<rd_kafka_queue_t> messages_;
  KafkaHandle<rd_kafka_queue_t> partition_;  ///< what the client reads of the partition, on its way to messages_
};

}  // namespace syncbus::inline v1::detail
