// One session with a Kafka cluster: how it is made, and what is done with it while it lasts.
#pragma once

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/base/deadline.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/kafka/kafka_callbacks.hpp>
#include <syncbus/transport/kafka/kafka_clients.hpp>
#include <syncbus/transport/kafka/kafka_context.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>
#include <syncbus/transport/kafka/kafka_metadata.hpp>
#include <syncbus/transport/kafka/kafka_probe.hpp>
#include <syncbus/transport/kafka/kafka_publisher.hpp>
#include <syncbus/transport/session/problem_reporter.hpp>
#include <syncbus/transport/session/session_context.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// librdkafka connects, retries and reconnects by itself; a session is a stretch of time in which that worked, and the
/// partition was read without a gap. Everything here runs on one thread at a time; KafkaPublisher alone is shared.
class KafkaSession {
 public:
  using Context = KafkaContext;
  static constexpr bool takes_longer_attempts = false;  // one that hangs at a leader of before would end later

  /// Returns when the partition has a leader, and reading begins; the first time also only when a message was written
  /// and has come back. Throws ConnectError.
  KafkaSession(const KafkaContext& context, TimePoint deadline) : context_{context} {
    const bool first = !context.position.has_begun;
    if (!context.clients.started()) {
      context.clients.start(context.settings,
                            context.wake);  // an outage is told once: what is said from here on counts
    } else if (!context.clients.renew(context.wake)) {
      context.clients.hear_out();
    }
    refuse_failed_producer();
    KafkaMetadata metadata{context.clients, context.place, context, deadline};
    metadata.find_leader(first, context.position.of_old_log);
    if (!first && context.position.of_old_log) require_fresh_clients();
    if (!context.clients.owned()) obey_topic(metadata.find_settings());
    KafkaRange range;
    if (context.clients.consumer() != nullptr) range = metadata.find_range();
    context.clients.hear_out();  // each client has found a broker by now: what it said before is of the past
    if (context.clients.consumer() != nullptr) read_on(range);
    if (first) held_ = KafkaProbe{context, metadata}.run();
    context.clients.grow(context.publisher.take_stored_at_once());
    require_frame_bytes(context.clients.max_frame_bytes(), "the Kafka topic \"" + context.place.topic + '"');
    context.clients.used();
    context.position.of_old_log = false;
    context.position.has_begun = true;
  }

  ~KafkaSession() { context_.clients.unassign(); }
  KafkaSession(const KafkaSession&) = delete;
  KafkaSession& operator=(const KafkaSession&) = delete;

  /// Tells the sink that the session has begun.
  void begin(std::uint64_t number) {
    number_ = number;
    context_.publisher.start(number, context_.settings.self);
    context_.live_session.store(number);
    context_.sink.on_ready(number, context_.clients.max_frame_bytes());
  }

  /// Delivers and confirms what is there, or waits until something is, or until the wake signal. Not after it has
  /// ended.
  void serve() noexcept {
    try {
      for (const KafkaHandle<rd_kafka_message_t>& message : std::exchange(held_, {})) {
        if (!end_) deliver(*message);
      }
      if (!more_) wait();
      if (context_.live_session.load() != number_) return reopen();
      context_.clients.poll_producer();
      full_ = context_.publisher.produce_again();
      receive();
      take_reports();
      confirm();
      watch();
      tell_news();
    } catch (const std::exception& error) {
      fail(Errc::transport_failure, error.what());
    }
  }

  /// Nothing is produced any more. What was not delivered is read again in the next session.
  void finish() noexcept {
    context_.live_session.store(0);
    context_.publisher.stop();
    context_.clients.unassign();
    if (context_.clients.failed()) context_.clients.retire();
  }

  /// Why it ended, once it has by itself.
  [[nodiscard]] const std::optional<DisconnectReason>& end() const noexcept { return end_; }

  /// Whether the cluster accepted a broadcast.
  [[nodiscard]] bool confirmed_any() const noexcept { return confirmed_any_; }

  /// Whether it ended because the engine asked for a new one.
  [[nodiscard]] bool reopened() const noexcept { return reopened_; }

 private:
  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  // --- how it begins

  /// Where the last session stopped, so that nothing that Kafka kept is missed. That it did not keep something is told:
  /// of those who published it nobody may be left.
  void read_on(KafkaRange range) {
    KafkaPosition& at = context_.position;
    const bool first = !at.has_begun;  // where an attempt before it began to read is nothing that was missed
    const std::int64_t wanted = first ? range.next : at.next.value_or(range.next);
    const std::int64_t found = first ? wanted : at.jumped_to.value_or(wanted);
    if (!first && (at.of_old_log || wanted > range.next || found < wanted)) {
      require_fresh_clients();
      lose(range,
           "is another log than the one that was read: the topic was deleted and made again, or a broker lost its end");
    } else if (wanted < range.oldest) {
      lose(range,
           "has lost " + std::to_string(range.oldest - wanted) + " messages to its retention before they were read");
    } else {
      at.go_to((std::min)(found, range.next));  // in between is nothing: marks of transactions, say
    }
    context_.clients.assign(*at.next);
  }

  /// A lent producer's reports, which would tell of what the topic does not take, are its owner's.
  void obey_topic(const KafkaTopicSettings& settings) {
    if (settings.is_compacted()) {
      throw ConnectError{Errc::transport_failure, "the Kafka topic '" + context_.place.topic +
                                                      "' is compacted, and frames have no keys to be compacted by: "
                                                      "set its cleanup.policy to delete, which is '" +
                                                      settings.cleanup_policy + "'"};
    }
    if (settings.max_message_bytes != 0) context_.clients.obey(settings.max_message_bytes);
  }

  /// What librdkafka 2.8 knows of the old log, its leader's epoch, keeps it from reading the new one.
  void require_fresh_clients() {
    if (context_.clients.fresh()) return;
    context_.clients.retire();
    throw ConnectError{Errc::not_connected, partition_name() + " is another log now: it will be read by new clients"};
  }

  /// Reading goes on at the end: the loss covers what is left, whose beginning may be lost, too, before it is read.
  void lose(KafkaRange range, const std::string& what) {
    tell(what);
    context_.sink.on_lost();
    context_.position.go_to(range.next);
  }

  void tell(const std::string& what) {
    context_.problems.report(context_.sink, make_error_code(Errc::transport_failure), partition_name() + " " + what,
                             now());
  }

  /// Own clients are made anew, next time.
  void refuse_failed_producer() const {
    char why[512] = "";
    if (!context_.clients.failed(why)) return;
    context_.clients.retire();
    throw ConnectError{Errc::transport_failure,
                       std::string{"the Kafka producer takes nothing any more ("} + why + ")" +
                           (context_.clients.owned() ? "" : ": make a new one, and a new bus over it")};
  }

  // --- what goes on

  /// A caller's producer does not signal when it has something to be polled for.
  void wait() {
    TimePoint due = now() + std::chrono::minutes{1};
    if (!context_.clients.owned()) due = now() + std::chrono::milliseconds{100};
    if (full_) due = now() + std::chrono::milliseconds{2};
    if (const auto since = context_.publisher.unanswered_since()) {
      due = (std::min)(due, deadline_after(*since, context_.clients.patience()));
    }
    pollfd waited{context_.wake.fd(), POLLIN, 0};
    if (::poll(&waited, 1, poll_timeout(due)) > 0) context_.wake.drain();
  }

  void receive() {
    KafkaMessages messages;
    const std::size_t count = take_messages(context_.clients, messages);
    more_ = count == messages.size();
    for (std::size_t i = 0; i != count && !end_; ++i) deliver(*messages[i]);
  }

  void deliver(const rd_kafka_message_t& message) {
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) return take_error(message);
    std::int64_t& next = *context_.position.next;
    if (message.offset != next && context_.clients.jumps_silently()) {
      context_.position.jumped_to = message.offset;
      return fail(Errc::transport_failure, "the consumer went on at offset " + std::to_string(message.offset) +
                                               " instead of " + std::to_string(next));
    }
    next = message.offset + 1;
    if (!context_.clients.owned()) take_echo(message);
    if (message.payload == nullptr || context_.settings.publish_only) return;  // a probe, or only our own echo counts
    context_.sink.on_frame({static_cast<const std::byte*>(message.payload), message.len});
  }

  void take_error(const rd_kafka_message_t& message) {
    if (is_no_loss(message.err)) return;
    const char* const said = rd_kafka_message_errstr(&message);
    retire_outdated(message.err);
    fail(kafka_errc(message.err), "it cannot be read: " + std::string{said == nullptr ? "" : said} + " (" +
                                      rd_kafka_err2name(message.err) + ")");
  }

  void take_echo(const rd_kafka_message_t& message) {
    const auto signature = KafkaSignature::of(message);
    if (!signature || signature->node != context_.settings.self.value) return;
    note_stored(signature->serial);
  }

  void take_reports() {
    context_.clients.events().take_reports(reports_);
    for (const KafkaCallbacks::Report& report : reports_) {
      if (report.error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_stored(report.serial);
      } else if (context_.publisher.awaits(report.serial)) {
        if (is_too_large(report.error) && !end_) context_.clients.shrink();
        retire_outdated(report.error);
        fail(kafka_errc(report.error), "a frame was not stored: " + kafka_words(report.error));
      } else if (report.serial == 0) {
        context_.problems.report(context_.sink, make_error_code(kafka_errc(report.error)),
                                 partition_name() + " took no directed frame: " + kafka_words(report.error), now());
      }
    }
  }

  void retire_outdated(rd_kafka_resp_err_t error) noexcept {
    const bool late = error == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT || error == RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (late || is_outdated(error)) context_.clients.retire();
  }

  void note_stored(std::uint64_t serial) {
    if (end_) return;  // after a frame that was not stored nothing is confirmed: a confirmation covers all before it
    const auto frame = context_.publisher.stored(serial);
    if (frame) confirmed_ = frame;
  }

  void confirm() {
    if (!confirmed_) return;
    confirmed_any_ = true;
    context_.sink.on_confirmed({number_, *std::exchange(confirmed_, std::nullopt)});
  }

  void watch() {
    if (const auto refusal = context_.clients.events().take_refusal()) fail(Errc::permission_denied, refusal->reason);
    if (const auto outage = context_.clients.events().take_outage()) {
      fail(Errc::not_connected, "no broker can be reached: " + outage->reason);
    }
    const rd_kafka_resp_err_t failure = context_.publisher.failure();
    if (failure != RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (is_too_large(failure)) context_.clients.shrink();
      retire_outdated(failure);
      fail(kafka_errc(failure), "the producer took no frame: " + kafka_words(failure));
    }
    const auto since = context_.publisher.unanswered_since();
    if (since && now() >= deadline_after(*since, context_.clients.patience())) {
      end_unanswered();
    }
  }

  /// Own clients may ask who does not lead the partition any more. A lent producer's report might say that a batch is
  /// too large, but it is its owner's, and not everybody may see the topic's settings.
  void end_unanswered() {
    context_.clients.retire();
    const std::string why = "a frame was not answered within the peer timeout";
    const KafkaPublisher::Doubt doubt = context_.publisher.doubt();
    if (!context_.clients.suspect(doubt.bytes, doubt.stored)) return fail(Errc::not_connected, why);
    static_cast<void>(context_.publisher.take_stored_at_once());  // by the limit of before
    fail(Errc::not_connected, why + ", for the second time; so much was never stored at once, " +
                                  std::to_string(doubt.bytes) + " bytes" + words_of_size());
  }

  /// What the client has to say that ends nothing.
  void tell_news() {
    context_.clients.events().tell_lines([&](const std::string& line) { context_.sink.on_problem({}, line); });
    if (const auto statistics = context_.clients.events().take_statistics()) context_.sink.on_problem({}, *statistics);
    if (now() - told_trouble_at_ < ProblemReporter::interval) return;
    const auto trouble = context_.clients.events().take_trouble();
    if (!trouble) return;
    told_trouble_at_ = now();
    context_.problems.report(context_.sink, make_error_code(kafka_errc(trouble->code)),
                             "the Kafka client goes on after an error: " + trouble->reason, now());
  }

  void reopen() {
    reopened_ = true;
    context_.clients.retire();
    end_ = DisconnectReason{Errc::not_connected,
                            "the session with the Kafka cluster is reopened because this node's own "
                            "heartbeat did not come back within the peer timeout"};
  }

  [[nodiscard]] std::string partition_name() const {
    return "partition " + std::to_string(context_.place.tuning.partition) + " of Kafka topic '" + context_.place.topic +
           "'";
  }

  void fail(Errc code, const std::string& why) {
    if (!end_) end_ = DisconnectReason{code, "the session with " + partition_name() + " ended: " + why};
  }

  const KafkaContext& context_;
  std::vector<KafkaHandle<rd_kafka_message_t>> held_;  // came before the session had begun
  std::vector<KafkaCallbacks::Report> reports_;
  std::uint64_t number_ = 0;
  std::optional<std::uint64_t> confirmed_;  // the last frame that was, of those not told yet
  bool more_ = true;   // may be there, without a signal: at first, because one may have been taken before the session
  bool full_ = false;  // the client's queue: something waits for room there
  TimePoint told_trouble_at_{};
  bool confirmed_any_ = false;
  bool reopened_ = false;
  std::optional<DisconnectReason> end_;
};

}  // namespace syncbus::inline v1::detail
