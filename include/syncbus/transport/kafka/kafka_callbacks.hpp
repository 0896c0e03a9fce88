// Collects what librdkafka's callbacks report until somebody looks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/transport/kafka/kafka_handles.hpp>

namespace syncbus::inline v1::detail {

/// The opaque of own clients. Callbacks only take a note, on the thread that polls the clients: everything here belongs
/// to the I/O thread.
class KafkaCallbacks {
 public:
  /// A broadcast was stored, or was not.
  struct Report {
    std::uintptr_t serial;
    rd_kafka_resp_err_t error;
    std::int64_t offset;
  };
  /// An error of a whole client.
  struct Error {
    rd_kafka_resp_err_t code;
    std::string reason;
  };

  /// Swaps the reports into `reports`, whose memory is used again.
  void take_reports(std::vector<Report>& reports) noexcept {
    reports.clear();
    reports.swap(reports_);
  }

  /// No broker could be reached: set once for each time that all of them are lost.
  [[nodiscard]] std::optional<Error> take_outage() noexcept { return std::exchange(outage_, std::nullopt); }
  /// The broker refuses this user for good.
  [[nodiscard]] std::optional<Error> take_refusal() noexcept { return std::exchange(refusal_, std::nullopt); }
  /// Why the last connection failed, in the client's words; empty: none has.
  [[nodiscard]] const std::string& last_reason() const noexcept { return last_reason_; }
  /// An error that the client deals with by itself; of several the last.
  [[nodiscard]] std::optional<Error> take_trouble() noexcept { return std::exchange(trouble_, std::nullopt); }
  /// In JSON, on one line, if properties ask for them; of several the last.
  [[nodiscard]] std::optional<std::string> take_statistics() noexcept {
    return std::exchange(statistics_, std::nullopt);
  }

  void forget() noexcept {
    reports_.clear();
    outage_.reset();
    refusal_.reset();
    last_reason_.clear();
    trouble_.reset();
  }

  /// Tells the lines that the clients' `debug` property asks for, if it does.
  template <class Tell>
  void tell_lines(const Tell& tell) {
    for (const std::string& line : std::exchange(lines_, {})) tell(line);
    if (const std::size_t count = std::exchange(lines_left_out_, 0)) {
      tell("Kafka client: lines left out because they came too fast: " + std::to_string(count));
    }
  }

  /// Makes own clients tell it. Lines only if they come to those who poll (log.queue): without that, the client's own
  /// threads bring them.
  void listen_to(rd_kafka_conf_t* conf, bool to_lines) noexcept {
    rd_kafka_conf_set_opaque(conf, this);
    rd_kafka_conf_set_error_cb(conf, &on_error);
    rd_kafka_conf_set_log_cb(conf, to_lines ? &on_line : &ignore_line);
    rd_kafka_conf_set_stats_cb(conf, &on_statistics);
  }
  void listen_to_reports(rd_kafka_conf_t* conf) noexcept { rd_kafka_conf_set_dr_msg_cb(conf, &on_report); }

 private:
  /// Memory that ran out for a report leaves its broadcast unanswered, which the session notices by itself.
  static void on_report(rd_kafka_t*, const rd_kafka_message_t* message, void* self) noexcept try {
    static_cast<KafkaCallbacks*>(self)->reports_.push_back(
        {reinterpret_cast<std::uintptr_t>(message->_private), message->err, message->offset});
  } catch (const std::exception&) {
  }

  static void on_error(rd_kafka_t*, int code, const char* reason, void* self) noexcept try {
    static_cast<KafkaCallbacks*>(self)->note(static_cast<rd_kafka_resp_err_t>(code), reason);
  } catch (const std::exception&) {
  }

  /// Returns that the client may free it.
  static int on_statistics(rd_kafka_t*, char* json, std::size_t size, void* self) noexcept try {
    static_cast<KafkaCallbacks*>(self)->statistics_.emplace(json, size);
    return 0;
  } catch (const std::exception&) {
    return 0;
  }

  /// The default writes to the standard error stream of the program. What matters comes as an error, too.
  static void ignore_line(const rd_kafka_t*, int, const char*, const char*) noexcept {}

  static void on_line(const rd_kafka_t* client, int, const char* facility, const char* text) noexcept try {
    if (client != nullptr) static_cast<KafkaCallbacks*>(rd_kafka_opaque(client))->keep_line(facility, text);
  } catch (const std::exception&) {
  }

  void keep_line(const char* facility, const char* text) {
    if (lines_.size() == most_lines) {
      ++lines_left_out_;
      return;
    }
    std::string& line = lines_.emplace_back(std::string{"Kafka client: "} + facility + ": " + text);
    for (char& c : line) {
      if (c == '\n' || c == '\r') c = ' ';
    }
  }

  void note(rd_kafka_resp_err_t code, const char* reason) {
    if (is_of_a_group(code)) return;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
      outage_ = Error{code, last_reason_.empty() ? reason : last_reason_};
    } else if (kafka_errc(code) == Errc::permission_denied) {
      refusal_ = Error{code, reason};
    } else {
      last_reason_ = reason;
      trouble_ = Error{code, reason};
    }
  }

  static constexpr std::size_t most_lines = 1'000;

  std::vector<Report> reports_;
  std::vector<std::string> lines_;
  std::size_t lines_left_out_ = 0;
  std::optional<Error> outage_;
  std::optional<Error> refusal_;
  std::string last_reason_;
  std::optional<Error> trouble_;
  std::optional<std::string> statistics_;
};

}  // namespace syncbus::inline v1::detail
