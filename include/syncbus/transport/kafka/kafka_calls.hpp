// Runs calls of librdkafka that may block for long, and leaves them behind when they do.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>

#include <syncbus/base/time.hpp>
#include <syncbus/transport/kafka/kafka_callbacks.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>

namespace syncbus::inline v1::detail {

/// The clients and handles that a call uses. The last owner ends them, in the reverse order, which may take as long as
/// a call: a name server may be slow, and a broker may say nothing.
struct KafkaOwned {
  std::shared_ptr<void> ending{};  ///< once it is ending: let go of when all else has ended
  KafkaCallbacks events{};  ///< the clients' opaque
  KafkaHandle<rd_kafka_t> producer{};
  KafkaHandle<rd_kafka_t> consumer{};
  KafkaHandle<rd_kafka_topic_t> topic{};    ///< the producer's
  KafkaHandle<rd_kafka_topic_t> listing{};  ///< the same topic of the consumer
};

/// How long one question to the cluster may take. It is asked again with more time, because the broker that was asked
/// may be gone or slow. Only answers teach what is usual; errors that a client makes by itself, at once, do not. Pure.
class KafkaPatience {
 public:
  [[nodiscard]] Duration limit() const noexcept { return is_brief_ ? least : limit_; }

  /// If the cluster is slow, the next attempt does not begin with the shortest limit again. But the limit leaves time
  /// for another question: the broker at which this one hangs may be replaced meanwhile.
  void begin_attempt() noexcept { limit_ = (std::max)(usual_, (std::min)(limit_, most_carried)); }

  void timed_out() noexcept {
    is_brief_ = false;
    limit_ = (std::min)(2 * limit_, longest);
  }
  void answered_after(Duration time) noexcept {
    is_brief_ = false;
    limit_ = usual_ = std::clamp(4 * time, least, longest);
  }
  /// There was no connection. A client that has none connects again when it is asked, and by itself once a second: the
  /// next question is a short one.
  void reached_nobody() noexcept { is_brief_ = true; }

 private:
  static constexpr Duration least = std::chrono::milliseconds{250};
  static constexpr Duration most_carried = std::chrono::seconds{1};
  static constexpr Duration longest = std::chrono::seconds{4};

  Duration usual_ = least;
  Duration limit_ = least;
  bool is_brief_ = false;
};

}  // namespace syncbus::inline v1::detail
