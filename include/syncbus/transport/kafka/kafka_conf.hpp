// The properties of a Kafka client that is to be made.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>

#include <syncbus/base/blocked_signals.hpp>
#include <syncbus/base/start_thread.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

class KafkaConf {
 public:
  void set(const std::string& name, const std::string& value) {
    char why[512] = "";
    if (rd_kafka_conf_set(conf_.get(), name.c_str(), value.c_str(), why, sizeof why) == RD_KAFKA_CONF_OK) return;
    throw ConnectError{Errc::invalid_argument, "librdkafka does not take the property " + name + ": " + why};
  }
  void set(const std::string& name, std::int64_t value) { set(name, std::to_string(value)); }

  /// For properties that older versions do not know.
  void set_if_known(const char* name, const char* value) noexcept {
    char why[8];
    static_cast<void>(rd_kafka_conf_set(conf_.get(), name, value, why, sizeof why));
  }

  [[nodiscard]] rd_kafka_conf_t* get() const noexcept { return conf_.get(); }

  /// Its threads take no signals of the process, whoever calls.
  [[nodiscard]] KafkaHandle<rd_kafka_t> make(rd_kafka_type_t type) {
    const BlockedSignals blocked;
    char why[512] = "";
    KafkaHandle<rd_kafka_t> client{rd_kafka_new(type, conf_.get(), why, sizeof why)};
    if (!client) throw ConnectError{why_none(rd_kafka_last_error(), why)};
    static_cast<void>(conf_.release());  // the client's now
    return client;
  }

 private:
  /// What it does not take stays so; threads it may get later.
  [[nodiscard]] static DisconnectReason why_none(rd_kafka_resp_err_t error, const std::string& why) {
    const std::string sentence = "librdkafka makes no client: " + why;
    if (error != RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE) return {Errc::invalid_argument, sentence};
    return {Errc::transport_failure, std::string{no_thread} + " (" + sentence + ")"};
  }

  KafkaHandle<rd_kafka_conf_t> conf_{rd_kafka_conf_new()};
};

/// Whole milliseconds within what librdkafka takes.
[[nodiscard]] inline std::int64_t kafka_ms(Duration duration, std::int64_t least, std::int64_t most) noexcept {
  return std::clamp<std::int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count(), least, most);
}

}  // namespace syncbus::inline v1::detail
