// What is asked of a Redis server before a session begins, and what its refusals mean.
#pragma once

#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <syncbus/detail/poll_timeout.hpp>
#include <syncbus/detail/redis_url.hpp>
#include <syncbus/detail/resp.hpp>
#include <syncbus/detail/resp_reader.hpp>
#include <syncbus/detail/wake_fd.hpp>
#include <syncbus/error.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport/redis_connection.hpp>

namespace syncbus::inline v1::detail {

[[nodiscard]] inline bool is_refusal(std::string_view error) noexcept {
  return error.starts_with("NOPERM") || error.starts_with("NOAUTH") || error.starts_with("WRONGPASS");
}

[[nodiscard]] inline Errc redis_errc(std::string_view error) noexcept {
  return is_refusal(error) ? Errc::permission_denied : Errc::transport_failure;
}

/// Commands and their replies, one after the other, until a deadline, or until a stop ends it with Errc::closed.
class RedisDialogue {
 public:
  RedisDialogue(RedisConnection& connection, TimePoint deadline, WakeFd& wake, const std::atomic<bool>& stop) noexcept
      : connection_{connection}, deadline_{deadline}, wake_{wake}, stop_{stop} {}

  void say(std::string_view commands) { connection_.write(std::array{commands}); }

  /// Its words are valid until the next call. The replies after it stay where they are.
  [[nodiscard]] RespReply hear() {
    RespReply reply;
    for (;;) {
      switch (connection_.next(reply)) {
        case RespReader::Next::reply: return reply;
        case RespReader::Next::malformed: fail(connection_.error());
        case RespReader::Next::oversized: break;
        case RespReader::Next::more: receive();
      }
    }
  }

  [[nodiscard]] RespReply ask(std::string_view command) {
    say(command);
    return hear();
  }

 private:
  [[noreturn]] static void fail(std::string_view why) {
    throw SessionFailure{Errc::not_connected, "the Redis server did not complete the greeting: " + std::string{why}};
  }

  void receive() {
    for (;;) {
      if (connection_.wants_flush() && !connection_.flush()) fail("the connection broke");
      const auto received = connection_.receive();
      if (received == RedisConnection::Received::some) return;
      if (received == RedisConnection::Received::broken) fail(connection_.error());
      wait();
    }
  }

  void wait() {
    const int events = connection_.wants_flush() ? POLLIN | POLLOUT : POLLIN;
    std::array<pollfd, 2> waited{{{connection_.fd(), static_cast<short>(events), 0}, {wake_.fd(), POLLIN, 0}}};
    ::poll(waited.data(), waited.size(), poll_timeout(deadline_));
    if (waited[1].revents != 0) wake_.drain();
    if (stop_.load()) throw SessionFailure{Errc::closed, "the transport is being closed"};
    if (std::chrono::steady_clock::now() >= deadline_) fail("it did not answer in time; is it stopped, or loading?");
  }

  RedisConnection& connection_;
  TimePoint deadline_;
  WakeFd& wake_;
  const std::atomic<bool>& stop_;
};

/// The channels of one node, and whose permissions count.
struct RedisChannels {
  std::string broadcast;
  std::string direct;  ///< this node's own
  std::string user;    ///< as people know it; empty: not known
};

[[noreturn]] inline void refuse_greeting(const RespReply& reply, const RedisChannels& channels, std::string_view verb) {
  const std::string said{reply.word(0)};
  if (!is_refusal(said)) throw SessionFailure{Errc::not_connected, "the Redis server refused to begin: " + said};
  if (!said.starts_with("NOPERM")) {
    throw SessionFailure{Errc::permission_denied,
                         "the Redis server wants a password: give it in the URL, redis://user:password@host, or "
                         "authenticate in the RedisConnector (" +
                             said + ")"};
  }
  const std::string who = channels.user.empty() ? "the user of this connection" : "user '" + channels.user + "'";
  const std::string grantee = channels.user.empty() ? "<user>" : channels.user;
  throw SessionFailure{Errc::permission_denied, who + " may not " + std::string{verb} + " channel '" +
                                                    channels.broadcast + "': grant it with ACL SETUSER " + grantee +
                                                    " &" + channels.broadcast + " &" + channels.broadcast +
                                                    ".direct.* +subscribe +publish +ping (" + said + ")"};
}

/// AUTH and SELECT, as the URL says.
inline void greet_as(RedisDialogue& dialogue, const RedisUrl& url) {
  if (url.password) {
    const RespReply reply = url.user.empty() ? dialogue.ask(resp_command({"AUTH", *url.password}))
                                             : dialogue.ask(resp_command({"AUTH", url.user, *url.password}));
    if (reply.kind == RespReply::Kind::error) {
      const std::string_view said = reply.word(0);
      const bool later = said.starts_with("LOADING") || said.find("max number of clients") != std::string_view::npos;
      throw SessionFailure{later ? Errc::not_connected : Errc::permission_denied,
                           "the Redis server refused the user or the password: " + std::string{said}};
    }
  }
  if (url.database == 0) return;
  const RespReply reply = dialogue.ask(resp_command({"SELECT", std::to_string(url.database)}));
  if (reply.kind == RespReply::Kind::error) {
    throw SessionFailure{
        redis_errc(reply.word(0)),
        "the Redis server refused database " + std::to_string(url.database) + ": " + std::string{reply.word(0)}};
  }
}

/// Throws if the user may not publish. Permissions are checked when a command is queued in a transaction, and the
/// transaction is discarded: nobody hears anything. (At its maxmemory a server refuses to queue with OOM, after that
/// check, and publishes all the same.) Who may not do that asks by an empty message to the own channel.
inline void require_publish(RedisDialogue& dialogue, const RedisChannels& channels) {
  const std::string broadcast = resp_command({"PUBLISH", channels.broadcast, ""});
  const std::string direct = resp_command({"PUBLISH", channels.direct, ""});
  const RespReply begun = dialogue.ask(resp_command({"MULTI"}));
  if (begun.kind == RespReply::Kind::error) {
    if (!begun.word(0).starts_with("NOPERM")) refuse_greeting(begun, channels, "publish to");
    const RespReply reply = dialogue.ask(direct);
    if (reply.kind == RespReply::Kind::error) refuse_greeting(reply, channels, "publish to");
    return;
  }
  for (const std::string& command : {broadcast, direct}) {
    const RespReply reply = dialogue.ask(command);
    const bool refused = reply.kind == RespReply::Kind::error && !reply.word(0).starts_with("OOM");
    if (refused) refuse_greeting(reply, channels, "publish to");
  }
  static_cast<void>(dialogue.ask(resp_command({"DISCARD"})));
}

/// Returns when the server has confirmed both subscriptions. One command, so that nothing comes between the
/// confirmations; a message behind them is left for the session.
inline void subscribe(RedisDialogue& dialogue, const RedisChannels& channels) {
  dialogue.say(resp_command({"SUBSCRIBE", channels.direct, channels.broadcast}));
  for (int confirmed = 0; confirmed != 2;) {
    const RespReply reply = dialogue.hear();
    if (reply.kind == RespReply::Kind::error) refuse_greeting(reply, channels, "subscribe to");
    if (reply.kind == RespReply::Kind::array && reply.word(0) == "subscribe") ++confirmed;
  }
}

}  // namespace syncbus::inline v1::detail
