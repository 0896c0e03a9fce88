// A node's first message: it finds out whether its user may write and read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/error.hpp>
#include <syncbus/transport/kafka/kafka_callbacks.hpp>
#include <syncbus/transport/kafka/kafka_clients.hpp>
#include <syncbus/transport/kafka/kafka_context.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>
#include <syncbus/transport/kafka/kafka_metadata.hpp>
#include <syncbus/transport/kafka/kafka_publisher.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

using KafkaMessages = std::array<KafkaHandle<rd_kafka_message_t>, 128>;

/// What has arrived, as far as it fits; how many.
[[nodiscard]] inline std::size_t take_messages(KafkaClients& clients, KafkaMessages& messages) noexcept {
  std::array<rd_kafka_message_t*, std::tuple_size_v<KafkaMessages>> room;
  const std::size_t count = clients.receive(room);
  for (std::size_t i = 0; i != count; ++i) messages[i].reset(room[i]);
  return count;
}

/// Errors that come in the place of messages, and mean that none was missed.
[[nodiscard]] inline bool is_no_loss(rd_kafka_resp_err_t error) noexcept {
  return error == RD_KAFKA_RESP_ERR__PARTITION_EOF || is_of_a_group(error);
}

/// Writes a message without a value and waits for it. Throws ConnectError.
class KafkaProbe {
 public:
  KafkaProbe(const KafkaContext& context, KafkaMetadata& metadata) : context_{context}, metadata_{metadata} {}

  /// Returns what others published meanwhile, which is the session's; as long as it is not too much.
  [[nodiscard]] std::vector<KafkaHandle<rd_kafka_message_t>> run() {
    metadata_.await_return();
    const std::uint64_t serial = produce();
    const bool owned = context_.clients.owned();
    std::optional<std::int64_t> stored_at;
    std::int64_t read_to = -1;
    bool back = context_.clients.consumer() == nullptr;
    while (true) {
      context_.clients.poll_producer();
      hold_received([&](const rd_kafka_message_t& message) {
        read_to = message.offset;
        back = back || is_probe(message, serial);
      });
      context_.clients.events().take_reports(reports_);
      for (const KafkaCallbacks::Report& report : reports_) {
        if (report.serial != serial) continue;
        if (report.error != RD_KAFKA_RESP_ERR_NO_ERROR) refuse("write to", report.error);
        stored_at = report.offset;
        metadata_.note_stored();
      }
      if (owned ? stored_at && (back || read_to >= *stored_at) : back) break;
      metadata_.pause();
    }
    if (held_bytes_ > most_held) {
      held_.clear();
      context_.clients.assign(*context_.position.next);  // they are read again
    }
    return std::move(held_);
  }

 private:
  static constexpr std::size_t most_held = std::size_t{16} << 20U;

  [[nodiscard]] std::uint64_t produce() {
    while (true) {
      rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
      const std::uint64_t serial = context_.publisher.probe(context_.settings.self, error);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return serial;
      if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) refuse("write to", error);
      metadata_.pause();  // a lent producer has much to do
    }
  }

  template <class Look>
  void hold_received(const Look& look) {
    KafkaMessages messages;
    const std::size_t count = take_messages(context_.clients, messages);
    for (std::size_t i = 0; i != count; ++i) {
      const rd_kafka_resp_err_t error = messages[i]->err;
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        look(*messages[i]);
        held_bytes_ += messages[i]->len;
        if (held_bytes_ <= most_held) held_.push_back(std::move(messages[i]));
      } else if (!is_no_loss(error)) {
        refuse("read", error);
      }
    }
  }

  /// Of a lent producer's.
  [[nodiscard]] bool is_probe(const rd_kafka_message_t& message, std::uint64_t serial) const noexcept {
    const auto signature = KafkaSignature::of(message);
    return signature && signature->node == context_.settings.self.value && signature->serial == serial;
  }

  [[noreturn]] void refuse(const char* verb, rd_kafka_resp_err_t error) const {
    const Errc code = kafka_errc(error);
    const char* const who =
        code == Errc::permission_denied ? "the Kafka cluster does not let this user " : "the Kafka clients cannot ";
    throw ConnectError{code, who + std::string{verb} + " topic '" + context_.place.topic + "': " + kafka_words(error)};
  }

  const KafkaContext& context_;
  KafkaMetadata& metadata_;
  std::vector<KafkaCallbacks::Report> reports_;
  std::vector<KafkaHandle<rd_kafka_message_t>> held_;
  std::size_t held_bytes_ = 0;  // and what had no room there
};

}  // namespace syncbus::inline v1::detail
