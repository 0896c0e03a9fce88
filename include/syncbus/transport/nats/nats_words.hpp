// Turns a NATS server's reason for closing or refusing a connection into a sentence for the user. Pure.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// A reason that servers have words for.
struct NatsReason {
  std::string_view words;  ///< somewhere in theirs, in small letters
  Errc code;
  std::string_view sentence;  ///< behind "the server … "
};

inline constexpr std::array<NatsReason, 11> nats_reasons{{
    {"maximum connections exceeded", Errc::not_connected,
     "has as many connections as it allows: raise its max_connections, or close some"},
    {"maximum account active connections exceeded", Errc::not_connected,
     "allows this account no more connections: raise the account's limit (max_conn), or close some"},
    {"maximum control line exceeded", Errc::not_connected,
     "takes no subject of this length: choose a shorter one, or raise its max_control_line"},
    {"maximum subscriptions exceeded", Errc::not_connected,
     "allows this connection no more subscriptions, and a node needs two: raise its max_subscriptions"},
    {"maximum account active subscriptions exceeded", Errc::not_connected,
     "allows this account no more subscriptions, and a node needs two: raise the account's limit (max_subs)"},
    {"maximum payload", Errc::not_connected,
     "takes no message of this size any more: its max_payload has become smaller"},
    {"slow consumer", Errc::not_connected,
     "cut this node off because it read too slowly: see its max_pending and write_deadline"},
    {"stale connection", Errc::not_connected, "heard nothing of this node for too long: see its ping_interval"},
    {"authentication timeout", Errc::not_connected,
     "waited too long for this node to log in: is it, or the network, overloaded? (authorization { timeout })"},
    {"authorization violation", Errc::permission_denied, "does not accept the user, the password or the token"},
    {"authentication", Errc::permission_denied, "does not accept the user's credentials (any more)"},
}};

/// Why a connection to `server` is no more, or was not made. `words`: the server's or the client's, if any.
[[nodiscard]] inline DisconnectReason explain_nats(const std::string& server, std::string_view words) {
  std::string lower{words};
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const NatsReason& reason : nats_reasons) {
    if (lower.find(reason.words) == std::string::npos) continue;
    return {reason.code, server + " " + std::string{reason.sentence}};
  }
  const bool says_nothing = words.empty() || lower.find("connection closed") != std::string::npos ||
                            lower.find("connection disconnected") != std::string::npos;
  return {Errc::not_connected, "lost the connection to " + server + ": it ended, closed it, or the network did" +
                                   (says_nothing ? std::string{} : " (" + std::string{words} + ")")};
}

}  // namespace syncbus::inline v1::detail
