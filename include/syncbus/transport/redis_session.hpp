// One session with a Redis server: how it is made, and what is done with it while it lasts.
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
#include <string_view>
#include <utility>

#include <syncbus/detail/idle_watch.hpp>
#include <syncbus/detail/poll_timeout.hpp>
#include <syncbus/detail/redis_url.hpp>
#include <syncbus/detail/resp.hpp>
#include <syncbus/detail/resp_reader.hpp>
#include <syncbus/detail/session_failure.hpp>
#include <syncbus/detail/sessions.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/redis_connection.hpp>
#include <syncbus/transport/redis_handshake.hpp>
#include <syncbus/transport/redis_publisher.hpp>

namespace syncbus::inline v1::detail {

/// Longest message that is kept while it comes in, in bytes. Redis cuts a subscriber off that lets 8 MiB wait for a
/// minute, or 32 MiB at all (its default client-output-buffer-limit): a larger message could hardly be received.
inline constexpr std::size_t redis_max_message = std::size_t{8} << 20U;

/// Where the server is: by the caller's connector, or else by URL.
struct RedisEndpoint {
  RedisConnector connector;
  std::optional<RedisUrl> url;
};

/// What all sessions of a transport have in common.
struct RedisSurroundings : SessionSurroundings {
  const RedisEndpoint& endpoint;
  const RedisChannels& channels;
  RedisPublisher& publisher;
};

/// Both connections of a session. Everything here runs on one thread at a time; RedisPublisher alone is shared.
class RedisSession {
 public:
  using Surroundings = RedisSurroundings;

  /// Connects, authenticates, checks the permissions, subscribes. Throws SessionFailure.
  RedisSession(const RedisSurroundings& around, TimePoint deadline)
      : around_{around}, publish_{connect(deadline, small_buffer)} {
    RedisDialogue publishing{*publish_, deadline, around.wake, around.stop};
    require_publish(publishing, around.channels);
    if (around.settings.publish_only) return;
    subscribe_ = connect(deadline, large_buffer);
    RedisDialogue subscribing{*subscribe_, deadline, around.wake, around.stop};
    subscribe(subscribing, around.channels);
    publish_->tell_from(longer_than_consent);
  }

  /// Tells the sink that the session has begun.
  void begin(std::uint64_t number) {
    number_ = number;
    publish_watch_.heard(now());
    subscribe_watch_.heard(now());
    around_.publisher.start(*publish_, number);
    around_.live_session.store(number);
    around_.sink.on_ready(number, redis_max_message);
  }

  /// Delivers and confirms what is there, or waits until something is, or until the wake signal. Not after it has
  /// ended.
  void serve() noexcept {
    try {
      if (std::exchange(first_, false)) {
        if (subscribe_) deliver_received();  // what came right behind the confirmation
      } else {
        step();
      }
    } catch (const std::exception& error) {
      fail(error.what());
    }
  }

  /// Nothing is written any more, except what the kernel takes of what had been. What arrived before the session ended
  /// by itself is still delivered.
  void finish() noexcept {
    around_.live_session.store(0);
    around_.publisher.stop();
    if (!end_) return;
    try {
      for (int i = 0; i != last_reads && receive_messages();) ++i;
      for (int i = 0; i != last_reads && receive_answers();) ++i;
    } catch (const std::exception&) {
      return;  // no memory for it: it is lost with the session
    }
  }

  /// Why it ended, once it has by itself.
  [[nodiscard]] const std::optional<SessionEnd>& end() const noexcept { return end_; }

  /// Whether the server accepted a broadcast.
  [[nodiscard]] bool confirmed_any() const noexcept { return confirmed_any_; }

  /// Whether it ended because the engine asked for a new one.
  [[nodiscard]] bool reopened() const noexcept { return reopened_; }

 private:
  static constexpr std::size_t small_buffer = std::size_t{16} << 10U;   // for answers
  static constexpr std::size_t large_buffer = std::size_t{256} << 10U;  // for frames
  /// The answer to a broadcast is read together with the broadcast itself, which comes back right behind it: waking the
  /// thread for either would keep a processor from who waits for the event. Refusals are longer, and wake at once.
  static constexpr int longer_than_consent = 16;  // bytes of ":<receivers>\r\n", and more
  static constexpr int last_reads = 64;           // a connection that did not break could go on for ever

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  [[nodiscard]] std::unique_ptr<RedisConnection> connect(TimePoint deadline, std::size_t buffer) {
    const RedisEndpoint& endpoint = around_.endpoint;
    RedisContextPtr context{endpoint.url ? connect_redis(*endpoint.url, deadline - now())
                                         : ask_connector(endpoint.connector)};
    require_connected(context.get(), "the RedisConnector made no connection");
    const std::size_t longest = redis_max_message + around_.channels.direct.size() + 1'024;  // with what is around it
    auto connection = std::make_unique<RedisConnection>(std::move(context), buffer, longest);
    if (endpoint.url) {
      RedisDialogue dialogue{*connection, deadline, around_.wake, around_.stop};
      greet_as(dialogue, *endpoint.url);
    }
    return connection;
  }

  [[nodiscard]] static RedisContextPtr ask_connector(const RedisConnector& connector) {
    try {
      return RedisContextPtr{connector()};
    } catch (const std::exception& error) {
      throw SessionFailure{Errc::not_connected, std::string{"the RedisConnector threw: "} + error.what()};
    } catch (...) {
      throw SessionFailure{Errc::not_connected, "the RedisConnector threw"};
    }
  }

  void step() {
    const auto events = [](const RedisConnection& c) {
      return static_cast<short>(c.wants_flush() ? POLLIN | POLLOUT : POLLIN);
    };
    std::array<pollfd, 4> polled{
        {{around_.wake.fd(), POLLIN, 0},
         {publish_->fd(), events(*publish_), 0},
         {subscribe_ ? subscribe_->fd() : -1, subscribe_ ? events(*subscribe_) : short{0}, 0},
         {subscribe_ ? around_.publisher.timer_fd() : -1, POLLIN, 0}}};
    const bool more = publish_->may_hold_more() || (subscribe_ && subscribe_->may_hold_more());
    const TimePoint due = subscribe_ ? (std::min)(publish_watch_.due(), subscribe_watch_.due()) : publish_watch_.due();
    ::poll(polled.data(), polled.size(), more ? 0 : poll_timeout(due));
    if (polled[0].revents != 0) around_.wake.drain();
    if (around_.live_session.load() != number_) return reopen();
    if (subscribe_ && (polled[2].revents != 0 || subscribe_->may_hold_more())) receive_messages();
    if (polled[1].revents != 0 || publish_->may_hold_more() || around_.publisher.waits_for_answer()) receive_answers();
    expect_answers(polled[3].revents != 0);
    if ((polled[1].revents & POLLOUT) != 0 && !around_.publisher.flush()) fail("the publish connection broke");
    if ((polled[2].revents & POLLOUT) != 0 && !subscribe_->flush()) fail("the subscribe connection broke");
    watch();
  }

  /// The connections are two, and the message may come before the answer, or not at all: an answer that is still owed a
  /// while after its command was written wakes the thread by itself. `due`: it is time for one.
  void expect_answers(bool due) {
    const bool late = (due && around_.publisher.is_late()) || (late_ && around_.publisher.waits_for_answer());
    if (std::exchange(late_, late) != late) publish_->tell_from(late ? 1 : longer_than_consent);
  }

  void reopen() {
    reopened_ = true;
    end_ = SessionEnd{Errc::not_connected,
                      "the session with the Redis server is reopened because this node's own "
                      "heartbeat did not come back within the peer timeout"};
  }

  void watch() {
    const auto check = [this](IdleWatch& watched, const char* name, auto ping) {
      const IdleWatch::Verdict verdict = watched.check(now());
      if (verdict == IdleWatch::Verdict::ask) ping();
      if (verdict == IdleWatch::Verdict::dead) {
        fail(std::string{name} + " connection answered nothing within the peer timeout");
      }
    };
    check(publish_watch_, "the publish", [this] { around_.publisher.ping(); });
    if (!subscribe_) return;
    check(subscribe_watch_, "the subscribe", [this] { subscribe_->write(std::array{redis_ping}); });
  }

  // --- what comes in ---

  /// True if there was something.
  bool receive_messages() {
    if (!subscribe_) return false;
    const auto received = subscribe_->receive();
    if (received == RedisConnection::Received::broken) fail("the subscribe connection broke: " + subscribe_->error());
    if (received != RedisConnection::Received::some) return false;
    subscribe_watch_.heard(now());
    deliver_received();
    return true;
  }

  void deliver_received() {
    RespReply reply;
    for (;;) {
      switch (subscribe_->next(reply)) {
        case RespReader::Next::reply: deliver(reply); break;
        case RespReader::Next::oversized: around_.sink.on_frame({}); break;  // no frame, but let it be counted
        case RespReader::Next::malformed: return fail(subscribe_->error());
        case RespReader::Next::more: return;
      }
    }
  }

  void deliver(const RespReply& reply) {
    if (reply.kind != RespReply::Kind::array || reply.word(0) != "message") return;
    const std::string_view message = reply.word(2);
    around_.sink.on_frame(std::as_bytes(std::span{message}));
  }

  /// True if there was something.
  bool receive_answers() {
    const auto received = publish_->receive();
    if (received == RedisConnection::Received::broken) fail("the publish connection broke: " + publish_->error());
    if (received != RedisConnection::Received::some) return false;
    publish_watch_.heard(now());
    RespReply reply;
    for (RespReader::Next next{}; (next = publish_->next(reply)) != RespReader::Next::more;) {
      if (next == RespReader::Next::reply) take_answer(reply);
      if (next == RespReader::Next::malformed) {
        fail(publish_->error());
        break;
      }
    }
    if (confirmed_) around_.sink.on_confirmed({number_, *std::exchange(confirmed_, std::nullopt)});
    return true;
  }

  void take_answer(const RespReply& reply) {
    if (refused_ || reply.kind == RespReply::Kind::array) return;  // an array: a push of RESP3, which answers nothing
    const std::optional<RedisCommand> command = around_.publisher.answered();
    if (!command) return fail("the server answered what was not asked");
    const bool broadcast = command->kind == RedisCommand::Kind::broadcast;
    if (reply.kind != RespReply::Kind::error) {
      if (!broadcast) return;
      confirmed_ = command->frame;
      confirmed_any_ = true;
      return;
    }
    if (command->kind == RedisCommand::Kind::ping) return;  // it may not ping, but the server is alive
    const Errc code = redis_errc(reply.word(0));
    const std::string sentence = std::string{"the Redis server refused to publish to "} +
                                 (broadcast ? "" : "a node's own channel below ") + "'" + around_.channels.broadcast +
                                 "': " + std::string{reply.word(0)};
    if (!broadcast) return around_.problems.report(around_.sink, make_error_code(code), sentence, now());
    refused_ = true;  // whatever is accepted after it is not confirmed: a confirmation covers all frames before
    end_ = SessionEnd{code, sentence};
  }

  void fail(const std::string& why) {
    if (!end_) end_ = SessionEnd{Errc::not_connected, "lost the connection to the Redis server: " + why};
  }

  const RedisSurroundings& around_;
  std::unique_ptr<RedisConnection> publish_;
  std::unique_ptr<RedisConnection> subscribe_;  // none if publish_only
  IdleWatch publish_watch_{around_.settings.peer_timeout, now()};
  IdleWatch subscribe_watch_{around_.settings.peer_timeout, now()};
  std::uint64_t number_ = 0;
  std::optional<std::uint64_t> confirmed_;  // the last frame that was, of those not told yet
  bool late_ = false;                       // an answer is owed, and wakes the thread
  bool first_ = true;
  bool confirmed_any_ = false;
  bool refused_ = false;
  bool reopened_ = false;
  std::optional<SessionEnd> end_;
};

}  // namespace syncbus::inline v1::detail
