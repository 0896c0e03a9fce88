// The transport over one partition of a Kafka topic: a producer, a consumer, and their polling by a thread of its own
// or lent ones.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/kafka/kafka_clients.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>
#include <syncbus/transport/kafka/kafka_publisher.hpp>
#include <syncbus/transport/kafka/kafka_session.hpp>
#include <syncbus/transport/kafka/kafka_tuning.hpp>
#include <syncbus/transport/kafka/kafka_url.hpp>
#include <syncbus/transport/session/session_loop.hpp>

namespace syncbus::inline v1 {

/// Broadcasts and directed frames share one partition, which is one order; receivers leave aside what is for others.
/// Sink calls come from whichever thread does the polling, one at a time. Thread safety: as the concept says.
///
/// Order: own producers have one request in flight, so that a retry overtakes nothing. Measured, that costs no
/// throughput: whatever is produced while a request is under way leaves in the next one. (Idempotence would order five
/// in flight, at the price of a permission, of a round trip before the first message, and of errors that end a producer
/// for good.)
class KafkaTransport {
 public:
  /// A consumer reads a log by offset, and was told to make an error, not a jump, of an offset that is gone; so a
  /// reader that is slow, cut off or reconnected misses nothing, or is interrupted. What acks=all has stored stays
  /// stored unless the operator allows elections of replicas that lag (unclean.leader.election.enable).
  static constexpr bool lossless_sessions = true;

  /// `brokers`: host:port,host:port with or without kafka:// before it. Constructors only check their arguments:
  /// std::system_error (invalid_argument) for addresses or a topic that cannot be, for handles of the wrong kind.
  KafkaTransport(std::string_view brokers, std::string topic, KafkaTuning tuning = {})
      : KafkaTransport{
            detail::KafkaEndpoint{detail::parse_kafka_brokers(brokers), {}, std::move(topic), std::move(tuning)}} {}

  KafkaTransport(KafkaHandles handles, std::string topic, KafkaTuning tuning = {})
      : KafkaTransport{detail::KafkaEndpoint{{}, handles, std::move(topic), std::move(tuning)}} {
    check_handles();
  }

  KafkaTransport(const KafkaTransport&) = delete;
  KafkaTransport& operator=(const KafkaTransport&) = delete;
  ~KafkaTransport() { close(); }

  /// Blocks until the first session is made. Throws std::system_error (not_connected, permission_denied,
  /// invalid_argument). It makes one attempt, or as many as TransportSettings::wait_for_broker has time for.
  void open(TransportSink& sink, const TransportSettings& settings) {
    loop_.open(sink, settings, {place_.tuning.min_backoff, place_.tuning.max_backoff, place_.tuning.attempt_timeout},
               [this](const detail::SessionContext& common) {
                 return detail::KafkaContext{common, place_, clients_, publisher_, position_};
               });
  }

  /// See LendableTransport.
  [[nodiscard]] bool serve(const std::atomic<bool>& leave) noexcept { return loop_.serve(leave); }

  /// Copies the bytes to the client's queue.
  void broadcast(Bytes bytes, BroadcastToken token) noexcept {
    if (!publisher_.broadcast(bytes, token)) loop_.wake();
  }

  void send(NodeId, Bytes bytes) noexcept { publisher_.send(bytes); }

  /// Leaves it to the I/O thread.
  void reopen(std::uint64_t session) noexcept { loop_.reopen(session); }

  /// Waits for whoever does the I/O: for a sink call that is running, and with lent clients for a question to the
  /// cluster, which takes four seconds at most. Then own clients send what they have, for a quarter of a second at
  /// most, and end: what takes longer is left behind.
  void close() noexcept {
    const bool connected = loop_.close();
    clients_.stop(connected ? std::chrono::milliseconds{250} : Duration::zero(), std::chrono::milliseconds{500});
  }

 private:
  explicit KafkaTransport(detail::KafkaEndpoint place) : place_{std::move(place)} {
    const std::string& topic = place_.topic;
    constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (topic.empty() || topic.size() > 249 || topic == "." || topic == ".." ||
        topic.find_first_not_of(allowed) != std::string::npos) {
      refuse("a Kafka topic has 1 to 249 letters, digits, dots, - and _: '" + topic + "' is none");
    }
    const KafkaTuning& tuning = place_.tuning;
    if (tuning.partition < 0) refuse("KafkaTuning::partition is negative");
    if (tuning.partition == (std::numeric_limits<std::int32_t>::max)()) refuse("KafkaTuning::partition is too large");
    if (tuning.topic_partitions < 1) refuse("KafkaTuning::topic_partitions must be 1 or more");
    if (tuning.topic_replication < 1 && tuning.topic_replication != -1) {
      refuse("KafkaTuning::topic_replication must be 1 or more, or -1 for the cluster's default");
    }
    check_properties();
  }

  /// What would leave the bus without an answer for what it sends.
  void check_properties() const {
    for (const auto& [name, value] : place_.tuning.properties) {
      if (name == "transactional.id") {
        refuse("KafkaTuning::properties has transactional.id, and the bus begins no transaction: leave it out");
      }
      if (name == "delivery.report.only.error" && value != "false") {
        refuse(
            "KafkaTuning::properties has delivery.report.only.error, and the bus confirms what is reported as stored: "
            "leave it out");
      }
    }
  }

  void check_handles() const {
    const KafkaHandles& handles = place_.handles;
    if (handles.producer == nullptr || rd_kafka_type(handles.producer) != RD_KAFKA_PRODUCER) {
      refuse("KafkaHandles::producer is no producer: make it with rd_kafka_new(RD_KAFKA_PRODUCER, ...)");
    }
    if (handles.consumer == nullptr || rd_kafka_type(handles.consumer) != RD_KAFKA_CONSUMER) {
      refuse(
          "KafkaHandles::consumer is no consumer: make it with rd_kafka_new(RD_KAFKA_CONSUMER, ...), for this bus "
          "alone "
          "(a publish_only bus needs one, too: what comes back confirms what was published)");
    }
    if (detail::takes_reports_as_events(handles.producer)) {
      refuse(
          "KafkaHandles::producer takes its delivery reports as events (rd_kafka_conf_set_events), which polling it, "
          "as the bus does, would throw away: use a delivery report callback, or a producer for the bus alone");
    }
    if (!detail::kafka_property(handles.producer, "transactional.id").empty()) {
      refuse("KafkaHandles::producer is transactional, and the bus begins no transaction: use another producer");
    }
    if (detail::has_assignment(handles.consumer)) {
      refuse("KafkaHandles::consumer has a subscription or an assignment: the bus needs a consumer of its own");
    }
  }

  [[noreturn]] static void refuse(const std::string& why) {
    throw std::system_error{make_error_code(Errc::invalid_argument), why};
  }

  const detail::KafkaEndpoint place_;
  detail::KafkaClients clients_{place_};
  detail::KafkaPublisher publisher_{clients_, place_.tuning.partition};
  detail::KafkaPosition position_;
  detail::SessionLoop<detail::KafkaSession> loop_;  // uses all of the above
};

static_assert(Transport<KafkaTransport> && LendableTransport<KafkaTransport>);

}  // namespace syncbus::inline v1
