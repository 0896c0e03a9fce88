// The publishing half of a Kafka session, shared by the publishers' threads and the I/O thread: what was produced, and
// which of it is not known to be stored yet.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/kafka/kafka_clients.hpp>
#include <syncbus/transport/kafka/kafka_handles.hpp>

namespace syncbus::inline v1::detail {

/// Names a message by its producer: the key of messages that are to be recognised when they come back.
struct KafkaSignature {
  std::uint64_t node = 0;
  std::uint64_t serial = 0;

  static constexpr std::size_t bytes = 16;

  [[nodiscard]] std::array<std::byte, bytes> encoded() const noexcept {
    std::array<std::byte, bytes> key{};
    std::memcpy(key.data(), &node, sizeof node);
    std::memcpy(key.data() + sizeof node, &serial, sizeof serial);
    return key;
  }

  /// Only a node's own are meaningful to it, so the machine's byte order will do.
  [[nodiscard]] static std::optional<KafkaSignature> of(const rd_kafka_message_t& message) noexcept {
    if (message.key == nullptr || message.key_len != bytes) return std::nullopt;
    KafkaSignature signature;
    std::memcpy(&signature.node, message.key, sizeof signature.node);
    std::memcpy(&signature.serial, static_cast<const std::byte*>(message.key) + sizeof signature.node,
                sizeof signature.serial);
    return signature;
  }
};

/// Numbers what it produces. What is known to be stored is told by the number: by a delivery report, or, for a caller's
/// producer, by the message's coming back. The client gets copies: it may still hold a frame when its session has
/// ended.
class KafkaPublisher {
 public:
  KafkaPublisher(KafkaClients& clients, std::int32_t partition) noexcept : clients_{clients}, partition_{partition} {}

  /// From here on broadcasts of that session are produced. I/O thread.
  void start(std::uint64_t session, NodeId self) noexcept {
    const std::lock_guard lock{mutex_};
    session_ = session;
    self_ = self;
    signed_ = !clients_.owned();
    window_ = clients_.first_window();
    wide_window_ = clients_.window();
    stored_ = 0;
    forget();
    failure_ = RD_KAFKA_RESP_ERR_NO_ERROR;
  }

  /// Nothing is produced any more. I/O thread.
  void stop() noexcept {
    const std::lock_guard lock{mutex_};
    session_ = 0;
    forget();
  }

  /// False if the client did not take it: then the I/O thread has to come, and offer it again or end the session.
  [[nodiscard]] bool broadcast(Bytes bytes, BroadcastToken token) {
    const std::lock_guard lock{mutex_};
    if (token.session != session_ || session_ == 0 || failure_ != RD_KAFKA_RESP_ERR_NO_ERROR) return true;
    const std::uint64_t serial = ++last_serial_;
    unanswered_.push_back({serial, token.frame, bytes.size(), std::chrono::steady_clock::now(), false});
    if (unproduced_.empty() && produce_broadcast(bytes, serial)) return true;
    if (failure_ == RD_KAFKA_RESP_ERR_NO_ERROR) unproduced_.push_back({serial, {bytes.begin(), bytes.end()}});
    return false;
  }

  /// Without a number; dropped when the client has no room.
  void send(Bytes bytes) {
    const std::lock_guard lock{mutex_};
    if (session_ != 0) static_cast<void>(produce(bytes.data(), bytes.size(), nullptr, 0, nullptr));
  }

  /// Produces a message without a value, which is nobody's frame, with the key that a frame would have; its number.
  /// Outside of sessions, on the I/O thread.
  [[nodiscard]] std::uint64_t probe(NodeId self, rd_kafka_resp_err_t& error) {
    const std::lock_guard lock{mutex_};
    const std::uint64_t serial = ++last_serial_;
    const auto key = KafkaSignature{self.value, serial}.encoded();
    error = clients_.owned() ? produce(nullptr, 0, nullptr, 0, opaque(serial))
                             : produce(nullptr, 0, key.data(), key.size(), nullptr);
    return serial;
  }

  // --- on the I/O thread

  /// Offers what did not fit into the client's queue once more. Whether some of it still does not.
  [[nodiscard]] bool produce_again() {
    const std::lock_guard lock{mutex_};
    while (!unproduced_.empty() && produce_broadcast(unproduced_.front().bytes, unproduced_.front().serial)) {
      unproduced_.pop_front();
    }
    return !unproduced_.empty();
  }

  /// Whether a number is of this session and was not confirmed yet.
  [[nodiscard]] bool awaits(std::uint64_t serial) {
    const std::lock_guard lock{mutex_};
    return entry(serial) != nullptr;
  }

  /// It is stored. The last frame before which nothing is unanswered now, if that is another than before. Retries of a
  /// caller's producer may overtake each other.
  [[nodiscard]] std::optional<std::uint64_t> stored(std::uint64_t serial) {
    const std::lock_guard lock{mutex_};
    if (Unanswered* const found = entry(serial)) found->stored = true;
    std::optional<std::uint64_t> frame;
    for (; !unanswered_.empty() && unanswered_.front().stored; unanswered_.pop_front()) {
      frame = unanswered_.front().frame;
      under_way_ -= unanswered_.front().size;
      stored_ += unanswered_.front().size;
    }
    if (frame && under_way_ == 0) {
      stored_at_once_ = (std::max)(stored_at_once_, most_under_way_);
      most_stored_ = (std::max)(most_stored_, std::exchange(most_under_way_, 0));
    }
    if (frame && unanswered_.empty()) window_ = wide_window_;
    return frame;
  }

  /// How many bytes are unanswered, if so many were never stored at once: they may be too large for the topic. Else 0.
  /// And how many were stored in this session.
  struct Doubt {
    std::size_t bytes;
    std::size_t stored;
  };
  [[nodiscard]] Doubt doubt() {
    const std::lock_guard lock{mutex_};
    return {most_under_way_ > most_stored_ ? most_under_way_ : 0, stored_};
  }

  /// How many bytes were stored at once since somebody asked.
  [[nodiscard]] std::size_t take_stored_at_once() noexcept {
    const std::lock_guard lock{mutex_};
    return std::exchange(stored_at_once_, 0);
  }

  /// Since when the oldest broadcast is unanswered.
  [[nodiscard]] std::optional<TimePoint> unanswered_since() {
    const std::lock_guard lock{mutex_};
    if (unanswered_.empty()) return std::nullopt;
    return unanswered_.front().at;
  }

  /// Why the client did not take a broadcast.
  [[nodiscard]] rd_kafka_resp_err_t failure() {
    const std::lock_guard lock{mutex_};
    return failure_;
  }

 private:
  struct Unanswered {
    std::uint64_t serial;
    std::uint64_t frame;
    std::size_t size;
    TimePoint at;
    bool stored;
  };

  void forget() noexcept {
    unanswered_.clear();
    unproduced_.clear();
    under_way_ = most_under_way_ = 0;
  }

  /// A copy of what the client's queue, which others may use, too, or the window had no room for. The engine bounds
  /// what is unconfirmed.
  struct Unproduced {
    std::uint64_t serial;
    std::vector<std::byte> bytes;
  };

  /// Whether the client took it; if it never will, failure_ says so.
  [[nodiscard]] bool produce_broadcast(Bytes bytes, std::uint64_t serial) {
    if (under_way_ != 0 && under_way_ + bytes.size() > window_) return false;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (signed_) {
      const auto key = KafkaSignature{self_.value, serial}.encoded();
      error = produce(bytes.data(), bytes.size(), key.data(), key.size(), nullptr);  // reports are the caller's
    } else {
      error = produce(bytes.data(), bytes.size(), nullptr, 0, opaque(serial));
    }
    if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) failure_ = error;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
    under_way_ += bytes.size();
    most_under_way_ = (std::max)(most_under_way_, under_way_);
    return true;
  }

  [[nodiscard]] static void* opaque(std::uint64_t serial) noexcept {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(serial));
  }

  /// Numbers of a session follow each other.
  [[nodiscard]] Unanswered* entry(std::uint64_t serial) noexcept {
    if (unanswered_.empty()) return nullptr;
    const std::uint64_t first = unanswered_.front().serial;
    return serial < first || serial - first >= unanswered_.size() ? nullptr : &unanswered_[serial - first];
  }

  /// Copies, and does not wait.
  [[nodiscard]] rd_kafka_resp_err_t produce(const std::byte* value, std::size_t size, const std::byte* key,
                                            std::size_t key_size, void* note) {
    const int result = rd_kafka_produce(clients_.topic(), partition_, RD_KAFKA_MSG_F_COPY,
                                        const_cast<std::byte*>(value), size, key, key_size, note);
    return result == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_last_error();
  }

  KafkaClients& clients_;
  const std::int32_t partition_;
  std::mutex mutex_;
  std::uint64_t session_ = 0;
  NodeId self_;
  bool signed_ = false;
  std::uint64_t last_serial_ = 0;
  std::deque<Unanswered> unanswered_;
  std::deque<Unproduced> unproduced_;
  std::size_t window_ = 0;          // so many bytes may be under way: with the client, and not known to be stored
  std::size_t wide_window_ = 0;     // may be once all is stored that the session began with
  std::size_t stored_ = 0;          // in this session
  std::size_t under_way_ = 0;       // are
  std::size_t most_under_way_ = 0;  // were, since none was
  std::size_t most_stored_ = 0;     // of which all were stored, ever
  std::size_t stored_at_once_ = 0;  // the same since somebody asked
  rd_kafka_resp_err_t failure_ = RD_KAFKA_RESP_ERR_NO_ERROR;
};

}  // namespace syncbus::inline v1::detail
