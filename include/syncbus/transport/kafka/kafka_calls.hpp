// Runs calls of librdkafka that may block for long, and leaves them behind when they do.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>

#include <syncbus/base/time.hpp>
#include <syncbus/transport/kafka/kafka_callbacks.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>

namespace syncbus::inline v1::detail {

/// What a call uses: its last owner ends it, in the reverse order. A name server that is slow, or a broker that says
/// nothing, may make that take as long as a call.
struct KafkaOwned {
  std::shared_ptr<void> ending{};  ///< once it is ending: let go of when all else has ended
  KafkaCallbacks events{};  ///< the clients' opaque
  KafkaHandle<rd_kafka_t> producer{};
  KafkaHandle<rd_kafka_t> consumer{};
  KafkaHandle<rd_kafka_topic_t> topic{};    ///< the producer's
  KafkaHandle<rd_kafka_topic_t> listing{};  ///< the same topic of the consumer
};

/// How long one question to the cluster may take. It is asked again, and has more time then: whoever was asked may be
/// gone, or slow. Only answers teach what is usual; what a client says by itself, at once, does not. Pure.
class KafkaPatience {
 public:
  [[nodiscard]] Duration limit() const noexcept { return is_brief_ ? least : limit_; }

  /// Of a cluster that is slow an attempt has not learnt yet how slow: it need not begin at the beginning, but has to
  /// find time for another question, for whom this one hangs at may be replaced meanwhile.
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
