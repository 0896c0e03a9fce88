// The transport over NATS core: a thread that sends, and two that receive, one of them its own or lent.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/start_thread.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/nats/nats_sender.hpp>
#include <syncbus/transport/nats/nats_session.hpp>
#include <syncbus/transport/nats/nats_subject.hpp>
#include <syncbus/transport/nats/nats_url.hpp>

namespace syncbus::inline v1 {

/// Broadcasts go to `subject`, directed frames to `subject`.direct.<16 hex digits of the node>. Any thread may block in
/// the client while a server takes nothing, so publishers only hand frames over, and none of the client's threads runs
/// anything of ours: subscriptions are read by threads of the transport. Thread safety: as the concept says.
class NatsTransport {
 public:
  /// Clients see a connection that breaks, but not what servers of a cluster lose between themselves.
  static constexpr bool lossless_sessions = false;

  /// Both constructors only check their arguments: std::system_error (invalid_argument) for what is no subject, a null
  /// connection, a malformed URL. The connection stays the caller's, and must live until close() has returned.
  NatsTransport(natsConnection* connection, std::string_view subject, NatsTuning tuning = {})
      : NatsTransport{detail::NatsEndpoint{.callers = connection}, subject, tuning} {
    if (connection == nullptr) {
      throw std::system_error{make_error_code(Errc::invalid_argument),
                              "there is no natsConnection: the pointer is null"};
    }
  }

  /// urls: nats://[user:password@]host[:port], percent-encoded, an IPv6 address in brackets; several separated by
  /// commas.
  NatsTransport(std::string_view urls, std::string_view subject, NatsTuning tuning = {})
      : NatsTransport{detail::NatsEndpoint{.urls = detail::parse_nats_urls(urls)}, subject, tuning} {}

  NatsTransport(const NatsTransport&) = delete;
  NatsTransport& operator=(const NatsTransport&) = delete;
  ~NatsTransport() { close(); }

  /// Blocks until the first session is made. Throws std::system_error (not_connected, permission_denied,
  /// frame_too_large). It makes one attempt at each server, unless wait_for_broker says otherwise.
  void open(TransportSink& sink, const TransportSettings& settings) {
    detail::NatsContext& context = sender_->context();
    context.settings = settings;
    context.subjects.direct = detail::direct_nats_subject(context.subjects.broadcast, settings.self);
    context.sink.open(sink);
    sending_ = detail::start_thread([sender = sender_]() noexcept { sender->run(); });
    if (!settings.publish_only) {
      receiving_direct_ = detail::start_thread([this]() noexcept { receive_direct(); });
    }
    if (!settings.lends_threads) {
      receiving_ = detail::start_thread([this]() noexcept { static_cast<void>(serve(never_)); });
    }
    sender_->opening().begin();
    // An attempt takes connect_timeout. A caller's connection can be held up by others for longer, and our own by a
    // name server.
    gives_up_ = true;
    sender_->opening().wait_for_end(
        detail::deadline_after(settings.wait_for_broker + settings.connect_timeout + grace));
    gives_up_ = false;
  }

  /// See LendableTransport.
  [[nodiscard]] bool serve(const std::atomic<bool>& leave) noexcept {
    sender_->opening().wait_for_begin();  // lent threads may be here first
    while (!done()) {
      const auto session = sender_->session();
      while (session && !session->ended() && !done()) {
        session->receive_broadcast();
        session->watch_sender();
        if (leave.load(std::memory_order_relaxed)) return true;
      }
    }
    return false;
  }

  void broadcast(Bytes bytes, BroadcastToken token) noexcept { sender_->context().outbox.broadcast(bytes, token); }

  void send(NodeId node, Bytes bytes) noexcept {
    detail::NatsContext& context = sender_->context();
    context.outbox.send(detail::direct_nats_subject(context.subjects.broadcast, node), bytes);
  }

  /// Leaves it to the sender. Attempts to connect begin with the shortest pause again: the engine asks once in a
  /// peer_timeout at most.
  void reopen(std::uint64_t session) noexcept {
    detail::NatsContext& context = sender_->context();
    if (context.live_session.compare_exchange_strong(session, 0)) context.outbox.wake();
  }

  /// What was handed over before is sent. Waits for a sink call that is running, or an attempt to connect; when the
  /// client does not return, which a server that takes nothing can do to a connection without a write deadline
  /// (natsOptions_SetWriteDeadline), its thread is left behind.
  void close() noexcept {
    if (std::exchange(closed_, true)) return;
    const bool waits = sending_.joinable() && !(gives_up_ && !sender_->opening().ended());
    const bool ended = sender_->stop(detail::deadline_after(waits ? patience : Duration::zero()));
    sender_->context().sink.close();
    sender_->opening().begin();
    if (sending_.joinable()) ended ? sending_.join() : sending_.detach();
    if (receiving_direct_.joinable()) receiving_direct_.join();
    if (receiving_.joinable()) receiving_.join();
  }

 private:
  static constexpr Duration patience = std::chrono::seconds{1};
  static constexpr Duration grace = std::chrono::milliseconds{500};

  NatsTransport(detail::NatsEndpoint endpoint, std::string_view subject, NatsTuning tuning)
      : sender_{std::make_shared<detail::NatsSender>(std::move(endpoint),
                                                     detail::NatsSubjects{std::string{subject}, {}}, tuning)} {
    detail::require_nats_subject(subject);
  }

  [[nodiscard]] bool done() const noexcept { return sender_->context().closing.load() || sender_->ended(); }

  void receive_direct() noexcept {
    while (!done()) {
      const auto session = sender_->session();
      while (session && !session->ended() && !done()) session->receive_direct();
    }
  }

  std::shared_ptr<detail::NatsSender> sender_;
  const std::atomic<bool> never_ = false;
  bool closed_ = false;
  bool gives_up_ = false;  // open() has waited long enough
  std::thread sending_;  // these use all of the above
  std::thread receiving_direct_;
  std::thread receiving_;
};

static_assert(Transport<NatsTransport> && LendableTransport<NatsTransport>);

}  // namespace syncbus::inline v1
