// A connection to a NATS server, the bus's own or the caller's. The only file that includes cnats.
#pragma once

#include <nats/nats.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/base/close_on_exec.hpp>
#include <syncbus/base/own_sockets.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/nats/nats_url.hpp>
#include <syncbus/transport/nats/nats_words.hpp>
#include <syncbus/transport/session/resolve.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

struct NatsDeleter {
  void operator()(natsConnection* connection) const noexcept { natsConnection_Destroy(connection); }
  void operator()(natsOptions* options) const noexcept { natsOptions_Destroy(options); }
  void operator()(natsSubscription* subscription) const noexcept { natsSubscription_Destroy(subscription); }
  void operator()(natsStatistics* statistics) const noexcept { natsStatistics_Destroy(statistics); }
  void operator()(natsMsg* message) const noexcept { natsMsg_Destroy(message); }
};
template <class Handle>
using NatsHandle = std::unique_ptr<Handle, NatsDeleter>;

/// Milliseconds for cnats, which refuses 0.
[[nodiscard]] inline std::int64_t nats_milliseconds(Duration duration) noexcept {
  const auto whole = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return std::clamp<std::int64_t>(whole, 1, std::int64_t{24} * 3'600'000);
}

[[nodiscard]] inline std::string nats_text(natsStatus status) { return natsStatus_GetText(status); }

/// Throws ConnectError (not_connected) unless the call went well.
inline void require_nats(natsStatus status, std::string_view what) {
  if (status == NATS_OK) return;
  throw ConnectError{Errc::not_connected, std::string{what} + ": " + nats_text(status)};
}

/// The client's error text stands in an array that its reading thread may write at the same time, and there is no call
/// in every version that copies it under the client's lock (natsConnection_ReadLastError came later). The array is
/// never freed before the connection, and its last byte is always 0: the worst is a garbled word in a sentence for
/// people.
__attribute__((no_sanitize("thread"))) inline std::string copy_changing(const char* text) {
  constexpr std::size_t most = 255;
  const volatile char* const from = text;
  std::string copy;
  for (std::size_t i = 0; i != most; ++i) {
    const char c = from[i];
    if (c == '\0') break;
    copy += c;
  }
  return copy;
}

/// One subscription, read by one thread; close() may come from another.
class NatsSubscription {
 public:
  enum class Next : std::uint8_t { message, nothing, dropped, ended };

  NatsSubscription(natsConnection* connection, const std::string& subject) : connection_{connection} {
    natsSubscription* made = nullptr;
    require_nats(natsConnection_SubscribeSync(&made, connection, subject.c_str()), "the NATS client cannot subscribe");
    subscription_.reset(made);
    spent_.reserve(max_spent);
    require_nats(natsSubscription_SetPendingLimits(made, max_messages, max_bytes), "the NATS client refuses a limit");
  }

  NatsSubscription(const NatsSubscription&) = delete;
  NatsSubscription& operator=(const NatsSubscription&) = delete;

  /// Up to 3.5 the client's reader may still use a subscription that is destroyed while a message for it comes. A PONG
  /// goes through the same reader: after it, or on a connection that is closed, the reader has done with it. Blocks for
  /// a moment at most; while a server answers nothing, the reader is not at work either.
  ~NatsSubscription() {
    close();
    static_cast<void>(natsConnection_FlushTimeout(connection_, reader_patience));
  }

  /// Waits for the next message. `dropped`: the client had to drop some.
  [[nodiscard]] Next next(NatsHandle<natsMsg>& message, Duration patience) noexcept {
    natsMsg* got = nullptr;
    const natsStatus status = natsSubscription_NextMsg(&got, subscription_.get(), nats_milliseconds(patience));
    message.reset(got);
    switch (status) {
      case NATS_OK: return has_dropped() ? Next::dropped : Next::message;
      case NATS_TIMEOUT:
        spent_.clear();
        return Next::nothing;
      case NATS_NO_RESPONDERS: return Next::nothing;  // a stranger's status message, no frame of ours
      case NATS_SLOW_CONSUMER: return Next::dropped;
      default: return Next::ended;
    }
  }

  /// Takes a message back. The client frees messages on its own thread, and each message that is destroyed alone would
  /// wake it. So they are destroyed several at a time, or when nothing comes for a while.
  void take_back(NatsHandle<natsMsg> message) noexcept {
    if (static_cast<std::size_t>(natsMsg_GetDataLength(message.get())) > max_spent_bytes) return;
    if (spent_.size() == max_spent) spent_.clear();
    spent_.push_back(std::move(message));
  }

  /// Messages that wait to be read.
  [[nodiscard]] int waiting() const noexcept {
    int messages = 0;
    return natsSubscription_GetPending(subscription_.get(), &messages, nullptr) == NATS_OK ? messages : 0;
  }

  /// next() returns `ended` from now on. Writes to the connection, so it may block as long as a publish.
  void close() noexcept { static_cast<void>(natsSubscription_Unsubscribe(subscription_.get())); }

 private:
  /// Its status is of the last message only: a small one fits where a large one did not.
  [[nodiscard]] bool has_dropped() const noexcept {
    std::int64_t dropped = 0;
    return natsSubscription_GetDropped(subscription_.get(), &dropped) == NATS_OK && dropped != 0;
  }

  // What waits here is taken over at once into the engine's queue, whose bound is the one that counts. These are for a
  // machine that gives the reading thread no time.
  static constexpr int max_messages = 1 << 18;
  static constexpr int max_bytes = 64 << 20;

  static constexpr std::int64_t reader_patience = 200;  // milliseconds

  // At most 1 MiB of payload is kept.
  static constexpr std::size_t max_spent = 16;
  static constexpr std::size_t max_spent_bytes = std::size_t{64} << 10U;

  natsConnection* const connection_;  // lives as long as its subscriptions
  NatsHandle<natsSubscription> subscription_;
  std::vector<NatsHandle<natsMsg>> spent_;
};

/// How the bus's own connections are made.
struct NatsConnecting {
  std::string name;           ///< as the server lists it
  Duration timeout{};         ///< of one attempt at one server
  Duration write_deadline{};  ///< a write that takes longer breaks the connection
};

/// Everything here may block while a server takes nothing, for ever if the caller's connection has no write deadline. A
/// member that returns no status returns, when it fails, a value with which no session goes on. For one thread; others
/// may publish.
class NatsConnection {
 public:
  /// The caller's: never closed.
  explicit NatsConnection(natsConnection* callers)
      : connection_{callers}, server_{"the NATS server of the given connection"} {
    make_statistics();
  }

  /// Our own. It does not reconnect: a session has one connection, so nothing of it can be confirmed, or delivered, in
  /// another. Throws ConnectError.
  NatsConnection(const NatsUrl& url, const NatsConnecting& how)
      : own_{connect(url, how)}, connection_{own_.get()}, server_{server_at(url)} {
    make_statistics();
  }

  [[nodiscard]] bool is_own() const noexcept { return own_ != nullptr; }
  [[nodiscard]] natsConnection* get() const noexcept { return connection_; }
  [[nodiscard]] bool is_closed() const noexcept { return natsConnection_IsClosed(connection_); }
  [[nodiscard]] bool is_connected() const noexcept {
    return natsConnection_Status(connection_) == NATS_CONN_STATUS_CONNECTED;
  }

  /// How often it has lost its server and found one again.
  [[nodiscard]] std::uint64_t reconnects() const noexcept {
    std::uint64_t count = 0;
    if (natsConnection_GetStats(connection_, statistics_.get()) == NATS_OK) {
      natsStatistics_GetCounts(statistics_.get(), nullptr, nullptr, nullptr, nullptr, &count);
    }
    return count;
  }

  /// Where its server is; none: it cannot be told.
  [[nodiscard]] std::optional<SocketAddress> server_address() const noexcept {
    std::optional<SocketAddress> address;
    for_each_own_socket(connection_, [&](int fd) {
      SocketAddress peer{.size = sizeof peer.storage};
      if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.size) == 0) address = peer;
    });
    return address;
  }

  /// For is_the_same() and server_id(): what there is now.
  void remember() {
    reconnects_ = reconnects();
    std::array<char, 256> id{};
    const bool told = natsConnection_GetConnectedServerId(connection_, id.data(), id.size()) == NATS_OK;
    server_id_ = told ? id.data() : "";
  }

  /// Whether it has not lost its server since.
  [[nodiscard]] bool is_the_same() const noexcept { return is_connected() && reconnects() == reconnects_; }

  /// What the server called itself: another name with every start; empty: it did not say.
  [[nodiscard]] const std::string& server_id() const noexcept { return server_id_; }

  /// The other servers of its cluster, as its server has announced them so far, also when that has gone.
  [[nodiscard]] std::vector<std::string> announced() const {
    char** texts = nullptr;
    int count = 0;
    if (natsConnection_GetDiscoveredServers(connection_, &texts, &count) != NATS_OK) return {};
    const std::unique_ptr<char*, FreeMemory> array{texts};
    std::vector<std::unique_ptr<char, FreeMemory>> owned;
    std::vector<std::string> addresses;
    for (int i = 0; i < count; ++i) owned.emplace_back(texts[i]);
    for (const auto& text : owned) addresses.emplace_back(text.get());
    return addresses;
  }

  /// Whether its client knows of no other server than this one.
  [[nodiscard]] bool knows_no_other() const noexcept {
    char** texts = nullptr;
    int count = 0;
    if (natsConnection_GetServers(connection_, &texts, &count) != NATS_OK) return false;
    const std::unique_ptr<char*, FreeMemory> array{texts};
    for (int i = 0; i < count; ++i) std::free(texts[i]);
    return count == 1;
  }

  [[nodiscard]] std::size_t max_payload() const noexcept {
    return static_cast<std::size_t>((std::max)(natsConnection_GetMaxPayload(connection_), std::int64_t{0}));
  }
  /// Throws ConnectError when the server, if there is one now, takes too small messages.
  void require_payload() const {
    if (is_connected()) require_frame_bytes(max_payload(), server_ + ", by its max_payload,");
  }

  /// To the socket, if it is our own; else into the client's buffer, and to the socket what does not fit. `reply`
  /// travels with it.
  [[nodiscard]] natsStatus publish(const char* subject, const char* reply, Bytes bytes) noexcept {
    const int size = static_cast<int>(bytes.size());
    return reply == nullptr ? natsConnection_Publish(connection_, subject, bytes.data(), size)
                            : natsConnection_PublishRequest(connection_, subject, reply, bytes.data(), size);
  }

  /// Sends what is buffered, and waits until the server has answered that it has taken everything so far: NATS_OK,
  /// NATS_TIMEOUT, or how it broke.
  [[nodiscard]] natsStatus flush(Duration patience) noexcept {
    // cnats (seen in 3.4.1 to 3.14) returns NATS_OK also when it could not even write its PING. Then, and only then, it
    // leaves an error in this thread: an OK with an empty error store is a PONG that came.
    natsStatus left = NATS_OK;
    nats_GetLastError(&left);
    if (left != NATS_OK) nats_ReleaseThreadMemory();
    const natsStatus status = natsConnection_FlushTimeout(connection_, nats_milliseconds(patience));
    if (status != NATS_OK) return status;
    nats_GetLastError(&left);
    return left;
  }

  /// Whether the server has refused something, and its latest word about it, which is kept until the connection is made
  /// anew.
  [[nodiscard]] bool has_refused() const noexcept {
    const char* text = nullptr;
    return natsConnection_GetLastError(connection_, &text) == NATS_NOT_PERMITTED;
  }
  [[nodiscard]] std::string last_refusal() const {
    const char* text = nullptr;
    if (natsConnection_GetLastError(connection_, &text) != NATS_NOT_PERMITTED || text == nullptr) return {};
    return copy_changing(text);
  }

  /// Why it is not connected.
  [[nodiscard]] DisconnectReason end() const {
    if (!is_own() && natsConnection_IsDraining(connection_)) {
      return {Errc::not_connected, "the given NATS connection is being drained (natsConnection_Drain), which ends it: "
                                   "close the bus before that, and make a new one for another connection"};
    }
    const char* text = nullptr;
    const natsStatus status = natsConnection_GetLastError(connection_, &text);
    const bool said = status != NATS_OK && status != NATS_NOT_PERMITTED && text != nullptr;
    DisconnectReason why = explain_nats(server_, said ? copy_changing(text) : std::string{});
    if (!is_own() && is_closed()) {
      why.sentence += "; the given connection is closed for good, and the bus stays disconnected: let the client "
                      "reconnect for ever (natsOptions_SetMaxReconnect of -1), or give a URL";
    }
    return why;
  }

 private:
  struct FreeMemory {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };

  void make_statistics() {
    natsStatistics* made = nullptr;
    require_nats(natsStatistics_Create(&made), "the NATS client");
    statistics_.reset(made);
  }

  /// The session finds errors by itself. Where nobody handles them, newer clients write them to the standard error.
  static void stay_silent(natsConnection*, natsSubscription*, natsStatus, void*) noexcept {}

  static NatsHandle<natsConnection> connect(const NatsUrl& url, const NatsConnecting& how) {
    natsOptions* made = nullptr;
    require_nats(natsOptions_Create(&made), "the NATS client");
    const NatsHandle<natsOptions> options{made};
    const std::string address = "nats://" + url.address();
    natsStatus status = natsOptions_SetURL(made, address.c_str());
    const auto set = [&](natsStatus next) { status = status == NATS_OK ? next : status; };
    if (url.password) {
      set(natsOptions_SetUserInfo(made, url.user.c_str(), url.password->c_str()));
    } else if (!url.user.empty()) {
      set(natsOptions_SetToken(made, url.user.c_str()));
    }
    set(natsOptions_SetName(made, how.name.c_str()));
    set(natsOptions_SetTimeout(made, nats_milliseconds(how.timeout)));
    set(natsOptions_SetWriteDeadline(made, nats_milliseconds(how.write_deadline)));
    set(natsOptions_SetAllowReconnect(made, false));
    set(natsOptions_SetSendAsap(made, true));
    set(natsOptions_SetIOBufSize(made, 1 << 18));  // several frames a read
    set(natsOptions_SetErrorHandler(made, stay_silent, nullptr));
    require_nats(status, "the NATS client refuses an option");

    natsConnection* connection = nullptr;
    status = natsConnection_Connect(&connection, made);
    if (status == NATS_OK) {
      keep_from_programs(connection);
      return NatsHandle<natsConnection>{connection};
    }
    const char* const words = nats_GetLastError(nullptr);  // of this thread
    throw failure(status, server_at(url), words == nullptr ? std::string_view{} : std::string_view{words});
  }

  /// The client does not open its socket so: a program that inherits it would keep the connection when this one ends.
  static void keep_from_programs(natsConnection* connection) noexcept {
    for_each_own_socket(connection, close_on_exec);
  }

  /// Calls `each(fd)` for the socket of a connection, which the client does not tell, if there is one.
  template <class Each>
  static void for_each_own_socket(natsConnection* connection, const Each& each) noexcept {
    char* ip = nullptr;
    int port = 0;
    if (natsConnection_GetLocalIPAndPort(connection, &ip, &port) != NATS_OK) return;
    const std::unique_ptr<char, FreeMemory> owned{ip};
    for_each_socket(ip, port, each);
  }

  [[nodiscard]] static std::string server_at(const NatsUrl& url) { return "the NATS server at " + url.address(); }

  /// A server that is full says so and hangs up, often before the client listens.
  [[nodiscard]] static DisconnectReason hung_up(const std::string& server) {
    return {Errc::not_connected,
            server + " hung up at once: it may have as many connections as it allows (max_connections)"};
  }

  [[nodiscard]] static ConnectError failure(natsStatus status, const std::string& server, std::string_view words) {
    switch (status) {
      case NATS_CONNECTION_AUTH_FAILED:
      case NATS_NOT_PERMITTED:
        return {Errc::permission_denied, server + " refused the user or password of the URL: " + nats_text(status)};
      case NATS_SECURE_CONNECTION_REQUIRED:
      case NATS_SSL_ERROR:
        return {
            Errc::not_connected,
            server + " wants TLS, which is not opened by URL: pass a natsConnection made with natsOptions_SetSecure"};
      case NATS_NO_SERVER:
        return {Errc::not_connected, server + " cannot be reached: check the address, and that it runs"};
      case NATS_TIMEOUT:
        return {Errc::not_connected, server + " does not answer in time: it is stopped, far away, or none"};
      case NATS_CONNECTION_CLOSED:
        if (words.ends_with(nats_text(status))) return ConnectError{hung_up(server)};
        return ConnectError{explain_nats(server, words)};
      case NATS_PROTOCOL_ERROR:
        if (words.find("PONG") != std::string_view::npos) return ConnectError{hung_up(server)};
        return {Errc::not_connected, "what answers at the address of " + server + " does not speak its protocol"};
      case NATS_SYS_ERROR:
      case NATS_NO_MEMORY:
        return {Errc::not_connected, "the NATS client has no thread or no memory for a connection to " + server};
      default: return ConnectError{explain_nats(server, words)};
    }
  }

  NatsHandle<natsConnection> own_;
  natsConnection* connection_;
  std::string server_;
  NatsHandle<natsStatistics> statistics_;
  std::uint64_t reconnects_ = 0;
  std::string server_id_;
};

[[nodiscard]] inline Bytes bytes_of(const natsMsg& message) noexcept {
  return std::as_bytes(std::span{natsMsg_GetData(&message), static_cast<std::size_t>(natsMsg_GetDataLength(&message))});
}

/// Empty if it has none.
[[nodiscard]] inline std::string_view reply_of(const natsMsg& message) noexcept {
  const char* const reply = natsMsg_GetReply(&message);
  return reply == nullptr ? std::string_view{} : std::string_view{reply};
}

}  // namespace syncbus::inline v1::detail
