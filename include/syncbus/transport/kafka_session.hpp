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

#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/poll_timeout.hpp>
#include <syncbus/detail/session_failure.hpp>
#include <syncbus/detail/sessions.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/kafka_clients.hpp>
#include <syncbus/transport/kafka_dialogue.hpp>
#include <syncbus/transport/kafka_events.hpp>
#include <syncbus/transport/kafka_handles.hpp>
#include <syncbus/transport/kafka_publisher.hpp>

namespace syncbus::inline v1::detail {

/// What all sessions of a transport have in common.
struct KafkaSurroundings : SessionSurroundings {
  const KafkaPlace& place;
  KafkaClients& clients;
  KafkaPublisher& publisher;
  std::optional<std::int64_t>& position;  ///< the offset to be read next, through all sessions
};

/// librdkafka connects, retries and reconnects by itself; a session is a stretch of time in which that worked, and the
/// partition was read without a gap. Everything here runs on one thread at a time; KafkaPublisher alone is shared.
class KafkaSession {
 public:
  using Surroundings = KafkaSurroundings;

  /// Returns when the partition has a leader, and reading begins; the first time also only when a message was written
  /// and has come back. Throws SessionFailure.
  KafkaSession(const KafkaSurroundings& around, TimePoint deadline) : around_{around} {
    const bool first = !around.clients.started();
    if (first) {
      around.clients.start(around.settings, around.wake);  // an outage is told once: what is said from here on counts
    } else {
      around.clients.hear_out();
    }
    KafkaDialogue dialogue{around.clients, around.place, around, deadline};
    dialogue.find_leader();
    KafkaRange range;
    if (around.clients.consumer() != nullptr) range = dialogue.find_range();
    around.clients.hear_out();  // each client has found a broker by now: what it said before is of the past
    if (around.clients.consumer() != nullptr) read_on(range);
    if (first) probe(dialogue);
  }

  ~KafkaSession() { around_.clients.unassign(); }
  KafkaSession(const KafkaSession&) = delete;
  KafkaSession& operator=(const KafkaSession&) = delete;

  /// Tells the sink that the session has begun.
  void begin(std::uint64_t number) {
    number_ = number;
    around_.publisher.start(number, around_.settings.self);
    around_.live_session.store(number);
    around_.sink.on_ready(number, around_.clients.max_frame_bytes());
  }

  /// Delivers and confirms what is there, or waits until something is, or until the wake signal. Not after it has
  /// ended.
  void serve() noexcept {
    try {
      for (const KafkaMessagePtr& message : std::exchange(held_, {})) deliver(*message);
      if (!more_) wait();
      if (around_.live_session.load() != number_) return reopen();
      around_.clients.poll_producer();
      receive();
      take_reports();
      confirm();
      watch();
    } catch (const std::exception& error) {
      fail(Errc::transport_failure, error.what());
    }
  }

  /// Nothing is produced any more. What was not delivered is read again in the next session.
  void finish() noexcept {
    around_.live_session.store(0);
    around_.publisher.stop();
    around_.clients.unassign();
  }

  /// Why it ended, once it has by itself.
  [[nodiscard]] const std::optional<SessionEnd>& end() const noexcept { return end_; }

  /// Whether the cluster accepted a broadcast.
  [[nodiscard]] bool confirmed_any() const noexcept { return confirmed_any_; }

  /// Whether it ended because the engine asked for a new one.
  [[nodiscard]] bool reopened() const noexcept { return reopened_; }

 private:
  static constexpr std::size_t batch = 128;

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  // --- how it begins

  /// Where the last session stopped, so that nothing that Kafka kept is missed. What it did not keep the engine has to
  /// reconcile, as after every interruption.
  void read_on(KafkaRange range) {
    std::optional<std::int64_t>& position = around_.position;
    const std::int64_t wanted = position.value_or(range.next);
    if (wanted < range.oldest) {
      tell("has lost " + std::to_string(range.oldest - wanted) + " messages to its retention before they were read");
      position = range.oldest;
    } else if (wanted > range.next) {
      tell("is shorter than what was read of it; was it deleted and made again?");
      position = range.next;
    } else {
      position = wanted;
    }
    around_.clients.assign(*position);
  }

  void tell(const std::string& what) {
    around_.problems.report(around_.sink, make_error_code(Errc::transport_failure), partition_name() + " " + what,
                            now());
  }

  /// Writes a message without a value and waits for it: that the user may not read, or not write, is known nowhere else
  /// before the first frame.
  void probe(KafkaDialogue& dialogue) {
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    const std::uint64_t serial = around_.publisher.probe(around_.settings.self, error);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) refuse("write to", error);
    bool stored = !around_.clients.owned();
    bool back = around_.clients.consumer() == nullptr;
    while (true) {
      around_.clients.poll_producer();
      hold_received([&](const rd_kafka_message_t& message) { back = back || is_probe(message, serial); });
      around_.clients.events().take_reports(reports_);
      for (const KafkaEvents::Report& report : reports_) {
        if (report.serial != serial) continue;
        if (report.error != RD_KAFKA_RESP_ERR_NO_ERROR) refuse("write to", report.error);
        stored = true;
      }
      if (stored && back) return;
      dialogue.pause();
    }
  }

  /// What others publish meanwhile is the session's.
  template <class Look>
  void hold_received(const Look& look) {
    std::array<rd_kafka_message_t*, batch> room;
    const std::size_t count = around_.clients.receive(room);
    for (std::size_t i = 0; i != count; ++i) {
      held_.emplace_back(room[i]);
      if (room[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        look(*room[i]);
      } else if (room[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        refuse("read", room[i]->err);
      }
    }
  }

  [[nodiscard]] bool is_probe(const rd_kafka_message_t& message, std::uint64_t serial) const noexcept {
    const auto signature = KafkaSignature::of(message);
    return signature && signature->node == around_.settings.self.value && signature->serial == serial;
  }

  [[noreturn]] void refuse(const char* verb, rd_kafka_resp_err_t error) const {
    throw SessionFailure{kafka_errc(error), std::string{"the Kafka cluster does not let this user "} + verb +
                                                " topic '" + around_.place.topic + "': " + kafka_words(error)};
  }

  // --- what goes on

  /// A caller's producer does not signal when it has something to be polled for.
  void wait() {
    TimePoint due = now() + std::chrono::minutes{1};
    if (!around_.clients.owned()) due = now() + std::chrono::milliseconds{100};
    if (const auto since = around_.publisher.unanswered_since()) {
      due = (std::min)(due, deadline_after(*since, around_.settings.peer_timeout));
    }
    pollfd waited{around_.wake.fd(), POLLIN, 0};
    if (::poll(&waited, 1, poll_timeout(due)) > 0) around_.wake.drain();
  }

  void receive() {
    std::array<rd_kafka_message_t*, batch> room;
    const std::size_t count = around_.clients.receive(room);
    more_ = count == room.size();
    std::array<KafkaMessagePtr, batch> messages;
    for (std::size_t i = 0; i != count; ++i) messages[i].reset(room[i]);
    for (std::size_t i = 0; i != count && !end_; ++i) deliver(*messages[i]);
  }

  void deliver(const rd_kafka_message_t& message) {
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) return take_error(message);
    if (message.offset != *around_.position && jumps_are_silent_) {
      return fail(Errc::transport_failure, "the consumer went on at offset " + std::to_string(message.offset) +
                                               " instead of " + std::to_string(*around_.position));
    }
    *around_.position = message.offset + 1;
    if (!around_.clients.owned()) take_echo(message);
    if (message.payload == nullptr || around_.settings.publish_only) return;  // a probe, or only our own echo counts
    around_.sink.on_frame({static_cast<const std::byte*>(message.payload), message.len});
  }

  void take_error(const rd_kafka_message_t& message) {
    if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) return;
    const char* const said = rd_kafka_message_errstr(&message);
    fail(kafka_errc(message.err), "it cannot be read: " + std::string{said == nullptr ? "" : said} + " (" +
                                      rd_kafka_err2name(message.err) + ")");
  }

  void take_echo(const rd_kafka_message_t& message) {
    const auto signature = KafkaSignature::of(message);
    if (!signature || signature->node != around_.settings.self.value) return;
    note_stored(signature->serial);
  }

  void take_reports() {
    around_.clients.events().take_reports(reports_);
    for (const KafkaEvents::Report& report : reports_) {
      if (report.error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_stored(report.serial);
      } else if (around_.publisher.awaits(report.serial)) {
        fail(kafka_errc(report.error), "a frame was not stored: " + kafka_words(report.error));
      } else if (report.serial == 0) {
        around_.problems.report(around_.sink, make_error_code(kafka_errc(report.error)),
                                partition_name() + " took no directed frame: " + kafka_words(report.error), now());
      }
    }
  }

  void note_stored(std::uint64_t serial) {
    if (end_) return;  // after a frame that was not stored nothing is confirmed: a confirmation covers all before it
    const auto frame = around_.publisher.stored(serial);
    if (frame) confirmed_ = frame;
  }

  void confirm() {
    if (!confirmed_) return;
    confirmed_any_ = true;
    around_.sink.on_confirmed({number_, *std::exchange(confirmed_, std::nullopt)});
  }

  void watch() {
    if (const auto refusal = around_.clients.events().take_refusal()) fail(Errc::permission_denied, refusal->reason);
    if (const auto outage = around_.clients.events().take_outage()) {
      fail(Errc::not_connected, "no broker can be reached: " + outage->reason);
    }
    const rd_kafka_resp_err_t failure = around_.publisher.failure();
    if (failure != RD_KAFKA_RESP_ERR_NO_ERROR)
      fail(kafka_errc(failure), "the producer took no frame: " + kafka_words(failure));
    const auto since = around_.publisher.unanswered_since();
    if (since && now() >= deadline_after(*since, around_.settings.peer_timeout)) {
      fail(Errc::not_connected, "a frame was not answered within the peer timeout");
    }
  }

  void reopen() {
    reopened_ = true;
    end_ = SessionEnd{Errc::not_connected,
                      "the session with the Kafka cluster is reopened because this node's own "
                      "heartbeat did not come back within the peer timeout"};
  }

  [[nodiscard]] std::string partition_name() const {
    return "partition " + std::to_string(around_.place.tuning.partition) + " of Kafka topic '" + around_.place.topic +
           "'";
  }

  void fail(Errc code, const std::string& why) {
    if (!end_) end_ = SessionEnd{code, "the session with " + partition_name() + " ended: " + why};
  }

  const KafkaSurroundings& around_;
  /// A caller's consumer may be set to jump to another offset when its own is gone.
  const bool jumps_are_silent_ = around_.clients.jumps_silently();
  std::vector<KafkaMessagePtr> held_;  // came before the session had begun
  std::vector<KafkaEvents::Report> reports_;
  std::uint64_t number_ = 0;
  std::optional<std::uint64_t> confirmed_;  // the last frame that was, of those not told yet
  bool more_ =
      true;  // may be there, without a signal: at first, because a signal may have been taken before the session
  bool confirmed_any_ = false;
  bool reopened_ = false;
  std::optional<SessionEnd> end_;
};

}  // namespace syncbus::inline v1::detail
