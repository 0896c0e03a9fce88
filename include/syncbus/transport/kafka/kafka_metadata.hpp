// Questions to a Kafka cluster before a session begins, and the meaning of its refusals.
#pragma once

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport/kafka/kafka_callbacks.hpp>
#include <syncbus/transport/kafka/kafka_calls.hpp>
#include <syncbus/transport/kafka/kafka_clients.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>
#include <syncbus/transport/kafka/kafka_topics.hpp>
#include <syncbus/transport/session/detachable_call.hpp>
#include <syncbus/transport/session/session_context.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// The offsets of a partition: the oldest message that it has, and the one that comes next.
struct KafkaRange {
  std::int64_t oldest = 0;
  std::int64_t next = 0;
};

/// Questions until a deadline; a stop ends them with Errc::closed. Everything throws ConnectError.
class KafkaMetadata {
 public:
  KafkaMetadata(KafkaClients& clients, const KafkaEndpoint& place, const SessionContext& context, TimePoint deadline)
      : clients_{clients}, endpoint_{place}, context_{context}, deadline_{deadline} {
    clients.patience_with_any().begin_attempt();
    clients.patience_with_leader().begin_attempt();
  }

  /// Returns when the partition has a leader. A topic that does not exist is made, if that is wanted: at once only if
  /// it is the `first` time, for a broker that was just started may not know its topics yet. `of_old_log` is set when
  /// there was no such topic.
  void find_leader(bool first, bool& of_old_log) {
    // Brokers of a cluster hear of a new topic one after the other.
    const TimePoint absent = now() + (std::min)(new_topic_time, (deadline_ - now()) / 2);
    bool made = false;
    while (true) {
      // An own producer then also knows what became of a topic that was refused. A lent one's question might make the
      // topic, if the cluster's auto.create.topics.enable lets it.
      const KafkaHandle<const rd_kafka_metadata_t> metadata =
          ask_metadata(clients_.owned() ? clients_.producer() : clients_.consumer());
      if (metadata && metadata->topic_cnt == 1) {
        const rd_kafka_metadata_topic_t& topic = metadata->topics[0];
        if (is_unknown(topic.err)) {
          if (endpoint_.tuning.create_topic && !made && (first || now() >= absent)) {
            made = create_topic(now() < absent, of_old_log);
          } else if (!endpoint_.tuning.create_topic && now() >= absent) {
            of_old_log = true;
            fail(Errc::not_connected, "the Kafka topic '" + endpoint_.topic +
                                          "' does not exist: create it, or set KafkaTuning::create_topic");
          }
        } else if (has_leader(*metadata)) {
          if (clients_.owned()) leader_of_producer_ = leader_id_;
          return;
        }
      }
      pause();
    }
  }

  /// Also makes sure that both clients know the same leader, for it may be another one by now than at the beginning:
  /// what is produced for a leader that has stopped waits there until it has timed out. After find_leader().
  [[nodiscard]] KafkaRange find_range() {
    bool is_told = !clients_.owned();
    while (true) {
      // Unless it is told who leads the partition by now, the consumer goes on asking who did; and a new one has nobody
      // to ask yet.
      if (std::exchange(is_told, false) || knows_leader(clients_.consumer())) {
        asks_leader_ = true;
        const std::int32_t leader = leader_id_;
        const auto oldest = ask_offset(RD_KAFKA_OFFSET_BEGINNING);
        const auto next = oldest ? ask_offset(RD_KAFKA_OFFSET_END) : std::nullopt;
        if (next && producer_knows(leader)) return {*oldest, *next};
      }
      pause();
    }
  }

  /// The topic's settings, if the cluster tells them soon. A user without the permission is told so at once, and some
  /// brokers never answer this question.
  [[nodiscard]] KafkaTopicSettings find_settings() {
    const Duration enough = (std::max)(clients_.patience_with_any().limit(), description_time);
    const int limit = poll_timeout(now() + (std::min)(enough, (deadline_ - now()) / 2));
    KafkaTopicDescription description{clients_.producer(), endpoint_.topic, limit};
    const TimePoint until = now() + std::chrono::milliseconds{limit};
    while (now() < until) {
      if (auto settings = description.poll(poll_timeout((std::min)(until, now() + moment)))) return *settings;
      look_after_clients();
      check();
    }
    return {};
  }

  /// Looks after the clients for a moment, and gives up when they, or time, say so.
  void pause() {
    look_after_clients();
    check();
    pollfd waited{context_.wake.fd(), POLLIN, 0};
    if (::poll(&waited, 1, poll_timeout((std::min)(deadline_, now() + moment))) > 0) context_.wake.drain();
  }

  /// From now on the partition is read, and what is late is a message on its way through the cluster.
  void await_return() noexcept { awaits_return_ = true; }
  void note_stored() noexcept { is_stored_ = true; }

  /// Refuses what the clients' errors, the deadline, or a stop refuse.
  void check() {
    if (context_.stop.load()) fail(Errc::closed, "the transport is being closed");
    if (const auto refusal = clients_.events().take_refusal()) {
      fail(Errc::permission_denied, "the Kafka cluster refused the user: " + refusal->reason);
    }
    if (const auto outage = clients_.events().take_outage()) note_outage(outage->reason);
    if (outage_ && now() >= outage_->until && !asks_any_) unreachable(outage_->reason);
    if (now() < deadline_) return;
    clients_.note_failure();
    const std::string& reason = clients_.events().last_reason();  // perhaps of another broker than the one asked last
    const std::string both = last_.empty() || reason.empty() ? last_ + reason : last_ + "; " + reason;
    unanswered(both.empty() ? "it did not answer in time" : both);
  }

  [[noreturn]] static void fail(Errc code, const std::string& sentence) { throw ConnectError{code, sentence}; }

 private:
  struct Outage {
    TimePoint until;  // it is believed when no broker has answered by then
    std::string reason;
  };

  static constexpr Duration new_topic_time = std::chrono::seconds{1};
  static constexpr Duration reconnect_time = std::chrono::seconds{1};
  static constexpr Duration description_time = std::chrono::milliseconds{600};
  static constexpr Duration moment = std::chrono::milliseconds{20};

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }
  [[nodiscard]] int slice(const KafkaPatience& patience) const noexcept {
    return poll_timeout((std::min)(deadline_, now() + patience.limit()));
  }
  [[nodiscard]] static bool is_unknown(rd_kafka_resp_err_t error) noexcept {
    return error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
  }

  [[noreturn]] void unreachable(const std::string& why) const {
    const std::string where =
        endpoint_.brokers.empty() ? std::string{"of the given handles"} : "at " + endpoint_.brokers;
    fail(Errc::not_connected,
         "no Kafka broker could be used " + where + " (check the addresses and that the cluster runs): " + why);
  }

  /// Some broker answers, or none does.
  [[noreturn]] void unanswered(const std::string& why) const {
    const std::string topic = "topic '" + endpoint_.topic + "'";
    if (awaits_return_ && !clients_.owned()) {
      fail(Errc::not_connected, "what the given producer sends to " + topic +
                                    " does not come back to the given consumer: check that the producer's user may "
                                    "write to it, and that both are clients of one cluster");
    }
    if (is_stored_) {
      fail(Errc::not_connected, "what is stored in Kafka " + topic + " does not come back from " + leader_ +
                                    ", which leads its partition: check that consumers, too, reach the address that "
                                    "its advertised.listeners name (" +
                                    why + ")");
    }
    if (awaits_return_) {
      fail(Errc::not_connected, "what is written to Kafka " + topic + " is not stored by " + leader_ +
                                    ", which leads its partition: check that as many replicas are in sync as its "
                                    "min.insync.replicas asks for (" +
                                    why + ")");
    }
    if (asks_leader_) {
      fail(Errc::not_connected, "the partition of Kafka " + topic + " is led by " + leader_ +
                                    ", and cannot be used there: check that it runs, and that its advertised.listeners "
                                    "name an address that is reachable from here (" +
                                    why + ")");
    }
    unreachable(why);
  }

  /// All brokers are unreachable, the client says; but of a name with several addresses it has tried one, and tries
  /// the next one when it reconnects.
  void note_outage(const std::string& reason) {
    if (!outage_) outage_ = {now() + (std::min)(reconnect_time, (deadline_ - now()) / 2), {}};
    outage_->reason = reason;
  }
  void note_answer() noexcept { outage_.reset(); }

  /// An answer that may be better next time is remembered; one that will not be ends the dialogue.
  void note(rd_kafka_resp_err_t error, std::string_view verb) {
    if (kafka_errc(error) == Errc::permission_denied) {
      fail(Errc::permission_denied, "the Kafka cluster may not " + std::string{verb} + " of topic '" + endpoint_.topic +
                                        "' to this user: grant Describe, Read and Write on it (" + kafka_words(error) +
                                        ")");
    }
    if (is_outdated(error)) clients_.retire();
    last_ = kafka_words(error);
  }

  struct Metadata {
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    KafkaHandle<const rd_kafka_metadata_t> metadata{};
  };
  struct Offset {
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    std::int64_t offset = 0;
  };

  /// What `ask(milliseconds)` answers on a thread of its own. Own clients are left behind with it when there is nothing
  /// more to wait for: the client may be in a look-up of a name that has no end. Lent ones are waited for.
  template <class Ask>
  [[nodiscard]] auto put(KafkaPatience& patience, Ask ask) {
    const int limit = slice(patience);
    const TimePoint begin = now();
    DetachableCall<decltype(ask(limit))> call{[ask, limit, keep = clients_.keep()]() mutable {
      auto answer = ask(limit);
      keep.reset();  // before who waits goes on, and ends lent clients' handles
      return answer;
    }};
    while (!call.wait(now() + moment)) {
      look_after_clients();
      if (clients_.owned()) check();
    }
    auto answer = call.take();
    if (answer.error == RD_KAFKA_RESP_ERR_NO_ERROR) patience.answered_after(now() - begin);
    if (answer.error == RD_KAFKA_RESP_ERR__TIMED_OUT) patience.timed_out();
    if (answer.error == RD_KAFKA_RESP_ERR__TRANSPORT) patience.reached_nobody();
    return answer;
  }

  [[nodiscard]] KafkaHandle<const rd_kafka_metadata_t> ask_metadata(rd_kafka_t* client) {
    rd_kafka_topic_t* const topic =
        client == clients_.consumer() ? clients_.keep()->listing.get() : clients_.keep()->topic.get();
    asks_any_ = true;
    Metadata answer = put(clients_.patience_with_any(), [client, topic](int limit) {
      const rd_kafka_metadata_t* metadata = nullptr;
      const rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, topic, &metadata, limit);
      return Metadata{error, KafkaHandle<const rd_kafka_metadata_t>{metadata}};
    });
    asks_any_ = false;
    answer.error == RD_KAFKA_RESP_ERR_NO_ERROR ? note_answer() : note(answer.error, "tell who leads the partitions");
    return std::move(answer.metadata);
  }

  /// Of the oldest message, or of the next one: in the protocol they stand in the place of a time. Before its version
  /// 2.3 librdkafka's own call for this, rd_kafka_query_watermark_offsets, waits for a leader that cannot be reached
  /// without end.
  [[nodiscard]] std::optional<std::int64_t> ask_offset(std::int64_t which) {
    const auto ask = [client = clients_.consumer(), topic = endpoint_.topic, partition = endpoint_.tuning.partition,
                      which](int limit) {
      const KafkaHandle<rd_kafka_topic_partition_list_t> list{rd_kafka_topic_partition_list_new(1)};
      rd_kafka_topic_partition_t* const one = rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
      one->offset = which;
      const rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(client, list.get(), limit);
      return Offset{error == RD_KAFKA_RESP_ERR_NO_ERROR ? one->err : error, one->offset};
    };
    const Offset answer = put(clients_.patience_with_leader(), ask);
    if (answer.error == RD_KAFKA_RESP_ERR_NO_ERROR) return answer.offset;
    note(answer.error, "tell where its log ends");
    return std::nullopt;
  }

  /// The consumer's callbacks only run while nothing is assigned.
  void look_after_clients() {
    awaits_return_ ? clients_.poll_producer() : clients_.poll_idle();
    clients_.events().tell_lines([&](const std::string& line) { context_.sink.on_problem({}, line); });
  }

  [[nodiscard]] bool knows_leader(rd_kafka_t* client) {
    const KafkaHandle<const rd_kafka_metadata_t> metadata = ask_metadata(client);
    return metadata && metadata->topic_cnt == 1 && has_leader(*metadata);
  }

  [[nodiscard]] bool producer_knows(std::int32_t leader) {
    if (leader_of_producer_ != leader && knows_leader(clients_.producer())) leader_of_producer_ = leader_id_;
    return leader_of_producer_ == leader;
  }

  [[nodiscard]] bool has_leader(const rd_kafka_metadata_t& metadata) {
    const rd_kafka_metadata_topic_t& topic = metadata.topics[0];
    if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR) note(topic.err, "tell who leads the partitions");
    const std::int32_t partition = endpoint_.tuning.partition;
    for (int i = 0; i != topic.partition_cnt; ++i) {
      if (topic.partitions[i].id != partition) continue;
      if (topic.partitions[i].leader >= 0) {
        leader_id_ = topic.partitions[i].leader;
        leader_ = name_of(leader_id_, metadata);
        return true;
      }
      last_ = "partition " + std::to_string(partition) + " of topic '" + endpoint_.topic + "' has no leader";
      return false;
    }
    if (topic.err == RD_KAFKA_RESP_ERR_NO_ERROR && topic.partition_cnt != 0) {
      fail(Errc::invalid_argument, "the Kafka topic '" + endpoint_.topic + "' has " +
                                       std::to_string(topic.partition_cnt) + " partitions, and none is " +
                                       std::to_string(partition) + ": set KafkaTuning::partition");
    }
    return false;
  }

  [[nodiscard]] static std::string name_of(std::int32_t broker, const rd_kafka_metadata_t& metadata) {
    for (int i = 0; i != metadata.broker_cnt; ++i) {
      const rd_kafka_metadata_broker_t& one = metadata.brokers[i];
      if (one.id == broker)
        return "broker " + std::to_string(broker) + " at " + one.host + ":" + std::to_string(one.port);
    }
    return "broker " + std::to_string(broker);
  }

  /// False, for a cluster that may only just have been started, if it has too few brokers yet.
  [[nodiscard]] bool create_topic(bool may_grow, bool& of_old_log) {
    KafkaTopicCreation creation{clients_.producer(), endpoint_, poll_timeout(deadline_)};
    while (true) {
      if (const auto made = creation.poll(poll_timeout(now() + moment), may_grow)) {
        of_old_log = of_old_log || *made;  // there was none: whoever has made it since
        return *made;
      }
      pause();
    }
  }

  KafkaClients& clients_;
  const KafkaEndpoint& endpoint_;
  const SessionContext& context_;
  TimePoint deadline_;
  std::optional<Outage> outage_;
  bool asks_any_ = false;  // of which each makes a client that has no connection try another address
  bool asks_leader_ = false;
  bool awaits_return_ = false;
  bool is_stored_ = false;  // what is awaited
  std::int32_t leader_id_ = -1;
  std::int32_t leader_of_producer_ = -1;  // as it was told last
  std::string leader_;
  std::string last_;  // why the last question had no answer
};

}  // namespace syncbus::inline v1::detail
