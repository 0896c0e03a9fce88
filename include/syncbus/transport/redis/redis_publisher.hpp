// The publish connection of a Redis session, shared by the publishers' threads and the I/O thread: what was written,
// and which of it the server has not answered yet.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <syncbus/base/fifo.hpp>
#include <syncbus/base/timer_fd.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/redis/redis_connection.hpp>
#include <syncbus/transport/redis/resp.hpp>

namespace syncbus::inline v1::detail {

/// What a command was for: the server answers in the order of the commands.
struct RedisCommand {
  enum class Kind : std::uint8_t { broadcast, direct, question };

  Kind kind = Kind::question;
  std::uint64_t frame = 0;  ///< of a broadcast
};

/// Two locks, and they stay two: a write may keep the kernel busy for a while, and the replies, which make room for
/// publishers, must not wait for it.
class RedisPublisher {
 public:
  /// Directed frames are dropped when so many bytes are waiting for the kernel: nobody promised them.
  static constexpr std::size_t max_backlog = std::size_t{4} << 20U;
  /// An answer usually comes sooner, with the message itself.
  static constexpr std::chrono::milliseconds answer_time{1};

  /// From here on broadcasts of that session are written to the connection. I/O thread.
  void start(RedisConnection& connection, std::uint64_t session) {
    const std::lock_guard writing{write_mutex_};
    const std::lock_guard queueing{queue_mutex_};
    connection_ = &connection;
    session_ = session;
    queue_.clear();
  }

  /// No thread touches the connection after this. What the kernel takes at once is still written. I/O thread.
  void stop() {
    const std::lock_guard writing{write_mutex_};
    if (connection_ != nullptr && connection_->wants_flush()) static_cast<void>(connection_->flush());
    connection_ = nullptr;
    session_ = 0;
  }

  /// Writes a PUBLISH; `prefix` is what precedes the length of the message. True if the I/O thread has to come and
  /// flush.
  [[nodiscard]] bool broadcast(std::string_view prefix, Bytes message, BroadcastToken token) {
    const std::lock_guard writing{write_mutex_};
    if (connection_ == nullptr || token.session != session_) return false;
    return publish(prefix, message, {RedisCommand::Kind::broadcast, token.frame});
  }

  /// The same for one node, of whichever session.
  [[nodiscard]] bool send(std::string_view prefix, Bytes message) {
    const std::lock_guard writing{write_mutex_};
    if (connection_ == nullptr || connection_->backlog() > max_backlog) return false;
    return publish(prefix, message, {RedisCommand::Kind::direct, 0});
  }

  /// Asks the server something. I/O thread.
  void ask(std::string_view question) {
    const std::lock_guard writing{write_mutex_};
    enqueue({});
    connection_->write(std::array{question});
  }

  /// False if the connection is broken. I/O thread.
  [[nodiscard]] bool flush() {
    const std::lock_guard writing{write_mutex_};
    return connection_->flush();
  }

  /// Readable when it is time for an answer: then the I/O thread asks is_late().
  [[nodiscard]] int timer_fd() const noexcept { return timer_.fd(); }

  /// Whether the command for which the timer was set is still unanswered. Otherwise sets it for the oldest command that
  /// is unanswered now, if any. I/O thread.
  [[nodiscard]] bool is_late() {
    timer_.drain();
    const std::lock_guard queueing{queue_mutex_};
    const bool late = !queue_.empty() && timed_for_ == answered_;
    timed_ = false;
    if (!queue_.empty() && !late) time_oldest();
    return late;
  }

  /// Whether the server owes an answer. I/O thread.
  [[nodiscard]] bool waits_for_answer() {
    const std::lock_guard queueing{queue_mutex_};
    return !queue_.empty();
  }

  /// The command that the next reply answers, if any is unanswered. I/O thread.
  [[nodiscard]] std::optional<RedisCommand> answered() {
    const std::lock_guard queueing{queue_mutex_};
    if (queue_.empty()) return std::nullopt;
    const RedisCommand command = queue_.front();
    queue_.pop();
    ++answered_;
    return command;
  }

 private:
  void enqueue(RedisCommand command) {
    const std::lock_guard queueing{queue_mutex_};
    queue_.push(command);
    if (!timed_) time_oldest();
  }

  void time_oldest() noexcept {
    timed_for_ = answered_;
    timed_ = timer_.set(answer_time);
  }

  [[nodiscard]] bool publish(std::string_view prefix, Bytes message, RedisCommand command) {
    std::array<char, 24> digits{};
    char* end = std::to_chars(digits.data(), digits.data() + digits.size() - 2, message.size()).ptr;
    *end++ = '\r';
    *end++ = '\n';
    const std::string_view length{digits.data(), static_cast<std::size_t>(end - digits.data())};
    const std::string_view body{reinterpret_cast<const char*>(message.data()), message.size()};
    enqueue(command);  // before the write: the reply may be here before it returns
    const bool flushing = connection_->wants_flush();
    connection_->write(std::array{prefix, length, body, std::string_view{"\r\n"}});
    return !flushing && connection_->wants_flush();
  }

  std::mutex write_mutex_;
  RedisConnection* connection_ = nullptr;  // of the I/O thread
  std::uint64_t session_ = 0;
  std::mutex queue_mutex_;
  Fifo<RedisCommand> queue_;
  std::uint64_t answered_ = 0;  // commands, ever: the number of the oldest that is not
  TimerFd timer_;
  bool timed_ = false;  // the timer is set, and was not looked after yet
  std::uint64_t timed_for_ = 0;  // the number of a command
};

}  // namespace syncbus::inline v1::detail
