// What calls of librdkafka need that may take longer than whoever makes them can wait, and are left behind then.
#pragma once

#include <algorithm>
#include <chrono>

#include <syncbus/options.hpp>
#include <syncbus/transport/kafka_events.hpp>
#include <syncbus/transport/kafka_handles.hpp>

namespace syncbus::inline v1::detail {

/// What a call uses: its last owner ends it, in the reverse order. A name server that is slow, or a broker that says
/// nothing, may make that take as long as a call.
struct KafkaOwned {
  KafkaEvents events{};  ///< the clients' opaque
  KafkaHandle<rd_kafka_t> producer{};
  KafkaHandle<rd_kafka_t> consumer{};
  KafkaHandle<rd_kafka_topic_t> topic{};    ///< the producer's
  KafkaHandle<rd_kafka_topic_t> listing{};  ///< the same topic of the consumer
};

/// How long one question to the cluster may take. It is asked again, and has more time then: for that attempt, because
/// whoever was asked may be gone.
class KafkaPatience {
 public:
  [[nodiscard]] Duration limit() const noexcept { return limit_; }
  void begin_attempt() noexcept { limit_ = usual_; }
  void timed_out() noexcept { limit_ = (std::min)(2 * limit_, longest); }
  void answered_after(Duration time) noexcept { limit_ = usual_ = std::clamp(4 * time, least, longest); }

 private:
  static constexpr Duration least = std::chrono::milliseconds{250};
  static constexpr Duration longest = std::chrono::seconds{4};

  Duration usual_ = least;
  Duration limit_ = least;
};

}  // namespace syncbus::inline v1::detail
