// What is asked of a Kafka cluster before a session begins, and what its refusals mean.
#pragma once

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <syncbus/detail/poll_timeout.hpp>
#include <syncbus/detail/session_failure.hpp>
#include <syncbus/detail/sessions.hpp>
#include <syncbus/error.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport/kafka_clients.hpp>
#include <syncbus/transport/kafka_events.hpp>
#include <syncbus/transport/kafka_handles.hpp>

namespace syncbus::inline v1::detail {

/// The offsets of a partition: the oldest message that it has, and the one that comes next.
struct KafkaRange {
  std::int64_t oldest = 0;
  std::int64_t next = 0;
};

/// Questions until a deadline; a stop ends them with Errc::closed. Everything throws SessionFailure.
class KafkaDialogue {
 public:
  KafkaDialogue(KafkaClients& clients, const KafkaPlace& place, const SessionSurroundings& around, TimePoint deadline)
      : clients_{clients}, place_{place}, around_{around}, deadline_{deadline} {}

  /// Returns when the partition has a leader. A topic that does not exist is made, if that is wanted: at once only if
  /// it is the `first` time, for a broker that was just started may not know its topics yet. `of_old_log` is set when
  /// there was no such topic.
  void find_leader(bool first, bool& of_old_log) {
    // Brokers of a cluster hear of a new topic one after the other.
    const TimePoint absent = now() + (std::min)(new_topic_time, (deadline_ - now()) / 2);
    bool made = false;
    while (true) {
      const KafkaHandle<const rd_kafka_metadata_t> metadata = ask_metadata();
      if (metadata && metadata->topic_cnt == 1) {
        const rd_kafka_metadata_topic_t& topic = metadata->topics[0];
        if (is_unknown(topic.err)) {
          if (place_.tuning.create_topic && !made && (first || now() >= absent)) {
            made = create_topic(now() < absent, of_old_log);
          } else if (!place_.tuning.create_topic && now() >= absent) {
            of_old_log = true;
            fail(Errc::not_connected,
                 "the Kafka topic '" + place_.topic + "' does not exist: create it, or set KafkaTuning::create_topic");
          }
        } else if (has_leader(topic)) {
          return;
        }
      }
      pause();
    }
  }

  [[nodiscard]] KafkaRange find_range() {
    while (true) {
      KafkaRange range;
      const rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(
          clients_.consumer(), place_.topic.c_str(), place_.tuning.partition, &range.oldest, &range.next, slice());
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_answer();
        return range;
      }
      // The producer has just heard who leads it: the consumer keeps what it heard of a broker that was not up yet.
      if (error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) clients_.retire();
      note(error, "tell where its log ends");
      pause();
    }
  }

  /// Looks after the clients for a moment, and gives up when they, or time, say so.
  void pause() {
    awaits_return_ ? clients_.poll_producer() : clients_.poll_idle();
    check();
    pollfd waited{around_.wake.fd(), POLLIN, 0};
    const TimePoint soon = now() + std::chrono::milliseconds{20};
    if (::poll(&waited, 1, poll_timeout((std::min)(deadline_, soon))) > 0) around_.wake.drain();
  }

  /// From now on the partition is read, and what is late is a message on its way through the cluster.
  void await_return() noexcept { awaits_return_ = true; }

  /// Refuses what the clients' errors, the deadline, or a stop refuse.
  void check() {
    if (around_.stop.load()) fail(Errc::closed, "the transport is being closed");
    if (const auto refusal = clients_.events().take_refusal()) {
      fail(Errc::permission_denied, "the Kafka cluster refused the user: " + refusal->reason);
    }
    if (const auto outage = clients_.events().take_outage()) note_outage(outage->reason);
    if (outage_ && now() >= outage_->until) unreachable(outage_->reason);
    if (now() < deadline_) return;
    const std::string& reason = clients_.events().last_reason();
    if (awaits_return_ && !clients_.owned()) {
      fail(Errc::not_connected, "what the given producer sends to topic '" + place_.topic +
                                    "' does not come back to the given consumer: check that the producer's user may "
                                    "write to it, and that both are clients of one cluster");
    }
    unreachable(!reason.empty() ? reason : last_.empty() ? "it did not answer in time" : last_);
  }

  [[noreturn]] static void fail(Errc code, const std::string& sentence) { throw SessionFailure{code, sentence}; }

 private:
  struct Outage {
    TimePoint until;  // it is believed when no broker has answered by then
    std::string reason;
  };

  static constexpr Duration new_topic_time = std::chrono::seconds{1};
  static constexpr Duration reconnect_time = std::chrono::seconds{1};

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }
  [[nodiscard]] int slice() const noexcept {
    return poll_timeout((std::min)(deadline_, now() + clients_.question_time()));
  }
  [[nodiscard]] static bool is_unknown(rd_kafka_resp_err_t error) noexcept {
    return error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
  }

  [[noreturn]] void unreachable(const std::string& why) const {
    const std::string where = place_.brokers.empty() ? std::string{"of the given handles"} : "at " + place_.brokers;
    fail(Errc::not_connected,
         "no Kafka broker could be used " + where + " (check the addresses and that the cluster runs): " + why);
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
      fail(Errc::permission_denied, "the Kafka cluster may not " + std::string{verb} + " of topic '" + place_.topic +
                                        "' to this user: grant Describe, Read and Write on it (" + kafka_words(error) +
                                        ")");
    }
    if (error == RD_KAFKA_RESP_ERR__TIMED_OUT) clients_.ask_longer();
    last_ = kafka_words(error);
  }

  [[nodiscard]] KafkaHandle<const rd_kafka_metadata_t> ask_metadata() {
    const rd_kafka_metadata_t* metadata = nullptr;
    const rd_kafka_resp_err_t error =
        rd_kafka_metadata(clients_.asking(), 0, clients_.asked_topic(), &metadata, slice());
    error == RD_KAFKA_RESP_ERR_NO_ERROR ? note_answer() : note(error, "tell who leads the partitions");
    return KafkaHandle<const rd_kafka_metadata_t>{metadata};
  }

  [[nodiscard]] bool has_leader(const rd_kafka_metadata_topic_t& topic) {
    if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR) note(topic.err, "tell who leads the partitions");
    const std::int32_t partition = place_.tuning.partition;
    for (int i = 0; i != topic.partition_cnt; ++i) {
      if (topic.partitions[i].id != partition) continue;
      if (topic.partitions[i].leader >= 0) return true;
      last_ = "partition " + std::to_string(partition) + " of topic '" + place_.topic + "' has no leader";
      return false;
    }
    if (topic.err == RD_KAFKA_RESP_ERR_NO_ERROR && topic.partition_cnt != 0) {
      fail(Errc::invalid_argument, "the Kafka topic '" + place_.topic + "' has " + std::to_string(topic.partition_cnt) +
                                       " partitions, and none is " + std::to_string(partition) +
                                       ": set KafkaTuning::partition");
    }
    return false;
  }

  /// False, for a cluster that may only just have been started, if it has too few brokers yet.
  [[nodiscard]] bool create_topic(bool may_wait, bool& of_old_log) {
    char why[512] = "";
    const KafkaTuning& tuning = place_.tuning;
    KafkaHandle<rd_kafka_NewTopic_t> topic{
        rd_kafka_NewTopic_new(place_.topic.c_str(), (std::max)(tuning.topic_partitions, tuning.partition + 1),
                              tuning.topic_replication, why, sizeof why)};
    if (!topic) fail(Errc::invalid_argument, std::string{"librdkafka does not make such a topic: "} + why);
    const auto retention = kafka_ms(tuning.topic_retention, 1, (std::numeric_limits<std::int64_t>::max)());
    rd_kafka_NewTopic_set_config(topic.get(), "cleanup.policy", "delete");  // frames have no keys to be compacted by
    rd_kafka_NewTopic_set_config(topic.get(), "retention.ms", std::to_string(retention).c_str());

    const KafkaHandle<rd_kafka_queue_t> answers{rd_kafka_queue_new(clients_.producer())};
    const KafkaHandle<rd_kafka_AdminOptions_t> options{
        rd_kafka_AdminOptions_new(clients_.producer(), RD_KAFKA_ADMIN_OP_CREATETOPICS)};
    rd_kafka_AdminOptions_set_request_timeout(options.get(), (std::max)(1, poll_timeout(deadline_)), why, sizeof why);
    rd_kafka_NewTopic_t* wanted = topic.get();
    rd_kafka_CreateTopics(clients_.producer(), &wanted, 1, options.get(), answers.get());
    KafkaHandle<rd_kafka_event_t> answer;
    while (!answer) {
      answer.reset(rd_kafka_queue_poll(answers.get(), slice()));
      if (!answer) pause();
    }
    return judge_creation(*answer, may_wait, of_old_log);
  }

  [[nodiscard]] bool judge_creation(rd_kafka_event_t& answer, bool may_wait, bool& of_old_log) {
    rd_kafka_resp_err_t error = rd_kafka_event_error(&answer);
    std::string said = error == RD_KAFKA_RESP_ERR_NO_ERROR ? "" : rd_kafka_event_error_string(&answer);
    if (const rd_kafka_CreateTopics_result_t* result = rd_kafka_event_CreateTopics_result(&answer)) {
      std::size_t count = 0;
      const rd_kafka_topic_result_t** topics = rd_kafka_CreateTopics_result_topics(result, &count);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR && count == 1) {
        error = rd_kafka_topic_result_error(topics[0]);
        if (const char* text = rd_kafka_topic_result_error_string(topics[0])) said = text;
      }
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
      of_old_log = true;  // there was none: whoever has made it since
      return true;
    }
    if (error == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR && may_wait) return false;
    fail(kafka_errc(error),
         "the Kafka topic '" + place_.topic + "' could not be made: " + said + " (" + rd_kafka_err2name(error) + ")");
  }

  KafkaClients& clients_;
  const KafkaPlace& place_;
  const SessionSurroundings& around_;
  TimePoint deadline_;
  std::optional<Outage> outage_;
  bool awaits_return_ = false;
  std::string last_;  // why the last question had no answer
};

}  // namespace syncbus::inline v1::detail
