// The producer and the consumer of a node: its own, made from addresses, or the caller's, checked.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/handler_scope.hpp>
#include <syncbus/base/hazard_records.hpp>
#include <syncbus/base/wake_fd.hpp>
#include <syncbus/error.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/kafka/kafka_callbacks.hpp>
#include <syncbus/transport/kafka/kafka_calls.hpp>
#include <syncbus/transport/kafka/kafka_conf.hpp>
#include <syncbus/transport/kafka/kafka_frame_limit.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>
#include <syncbus/transport/kafka/kafka_tuning.hpp>
#include <syncbus/transport/session/detachable_call.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// Where the cluster is and what is used there.
struct KafkaEndpoint {
  std::string brokers;   ///< of own clients; empty: the caller's handles
  KafkaHandles handles;  ///< the caller's
  std::string topic;
  KafkaTuning tuning;
};

/// Thread safety: the producer may be used by any thread once start() has returned; all else is for the I/O thread.
class KafkaClients {
 public:
  explicit KafkaClients(const KafkaEndpoint& place) noexcept : place_{place} {}
  KafkaClients(const KafkaClients&) = delete;
  KafkaClients& operator=(const KafkaClients&) = delete;
  ~KafkaClients() { stop(); }

  /// Makes own clients, which signal `wake` whenever there is something to poll. Throws ConnectError
  /// (invalid_argument; transport_failure for lack of threads), and may be called again then.
  void start(const TransportSettings& settings, WakeFd& wake) {
    settings_ = settings;
    retired_ = false;
    fresh_ = true;
    failures_ = 0;
    owned_ = std::make_shared<KafkaOwned>();
    try {
      make(settings, wake);
    } catch (...) {
      let_go(Duration::zero());
      throw;
    }
  }

  [[nodiscard]] bool started() const noexcept { return producer_ != nullptr; }

  /// Own clients are made anew for the next session: what they remember of the topic may be the trouble.
  void retire() noexcept { retired_ = true; }
  /// An attempt at a session got no answer in time. Their view of the cluster may be wrong, and they go on asking a
  /// broker that has stopped. New ones have to connect first: they may have another attempt for what they ask.
  void note_failure() noexcept {
    if (!fresh_ || ++failures_ == 2) retire();
  }
  /// Makes them, if that is to be. Returns whether it did. The old ones end meanwhile, unless too many do already.
  bool renew(WakeFd& wake) {
    if (!retired_ || !owned() || ending_->load() >= most_ending) return false;
    stop();
    start(settings_, wake);
    return true;
  }
  /// Whether no session has used them yet, as far as we can make them.
  [[nodiscard]] bool fresh() const noexcept { return fresh_ || !owned(); }
  void used() noexcept { fresh_ = false; }

  /// A broker found something too large: what is sent at once is halved, from the next session on.
  void shrink() noexcept {
    limit_.stay_below(max_frame_bytes(), most_of_client());
    retire();
  }

  /// For questions to any broker, and to the partition's leader.
  [[nodiscard]] KafkaPatience& patience_with_any() noexcept { return with_any_; }
  [[nodiscard]] KafkaPatience& patience_with_leader() noexcept { return with_leader_; }

  /// A request that is unanswered for so long has broken its connection.
  [[nodiscard]] Duration patience() const noexcept {
    return (std::max)(settings_.peer_timeout, Duration{std::chrono::milliseconds{100}});
  }

  /// Whether the clients are the node's own: then delivery reports are heard, and errors.
  [[nodiscard]] bool owned() const noexcept { return !place_.brokers.empty(); }

  [[nodiscard]] rd_kafka_t* producer() const noexcept { return producer_; }
  [[nodiscard]] rd_kafka_t* consumer() const noexcept { return consumer_; }  ///< none in a publish_only node of its own
  [[nodiscard]] rd_kafka_topic_t* topic() const noexcept { return owned_->topic.get(); }
  [[nodiscard]] KafkaCallbacks& events() noexcept { return owned_->events; }
  /// For calls that may have to be left behind, which lent clients' may not.
  [[nodiscard]] const std::shared_ptr<KafkaOwned>& keep() const noexcept { return owned_; }

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

  /// Runs the callbacks of both while nothing is assigned. A consumer may need one to be let in (OAUTHBEARER), and may
  /// know why a leader cannot be reached.
  void poll_idle() noexcept {
    poll_producer();
    drain(messages_);
  }

  /// Forgets what the clients have to say so far. While nothing is assigned.
  void hear_out() noexcept {
    poll_producer();
    drain(messages_);
    events().forget();
  }

  /// From this offset on, without a group. While nothing is assigned.
  void assign(std::int64_t offset) {
    release_partition();
    const KafkaHandle<rd_kafka_topic_partition_list_t> list{rd_kafka_topic_partition_list_new(1)};
    rd_kafka_topic_partition_list_add(list.get(), place_.topic.c_str(), place_.tuning.partition)->offset = offset;
    const rd_kafka_resp_err_t error = rd_kafka_assign(consumer_, list.get());
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      throw ConnectError{kafka_errc(error), "the Kafka consumer takes no assignment: " + kafka_words(error)};
    }
    partition_.reset(rd_kafka_queue_get_partition(consumer_, place_.topic.c_str(), place_.tuning.partition));
  }
  void unassign() noexcept {
    if (consumer_ != nullptr) rd_kafka_assign(consumer_, nullptr);
  }

  /// Largest frame that the producer takes, in bytes.
  [[nodiscard]] std::size_t max_frame_bytes() const { return limit_.of_frames(most_of_client()); }

  /// So many bytes may be under way at once.
  [[nodiscard]] std::size_t window() const noexcept {
    return owned() ? (std::numeric_limits<std::size_t>::max)() : limit_.under_way();
  }
  /// Likewise, until all of that is stored.
  [[nodiscard]] std::size_t first_window() const noexcept { return limit_.one_by_one() ? 1 : window(); }

  /// The topic takes no more at once, in bytes.
  void obey(std::size_t max_message_bytes) noexcept { limit_.obey(max_message_bytes); }
  /// See KafkaFrameLimit. Own clients are told when something is too large.
  [[nodiscard]] bool suspect(std::size_t bytes, std::size_t stored) {
    return !owned() && limit_.suspect(bytes, stored, most_of_client());
  }
  void grow(std::size_t stored_at_once) { limit_.grow(stored_at_once, most_of_client()); }

  /// Whether the consumer goes on elsewhere, without an error, when the offset to be read is gone.
  [[nodiscard]] bool jumps_silently() const noexcept { return jumps_silently_; }

  /// Whether the producer takes nothing any more, ever; `why` takes the client's words.
  [[nodiscard]] bool failed(std::span<char> why = {}) const noexcept {
    return rd_kafka_fatal_error(producer_, why.data(), why.size()) != RD_KAFKA_RESP_ERR_NO_ERROR;
  }

  /// Sends what was accepted as far as `limit` allows, then lets go of everything. Own clients end on a thread of their
  /// own, which is left behind when that takes longer than `patience`. Idempotent.
  void stop(Duration limit = Duration::zero(), Duration patience = Duration::zero()) noexcept {
    if (!started()) return;
    unassign();
    if (owned()) {
      rd_kafka_flush(producer_, static_cast<int>(kafka_ms(limit, 0, 60'000)));
      rd_kafka_purge(producer_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
      rd_kafka_flush(producer_, 0);
    }
    let_go(patience);
  }

 private:
  /// While it lives, callbacks run: those of lent clients are the program's, and like handlers.
  class OfProgram {
   public:
    explicit OfProgram(const KafkaClients& clients) noexcept {
      if (!clients.owned()) scope_.emplace(HazardRecords::home().mine());
    }

   private:
    std::optional<HandlerScope> scope_;
  };

  void make(const TransportSettings& settings, WakeFd& wake) {
    if (owned()) {
      owned_->producer = make_producer();
      if (!settings.publish_only) owned_->consumer = make_consumer();
      producer_ = owned_->producer.get();
      consumer_ = owned_->consumer.get();
      if (debugs_) bring_lines();
      reports_.reset(rd_kafka_queue_get_main(producer_));
      signal(reports_.get(), wake);
    } else {
      producer_ = place_.handles.producer;
      consumer_ = place_.handles.consumer;
    }
    owned_->topic = open_topic();
    if (consumer_ == nullptr) return;
    jumps_silently_ = kafka_property(consumer_, "auto.offset.reset") != "error";
    rd_kafka_poll_set_consumer(consumer_);
    messages_.reset(rd_kafka_queue_get_consumer(consumer_));
    if (!messages_) throw ConnectError{Errc::invalid_argument, "the Kafka consumer has no group.id: give it any"};
    signal(messages_.get(), wake);
    owned_->listing.reset(rd_kafka_topic_new(consumer_, place_.topic.c_str(), nullptr));
  }

  /// Of what there is.
  void let_go(Duration patience) noexcept {
    if (messages_) rd_kafka_queue_io_event_enable(messages_.get(), -1, nullptr, 0);
    if (reports_) rd_kafka_queue_io_event_enable(reports_.get(), -1, nullptr, 0);
    release_partition();
    messages_.reset();
    reports_.reset();
    producer_ = consumer_ = nullptr;
    end(std::exchange(owned_, nullptr), patience);
  }

  static void signal(rd_kafka_queue_t* queue, WakeFd& wake) noexcept {
    const std::uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, wake.fd(), &one, sizeof one);
  }

  /// To whoever polls.
  void bring_lines() const noexcept {
    for (rd_kafka_t* const client : {producer_, consumer_}) {
      if (client == nullptr) continue;
      static_cast<void>(rd_kafka_set_log_queue(client, nullptr));
    }
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

  /// Its limit counts what Kafka wraps around a frame.
  [[nodiscard]] std::size_t most_of_client() const {
    const std::string text = kafka_property(producer_, "message.max.bytes");
    return KafkaFrameLimit::within(text.empty() ? 1'000'000 : std::stoul(text));
  }

  /// How many clients may be ending at once: where none does any more, those that there are must do.
  static constexpr int most_ending = 4;

  /// A question that is left behind may be the last owner: they are ending until then.
  void end(std::shared_ptr<KafkaOwned> ended, Duration patience) noexcept {
    if (!owned()) return;
    try {
      ending_->fetch_add(1);
      ended->ending = std::shared_ptr<void>{nullptr, [count = ending_](void*) { count->fetch_sub(1); }};
      const DetachableCall<bool> ending{[ended = std::move(ended)]() mutable {
        ended.reset();
        return true;
      }};
      static_cast<void>(ending.wait(deadline_after(patience)));
    } catch (const std::exception&) {  // there is no thread: they end on this one
    }
  }

  [[nodiscard]] std::int64_t patience_ms() const noexcept { return kafka_ms(patience(), 100, 300'000); }

  void set_common(KafkaConf& conf) {
    events().listen_to(conf.get(), debugs_);
    if (debugs_) conf.set("log.queue", "true");
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
    events().listen_to_reports(conf.get());
    if (const std::size_t limit = limit_.wanted_now(); limit != 0) {
      conf.set("batch.size", static_cast<std::int64_t>(limit));  // the topic's limit is one of batches
    }
    conf.set("linger.ms", 0);  // frames are batches already
    conf.set("max.in.flight", 1);  // a retry must not overtake; see kafka_transport.hpp
    conf.set("request.timeout.ms", patience_ms());
    set_callers(conf);
    return conf.make(RD_KAFKA_PRODUCER);
  }

  [[nodiscard]] KafkaHandle<rd_kafka_t> make_consumer() {
    KafkaConf conf;
    set_common(conf);
    conf.set("socket.timeout.ms", (std::min<std::int64_t>)(patience_ms(), 2'000));  // a leader that is silent is left
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
      throw ConnectError{Errc::invalid_argument, "the Kafka producer takes no topic '" + place_.topic +
                                                     "': " + kafka_words(rd_kafka_last_error())};
    }
    static_cast<void>(conf.release());  // the topic's now
    return topic;
  }

  const KafkaEndpoint& place_;
  TransportSettings settings_;
  const bool debugs_ = std::any_of(place_.tuning.properties.begin(), place_.tuning.properties.end(),
                                   [](const auto& property) { return property.first == "debug"; });
  KafkaFrameLimit limit_{place_.tuning.max_frame_bytes};
  KafkaPatience with_any_;
  KafkaPatience with_leader_;
  bool retired_ = false;
  bool fresh_ = true;
  int failures_ = 0;
  bool jumps_silently_ = false;
  const std::shared_ptr<std::atomic<int>> ending_ = std::make_shared<std::atomic<int>>(0);
  std::shared_ptr<KafkaOwned> owned_;  ///< while started: the events and handles of the topic, and own clients
  rd_kafka_t* producer_ = nullptr;
  rd_kafka_t* consumer_ = nullptr;
  KafkaHandle<rd_kafka_queue_t> reports_;
  KafkaHandle<rd_kafka_queue_t> messages_;
  KafkaHandle<rd_kafka_queue_t> partition_;  ///< what the client reads of the partition, on its way to messages_
};

}  // namespace syncbus::inline v1::detail
