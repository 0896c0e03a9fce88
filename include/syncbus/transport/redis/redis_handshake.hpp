// What is asked of a Redis server before a session begins, and what its refusals mean. Questions that depend on no
// answer go out together: a server may be many milliseconds away.
#pragma once

#include <poll.h>

#include <array>
#include <chrono>
#include <string>
#include <string_view>

#include <syncbus/base/deadline.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport/redis/redis_connection.hpp>
#include <syncbus/transport/redis/redis_dialer.hpp>
#include <syncbus/transport/redis/redis_server.hpp>
#include <syncbus/transport/redis/redis_url.hpp>
#include <syncbus/transport/redis/resp.hpp>
#include <syncbus/transport/redis/resp_reader.hpp>
#include <syncbus/transport/session/session_error.hpp>

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
  RedisDialogue(RedisConnection& connection, const DialLimit& limit) noexcept
      : connection_{connection}, limit_{limit} {}

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
    throw ConnectError{Errc::not_connected, "the Redis server did not complete the greeting: " + std::string{why}};
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
    std::array<pollfd, 2> waited{
        {{connection_.fd(), static_cast<short>(events), 0}, {limit_.wake.fd(), POLLIN, 0}}};
    ::poll(waited.data(), waited.size(), poll_timeout(limit_.deadline));
    if (waited[1].revents != 0) limit_.look_up();
    if (limit_.over()) fail("it did not answer in time; is it stopped, or loading?");
  }

  RedisConnection& connection_;
  const DialLimit limit_;
};

/// The channels of one node, and whose permissions count.
struct RedisChannels {
  std::string broadcast;
  std::string direct;  ///< this node's own
  std::string user;    ///< as people know it; empty: not known
};

/// `channel`: the one of them that was refused.
[[noreturn]] inline void refuse_greeting(const RespReply& reply, const RedisChannels& channels, std::string_view verb,
                                         std::string_view channel) {
  const std::string said{reply.word(0)};
  if (reply.kind != RespReply::Kind::error) {
    throw ConnectError{Errc::transport_failure,
                       "the Redis server answered '" + said + "' in the greeting, which says nothing"};
  }
  if (!is_refusal(said)) throw ConnectError{Errc::not_connected, "the Redis server refused to begin: " + said};
  if (!said.starts_with("NOPERM")) {
    throw ConnectError{Errc::permission_denied,
                       "the Redis server wants a password: give it in the URL, redis://user:password@host, or "
                       "authenticate in the RedisConnector (" +
                           said + ")"};
  }
  const std::string who = channels.user.empty() ? "the user of this connection" : "user '" + channels.user + "'";
  const std::string grantee = channels.user.empty() ? "<user>" : channels.user;
  const std::string what = channel == channels.direct ? "the nodes' own channels '" + channels.broadcast + ".direct.*'"
                                                      : "channel '" + channels.broadcast + "'";
  throw ConnectError{Errc::permission_denied, who + " may not " + std::string{verb} + " " + what +
                                                    ": grant it with ACL SETUSER " + grantee + " &" +
                                                    channels.broadcast + " &" + channels.broadcast +
                                                    ".direct.* +subscribe +publish +ping (" + said + ")"};
}

/// AUTH and SELECT, as the URL says.
[[nodiscard]] inline std::string redis_log_in(const RedisUrl& url) {
  std::string commands;
  if (url.password) {
    commands = url.user.empty() ? resp_command({"AUTH", *url.password})
                                : resp_command({"AUTH", url.user, *url.password});
  }
  if (url.database != 0) commands += resp_command({"SELECT", std::to_string(url.database)});
  return commands;
}

/// Hears what the server answers to them.
inline void require_log_in(RedisDialogue& dialogue, const RedisUrl& url) {
  if (url.password) {
    const RespReply reply = dialogue.hear();
    if (reply.kind == RespReply::Kind::error) {
      const std::string_view said = reply.word(0);
      const bool later = said.starts_with("LOADING") || said.find("max number of clients") != std::string_view::npos;
      throw ConnectError{later ? Errc::not_connected : Errc::permission_denied,
                         "the Redis server refused the user or the password: " + std::string{said}};
    }
  }
  if (url.database == 0) return;
  const RespReply reply = dialogue.hear();
  if (reply.kind == RespReply::Kind::error) {
    throw ConnectError{
        redis_errc(reply.word(0)),
        "the Redis server refused database " + std::to_string(url.database) + ": " + std::string{reply.word(0)}};
  }
}

// --- which server it is

/// The questions that tell its role, the cheapest first. Every user may ask the first, on servers that know it; the
/// others need a permission.
inline constexpr std::string_view redis_hello = "*1\r\n$5\r\nHELLO\r\n";
inline constexpr std::string_view redis_ask_role = "*1\r\n$4\r\nROLE\r\n";
inline constexpr std::string_view redis_info_replication = "*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";
inline constexpr std::string_view redis_info_server = "*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
inline constexpr std::string_view redis_ping = "*1\r\n$4\r\nPING\r\n";

[[nodiscard]] inline std::string refusal_of_role(RedisRole role) {
  if (role == RedisRole::sentinel) {
    return "this is a Redis Sentinel and no server for a bus: ask it for the primary in a RedisConnector, and connect "
           "there";
  }
  return "the Redis server is a replica: what is published there reaches none of the nodes on the primary; connect to "
         "the primary (in a RedisConnector that asks Sentinel, after a failover)";
}

/// Whether it says that it is a primary; throws when it is something else.
[[nodiscard]] inline bool is_primary(const RespReply& reply) {
  const RedisRole role = redis_role(reply);
  if (role == RedisRole::replica || role == RedisRole::sentinel) {
    throw ConnectError{Errc::not_connected, refusal_of_role(role)};
  }
  return role == RedisRole::primary;
}

/// Asks which server it is; then begins the transaction whose answer may_publish() hears first.
[[nodiscard]] inline std::string redis_introduction() {
  return std::string{redis_info_server} + std::string{redis_info_replication} + std::string{redis_hello} +
         resp_command({"MULTI"});
}

/// Hears who the server is. Returns whether HELLO told that it is a primary; throws when it is something else.
[[nodiscard]] inline bool hear_introduction(RedisDialogue& dialogue, RedisServer& server) {
  const auto text = [&] {
    const RespReply reply = dialogue.hear();
    return reply.kind == RespReply::Kind::text ? std::string{reply.word(0)} : std::string{};
  };
  const std::string process = text();
  const auto now = std::chrono::steady_clock::now();
  learn_redis_server(process, text(), now, server);
  return is_primary(dialogue.hear());
}

/// The question by which to watch that a server stays a primary, where HELLO does not tell: a PING where nothing does.
[[nodiscard]] inline std::string_view question_of_role(RedisDialogue dialogue) {
  for (const std::string_view question : {redis_ask_role, redis_info_replication}) {
    if (is_primary(dialogue.ask(question))) return question;
  }
  return redis_ping;
}

// --- what its user may do

[[nodiscard]] inline bool is_status(const RespReply& reply, std::string_view word) noexcept {
  return reply.kind == RespReply::Kind::status && reply.word(0) == word;
}

/// Hears the answer to a MULTI, and throws if the user may not publish. Permissions are checked when a command is
/// queued in a transaction, and the transaction is discarded: nobody hears anything. (At its maxmemory a server refuses
/// to queue with OOM, after that check, and publishes all the same.) Who may not do that asks by an empty message to
/// the own channel, where nobody hears yet. Returns false when the user may begin a transaction but not discard it: the
/// connection stays in it, and is of no use.
[[nodiscard]] inline bool may_publish(RedisDialogue dialogue, const RedisChannels& channels) {
  const RespReply begun = dialogue.hear();
  if (begun.kind == RespReply::Kind::error && begun.word(0).starts_with("NOPERM")) {
    const RespReply reply = dialogue.ask(resp_command({"PUBLISH", channels.direct, ""}));
    if (reply.kind != RespReply::Kind::integer) refuse_greeting(reply, channels, "publish to", channels.direct);
    return true;
  }
  if (!is_status(begun, "OK")) refuse_greeting(begun, channels, "publish to", channels.broadcast);
  dialogue.say(resp_command({"PUBLISH", channels.broadcast, ""}) + resp_command({"PUBLISH", channels.direct, ""}) +
               resp_command({"DISCARD"}));
  for (const std::string& channel : {channels.broadcast, channels.direct}) {
    const RespReply reply = dialogue.hear();
    const bool full = reply.kind == RespReply::Kind::error && reply.word(0).starts_with("OOM");
    if (!full && !is_status(reply, "QUEUED")) refuse_greeting(reply, channels, "publish to", channel);
  }
  return is_status(dialogue.hear(), "OK");
}

/// One command for both channels, so that nothing comes between the confirmations. Before it goes the question which
/// server this is, if the other connection's server has told.
[[nodiscard]] inline std::string redis_subscribe(const RedisChannels& channels, const RedisServer& other) {
  return std::string{other.run_id.empty() ? std::string_view{} : redis_info_server} +
         resp_command({"SUBSCRIBE", channels.direct, channels.broadcast});
}

/// Returns when the server has confirmed both subscriptions; a message behind them is left for the session.
inline void require_subscribed(RedisDialogue& dialogue, const RedisChannels& channels) {
  for (int confirmed = 0; confirmed != 2;) {
    const RespReply reply = dialogue.hear();
    if (reply.kind == RespReply::Kind::array && reply.word(0) == "subscribe") ++confirmed;
    if (reply.kind == RespReply::Kind::error) refuse_greeting(reply, channels, "subscribe to", channels.broadcast);
  }
}

/// Hears which server this is, if `known` has a run_id; throws if both servers tell theirs and they differ.
inline void require_same_server(RedisDialogue& dialogue, const RedisServer& known) {
  if (known.run_id.empty()) return;
  const RespReply reply = dialogue.hear();
  const std::string_view run_id = redis_info(reply.word(0), "run_id");
  if (reply.kind != RespReply::Kind::text || run_id.empty() || run_id == known.run_id) return;
  throw ConnectError{Errc::not_connected,
                     "the two connections of this node have reached two Redis servers: what is published on one need "
                     "not come back on the other; all connections of all nodes must go to the same primary"};
}

}  // namespace syncbus::inline v1::detail
