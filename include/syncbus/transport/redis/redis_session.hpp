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

#include <syncbus/base/deadline.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/redis/idle_watch.hpp>
#include <syncbus/transport/redis/redis_connection.hpp>
#include <syncbus/transport/redis/redis_dialer.hpp>
#include <syncbus/transport/redis/redis_handshake.hpp>
#include <syncbus/transport/redis/redis_publisher.hpp>
#include <syncbus/transport/redis/redis_server.hpp>
#include <syncbus/transport/redis/resp.hpp>
#include <syncbus/transport/redis/resp_reader.hpp>
#include <syncbus/transport/session/session_context.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// Longest message that is kept while it comes in, in bytes. Redis cuts a subscriber off that lets 8 MiB wait for a
/// minute, or 32 MiB at all (its default client-output-buffer-limit): a larger message could hardly be received.
inline constexpr std::size_t redis_max_message = std::size_t{8} << 20U;

/// The server of the last session that began.
struct RedisHome {
  std::optional<RedisServer> server{};
  TimePoint heard{};  ///< when it last answered
};

/// What all sessions of a transport have in common.
struct RedisContext : SessionContext {
  RedisDialer& dialer;
  const RedisChannels& channels;
  RedisPublisher& publisher;
  RedisHome& home;
};

/// Both connections of a session. Everything here runs on one thread at a time; RedisPublisher alone is shared.
class RedisSession {
 public:
  using Context = RedisContext;
  static constexpr bool takes_longer_attempts = true;

  /// Connects, authenticates, checks the server and the permissions, subscribes. Throws ConnectError.
  RedisSession(const RedisContext& context, TimePoint deadline)
      : context_{context}, limit_{deadline, context.wake, context.stop} {
    publish_ = connect(small_buffer, nullptr, redis_introduction());
    server_.address = publish_->peer().bytes();
    RedisDialogue publishing{*publish_, limit_};
    const bool told = hear_introduction(publishing, server_);
    if (!may_publish(publishing, context.channels)) publish_ = connect(small_buffer, publish_.get(), {});
    question_ = told ? redis_hello : question_of_role({*publish_, limit_});
    if (context.settings.publish_only) return;
    subscribe_ = connect(large_buffer, publish_.get(), redis_subscribe(context.channels, server_));
    RedisDialogue subscribing{*subscribe_, limit_};
    require_same_server(subscribing, server_);
    require_subscribed(subscribing, context.channels);
    publish_->tell_from(longer_than_consent);
  }

  /// Tells the sink that the session has begun, and before it, if this is another server than the last, that the node
  /// has moved: nodes here need not know what was published there.
  void begin(std::uint64_t number) {
    if (question_ == redis_ping) tell_unknown_role();
    RedisHome here{server_, now()};  // nothing behind it throws
    number_ = number;
    publish_watch_.heard(now());
    subscribe_watch_.heard(now());
    question_due_ = now() + keep_alive;
    context_.publisher.start(*publish_, number);
    context_.live_session.store(number);
    RedisHome& home = context_.home;
    const bool moved = home.server && redis_server_changed(*home.server, home.heard, server_);
    home = std::move(here);
    if (moved) context_.sink.on_moved();
    context_.sink.on_ready(number, redis_max_message);
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
    context_.live_session.store(0);
    context_.publisher.stop();
    if (!end_) return;
    try {
      for (int i = 0; i != last_reads && receive_messages();) ++i;
      for (int i = 0; i != last_reads && receive_answers();) ++i;
    } catch (const std::exception&) {
      return;  // no memory for it: it is lost with the session
    }
  }

  /// Why it ended, once it has by itself.
  [[nodiscard]] const std::optional<DisconnectReason>& end() const noexcept { return end_; }

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
  /// A server, or what stands before it, may close a connection on which nothing is said for some seconds.
  static constexpr Duration keep_alive = std::chrono::milliseconds{750};
  static constexpr int last_reads = 64;           // a connection that did not break could go on for ever

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  /// Logs in, and says `questions` in the same breath: their answers are the next that are heard.
  [[nodiscard]] std::unique_ptr<RedisConnection> connect(std::size_t buffer, const RedisConnection* beside,
                                                         std::string_view questions) {
    const std::size_t longest = redis_max_message + context_.channels.direct.size() + 1'024;  // with what is around it
    auto connection = std::make_unique<RedisConnection>(context_.dialer.dial(limit_, beside), buffer, longest);
    RedisDialogue dialogue{*connection, limit_};
    const auto& url = context_.dialer.url();
    dialogue.say((url ? redis_log_in(*url) : std::string{}) + std::string{questions});
    if (url) require_log_in(dialogue, *url);
    return connection;
  }

  void step() {
    const auto events = [](const RedisConnection& c) {
      return static_cast<short>(c.wants_flush() ? POLLIN | POLLOUT : POLLIN);
    };
    std::array<pollfd, 4> polled{
        {{context_.wake.fd(), POLLIN, 0},
         {publish_->fd(), events(*publish_), 0},
         {subscribe_ ? subscribe_->fd() : -1, subscribe_ ? events(*subscribe_) : short{0}, 0},
         {subscribe_ ? context_.publisher.timer_fd() : -1, POLLIN, 0}}};
    const bool more = publish_->may_hold_more() || (subscribe_ && subscribe_->may_hold_more());
    ::poll(polled.data(), polled.size(), more ? 0 : poll_timeout(next_watch()));
    if (polled[0].revents != 0) context_.wake.drain();
    if (context_.live_session.load() != number_) return reopen();
    if (subscribe_ && (polled[2].revents != 0 || subscribe_->may_hold_more())) receive_messages();
    if (polled[1].revents != 0 || publish_->may_hold_more() || context_.publisher.waits_for_answer()) receive_answers();
    expect_answers(polled[3].revents != 0);
    if ((polled[1].revents & POLLOUT) != 0 && !context_.publisher.flush()) fail("the publish connection broke");
    if ((polled[2].revents & POLLOUT) != 0 && !subscribe_->flush()) fail("the subscribe connection broke");
    watch();
  }

  /// The connections are two, and the message may come before the answer, or not at all: an answer that is still owed a
  /// while after its command was written wakes the thread by itself. `due`: it is time for one.
  void expect_answers(bool due) {
    const bool late = (due && context_.publisher.is_late()) || (late_ && context_.publisher.waits_for_answer());
    if (std::exchange(late_, late) != late) publish_->tell_from(late ? 1 : longer_than_consent);
  }

  void reopen() {
    reopened_ = true;
    end_ = DisconnectReason{Errc::not_connected,
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
    check(publish_watch_, "the publish", [this] { ask_server(); });
    if (now() >= question_due_) ask_server();
    if (!subscribe_) return;
    check(subscribe_watch_, "the subscribe", [this] { subscribe_->write(std::array{redis_ping}); });
  }

  /// Whether it is still a primary; at the same time what keeps the connection alive.
  void ask_server() {
    question_due_ = now() + keep_alive;
    if (!std::exchange(question_open_, true)) context_.publisher.ask(question_);
  }

  [[nodiscard]] TimePoint next_watch() const noexcept {
    const TimePoint due = (std::min)(publish_watch_.due(), question_due_);
    return subscribe_ ? (std::min)(due, subscribe_watch_.due()) : due;
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
        case RespReader::Next::oversized: context_.sink.on_frame({}); break;  // no frame, but let it be counted
        case RespReader::Next::malformed: return fail(subscribe_->error());
        case RespReader::Next::more: return;
      }
    }
  }

  void deliver(const RespReply& reply) {
    if (reply.kind != RespReply::Kind::array || reply.word(0) != "message") return;
    const std::string_view message = reply.word(2);
    context_.sink.on_frame(std::as_bytes(std::span{message}));
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
    if (confirmed_) context_.sink.on_confirmed({number_, *std::exchange(confirmed_, std::nullopt)});
    return true;
  }

  void take_answer(const RespReply& reply) {
    if (refused_ || reply.push) return;
    const std::optional<RedisCommand> command = context_.publisher.answered();
    if (!command) return fail("the server answered what was not asked");
    if (command->kind == RedisCommand::Kind::question) return take_role(reply);
    const bool broadcast = command->kind == RedisCommand::Kind::broadcast;
    if (reply.kind == RespReply::Kind::error) return take_refusal(reply, broadcast);
    if (reply.kind != RespReply::Kind::integer) {  // in a transaction, for one, nothing is published
      refused_ = true;
      return fail("it answered '" + std::string{reply.word(0).substr(0, 64)} +
                  "' to a PUBLISH, and not with the number of receivers: is the connection in a transaction (MULTI)?");
    }
    if (!broadcast) return;
    confirmed_ = command->frame;
    confirmed_any_ = true;
  }

  void take_refusal(const RespReply& reply, bool broadcast) {
    const Errc code = redis_errc(reply.word(0));
    const std::string sentence = std::string{"the Redis server refused to publish to "} +
                                 (broadcast ? "" : "a node's own channel below ") + "'" + context_.channels.broadcast +
                                 "': " + std::string{reply.word(0)};
    if (!broadcast) return context_.problems.report(context_.sink, make_error_code(code), sentence, now());
    refused_ = true;  // whatever is accepted after it is not confirmed: a confirmation covers all frames before
    end_ = DisconnectReason{code, sentence};
  }

  /// An error is one that its user may not ask: but the server is alive.
  void take_role(const RespReply& reply) {
    question_open_ = false;
    context_.home.heard = now();
    const RedisRole role = redis_role(reply);
    if (role == RedisRole::replica || role == RedisRole::sentinel) fail(refusal_of_role(role));
  }

  void tell_unknown_role() {
    context_.problems.report(
        context_.sink, {},
        "the Redis server does not tell whether it is a primary or a replica: grant +info or +role, "
        "or a failover may go unnoticed",
        now());
  }

  void fail(const std::string& why) {
    if (!end_) end_ = DisconnectReason{Errc::not_connected, "lost the connection to the Redis server: " + why};
  }

  const RedisContext& context_;
  const DialLimit limit_;  // while it is made
  RedisServer server_;
  std::string_view question_;
  TimePoint question_due_{};
  bool question_open_ = false;
  std::unique_ptr<RedisConnection> publish_;
  std::unique_ptr<RedisConnection> subscribe_;  // none if publish_only
  IdleWatch publish_watch_{context_.settings.peer_timeout, now(), keep_alive};
  IdleWatch subscribe_watch_{context_.settings.peer_timeout, now(), keep_alive};
  std::uint64_t number_ = 0;
  std::optional<std::uint64_t> confirmed_;  // the last frame that was, of those not told yet
  bool late_ = false;                       // an answer is owed, and wakes the thread
  bool first_ = true;
  bool confirmed_any_ = false;
  bool refused_ = false;
  bool reopened_ = false;
  std::optional<DisconnectReason> end_;
};

}  // namespace syncbus::inline v1::detail
