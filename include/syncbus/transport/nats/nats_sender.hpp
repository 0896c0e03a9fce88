// The thread of a NATS transport that may block in the client: it makes one session after the other, and sends.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/nats/nats_connection.hpp>
#include <syncbus/transport/nats/nats_greeting.hpp>
#include <syncbus/transport/nats/nats_info.hpp>
#include <syncbus/transport/nats/nats_outbox.hpp>
#include <syncbus/transport/nats/nats_place.hpp>
#include <syncbus/transport/nats/nats_servers.hpp>
#include <syncbus/transport/nats/nats_session.hpp>
#include <syncbus/transport/nats/nats_url.hpp>
#include <syncbus/transport/session/attempts.hpp>
#include <syncbus/transport/session/opening.hpp>
#include <syncbus/transport/session/reconnect_tuning.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1 {

/// By URL each session is a connection of its own, and each server is given an attempt's time; the caller's connection
/// reconnects by its own options, and attempts begin when it has.
using NatsTuning = ReconnectTuning;

namespace detail {

/// Where the server is: behind the caller's connection, or else at one of the URLs.
struct NatsEndpoint {
  natsConnection* callers = nullptr;
  std::vector<NatsUrl> urls{};
};

/// Owned by all threads of a transport: one that hangs in the client is left behind with it. What is public may be
/// called from any thread, but run().
class NatsSender {
 public:
  NatsSender(NatsEndpoint endpoint, NatsSubjects subjects, NatsTuning tuning)
      : endpoint_{std::move(endpoint)}, tuning_{tuning}, context_{.subjects = std::move(subjects), .settings = {}} {}

  [[nodiscard]] NatsContext& context() noexcept { return context_; }
  [[nodiscard]] Opening& opening() noexcept { return opening_; }

  /// All the sender's work, until the transport is closed or cannot be opened.
  void run() noexcept {
    attempts_.emplace(context_.settings, tuning_, context_.settings.connect_timeout, now());
    if (endpoint_.callers == nullptr) servers_.emplace(endpoint_.urls, attempts_seed(context_.settings, now()));
    while (!context_.closing.load() && !failed_) {
      if (const auto session = attempt()) serve(*session);
    }
    publish_session(nullptr);
    const std::lock_guard lock{mutex_};
    ended_ = true;
    changed_.notify_all();
  }

  /// The session that receivers read from; waits for one that has not ended, for the end (null), or a while (null).
  [[nodiscard]] std::shared_ptr<NatsSession> session() {
    const auto live = [this] { return session_ && !session_->ended(); };
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, NatsSession::look_around, [&] { return live() || ended_; });
    return live() ? session_ : nullptr;
  }

  /// Whether run() has nothing more to do.
  [[nodiscard]] bool ended() const noexcept {
    const std::lock_guard lock{mutex_};
    return ended_;
  }

  /// Returns whether run() has ended by the deadline.
  [[nodiscard]] bool stop(TimePoint deadline) noexcept {
    context_.closing.store(true);
    context_.outbox.wake();
    std::unique_lock lock{mutex_};
    changed_.notify_all();
    return changed_.wait_until(lock, deadline, [this] { return ended_; });
  }

 private:
  /// How often an idle connection is looked at: cnats tells nobody of a reconnect.
  static constexpr Duration check_interval = std::chrono::milliseconds{100};

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  // --- making sessions

  [[nodiscard]] std::shared_ptr<NatsSession> attempt() noexcept {
    try {
      if (!wait_for_turn()) return nullptr;
      auto session = attempts_->had_session() ? next_session() : first_session();
      begin(session);
      return session;
    } catch (const ConnectError& failure) {
      fail(unless_without_descriptors(failure.end()));
    } catch (const std::exception& error) {
      fail({Errc::not_connected, error.what()});
    }
    return nullptr;
  }

  [[nodiscard]] std::shared_ptr<NatsSession> first_session() {
    const Duration limit = attempts_->limit();
    const TimePoint deadline = deadline_after(limit);
    const auto servers = static_cast<Duration::rep>(servers_ ? servers_->size() : 1);
    return make_session(connect(limit / servers), deadline);
  }

  [[nodiscard]] std::shared_ptr<NatsSession> next_session() {
    const Duration limit = attempts_->limit();
    NatsConnection connection = connect(limit);  // which may take as long, at a server that says nothing
    return make_session(std::move(connection), deadline_after(limit));
  }

  [[nodiscard]] std::shared_ptr<NatsSession> make_session(NatsConnection connection, TimePoint deadline) {
    connection.require_payload();
    greeting_.ask(knows_others(connection) ? std::nullopt : connection.server_address());  // meanwhile
    return std::make_shared<NatsSession>(context_, std::move(connection), number_ + 1, deadline);
  }

  /// Tries the servers in turn, beginning behind the one that was tried last. Of several failures it throws the one
  /// that a person has to mend.
  [[nodiscard]] NatsConnection connect(Duration timeout) {
    if (!servers_) return NatsConnection{endpoint_.callers};
    const NatsConnecting how{"syncbus " + to_string(context_.settings.self), timeout, context_.settings.peer_timeout};
    const std::size_t servers = servers_->size();
    std::optional<ConnectError> refusal;
    for (std::size_t tried = 1;; ++tried) {
      server_ = servers_->next();
      try {
        NatsConnection connection{server_, how};
        servers_->announce(connection.announced(), server_);
        return connection;
      } catch (const ConnectError& failure) {
        if (failure.end().code == Errc::permission_denied) refusal = failure;
        if (tried != servers && !context_.closing.load()) continue;
        if (refusal) throw ConnectError{*refusal};
        throw;
      }
    }
  }

  void begin(const std::shared_ptr<NatsSession>& session) {
    number_ = session->number();
    context_.live_session.store(number_);
    context_.outbox.start(number_, session->writer());
    context_.sink.tell([place = place_of(*session)](TransportSink& sink) { sink.on_place(place); });
    context_.sink.tell([&](TransportSink& sink) { sink.on_ready(number_, session->connection().max_payload()); });
    publish_session(session);
    const bool first = !attempts_->had_session();
    attempts_->succeeded();
    if (first) opening_.end(nullptr);
  }

  void fail(const DisconnectReason& why) noexcept {
    if (!attempts_->failed(why.code, now())) {
      failed_ = true;
      return opening_.end(&why);
    }
    if (!attempts_->had_session()) opening_.note(why);
    if (!context_.closing.load()) context_.report(why);
  }

  /// Waits for the time of the next attempt. False if there will be none.
  [[nodiscard]] bool wait_for_turn() {
    pause_until(attempts_->due());
    if (endpoint_.callers == nullptr || !attempts_->had_session()) return !context_.closing.load();
    const NatsConnection connection{endpoint_.callers};
    while (!context_.closing.load() && !connection.is_connected()) {
      if (connection.is_closed() && !std::exchange(told_closed_, true)) {
        context_.report(connection.end());
      }
      pause_until(now() + check_interval);
    }
    return !context_.closing.load();
  }

  void pause_until(TimePoint time) noexcept {
    std::unique_lock lock{mutex_};
    changed_.wait_until(lock, time, [this] { return context_.closing.load(); });
  }

  // --- during a session

  void serve(NatsSession& session) noexcept {
    while (!session.ended() && !context_.closing.load()) {
      context_.outbox.take(batch_, now() + check_interval);
      session.send(batch_);
      session.check();
    }
    if (!session.ended()) say_last_words(session);
    if (servers_) servers_->announce(session.connection().announced(), server_);
    publish_session(nullptr);
    session.close();
    if (!session.ended()) return;
    const DisconnectReason why = session.wait_for_end();
    if (session.did_well()) attempts_->did_well();
    fail(why);
  }

  /// Whether the next session could be at another server than this one, as far as the client knows.
  [[nodiscard]] bool knows_others(const NatsConnection& connection) const noexcept {
    return (servers_ && servers_->size() != 1) || !connection.knows_no_other();
  }

  /// Where a session is that begins, if the next one could only be there, too: its server was asked meanwhile.
  [[nodiscard]] std::uint64_t place_of(const NatsSession& session) noexcept {
    greeting_.wait_until(now() + NatsSession::look_around);
    const std::string& id = session.connection().server_id();
    const bool only_there = is_without_cluster(greeting_.text(), id) && !knows_others(session.connection());
    return only_there ? nats_place(id) : 0;
  }

  void say_last_words(NatsSession& session) noexcept {
    context_.outbox.take(batch_, now());
    session.send(batch_);
    session.flush_last();
  }

  void publish_session(std::shared_ptr<NatsSession> session) noexcept {
    const std::lock_guard lock{mutex_};
    session_.swap(session);
    changed_.notify_all();
  }

  const NatsEndpoint endpoint_;
  const NatsTuning tuning_;
  NatsContext context_;
  Opening opening_;

  // Of the sender:
  std::optional<Attempts> attempts_;  // once it runs
  NatsOutbox::Batch batch_;
  std::optional<NatsServers> servers_;  // none for the caller's connection
  NatsUrl server_;                      // of the session, or of the last attempt
  std::uint64_t number_ = 0;
  NatsGreeting greeting_;  // of the session's server
  bool failed_ = false;
  bool told_closed_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<NatsSession> session_;
  bool ended_ = false;
};

}  // namespace detail

}  // namespace syncbus::inline v1
