// One session with a NATS server: how it begins, what is sent and received while it lasts, and how it ends.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/nats/busy.hpp>
#include <syncbus/transport/nats/echo_tag.hpp>
#include <syncbus/transport/nats/nats_connection.hpp>
#include <syncbus/transport/nats/nats_context.hpp>
#include <syncbus/transport/nats/nats_outbox.hpp>
#include <syncbus/transport/nats/nats_refusal.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// The sender makes it, sends, and closes it; two receivers read one subscription each. The first of these threads that
/// notices a reason ends it.
///
/// What was broadcast is confirmed by its own return: a server that brings a message has taken it. Returns come in the
/// order of the broadcasts, so one that is skipped was refused or lost, and so is one that has not come when the server
/// has answered a later PING. The client's error text proves nothing: it is the last one, whatever its subject, and
/// serves for the words of a report. Only a bus of publish_only on a connection of our own has no returns: there
/// nothing but this bus can be refused, and a PONG confirms, unless something was.
class NatsSession final : public NatsWriter {
 public:
  /// Longest wait of a receiver in the client, and of the sender for a PONG before it looks around.
  static constexpr Duration look_around = std::chrono::milliseconds{200};

  /// Subscribes, and sees that what is published comes back. Throws ConnectError. Sender, like all that follows until
  /// the receivers' part.
  NatsSession(NatsContext& context, NatsConnection connection, std::uint64_t number, TimePoint deadline)
      : context_{context},
        connection_{std::make_shared<NatsConnection>(std::move(connection))},
        number_{number},
        mark_{context.settings.self, number},
        returns_{!context.settings.publish_only || !connection_->is_own()} {
    if (!connection_->is_connected()) throw ConnectError{connection_->end()};
    connection_->remember();
    known_refusal_ = connection_->last_refusal();
    subscribe(deadline);
    for (const std::string* const subject : {&context_.subjects.direct, &context_.subjects.broadcast}) {
      require_nats(publish_probe(*subject), "the NATS client cannot publish");
      require_answer(deadline);
    }
    if (!returns_ && connection_->has_refused()) throw ConnectError{refusal().end()};
    if (direct_) require_return(*direct_, context_.subjects.direct, nullptr);
    if (broadcasts_) require_return(*broadcasts_, context_.subjects.broadcast, &early_);
  }
  NatsSession(const NatsSession&) = delete;
  NatsSession& operator=(const NatsSession&) = delete;
  ~NatsSession() = default;

  [[nodiscard]] const NatsConnection& connection() const noexcept { return *connection_; }

  /// What publishers may write to; nullptr where others may block the client, or a flush has to follow.
  [[nodiscard]] NatsWriter* writer() noexcept { return returns_ && connection_->is_own() ? this : nullptr; }

  [[nodiscard]] bool write_broadcast(Bytes bytes, std::uint64_t serial) noexcept override {
    EchoTag::Buffer buffer;
    const char* const mark = returns_ ? mark_.write(buffer, serial) : nullptr;
    if (connection_->publish(context_.subjects.broadcast.c_str(), mark, bytes) != NATS_OK) return false;
    written_.store(serial);
    return true;
  }
  [[nodiscard]] bool write_direct(const char* subject, Bytes bytes) noexcept override {
    return connection_->publish(subject, nullptr, bytes) == NATS_OK;
  }

  /// Publishes all.
  void send(const NatsOutbox::Batch& batch) noexcept {
    Busy busy{busy_since_};
    for (const NatsOutbox::Frame& frame : batch.frames()) {
      if (ended()) return;
      // Else the client would send it when it has found a server again.
      if (!connection_->is_own() && !connection_->is_the_same()) return end_broken();
      const bool broadcast = frame.subject_bytes == 0;
      const bool written = broadcast ? write_broadcast(batch.bytes(frame), frame.serial)
                                     : write_direct(batch.subject(frame), batch.bytes(frame));
      if (!written) return end_broken();
      busy.goes_on();
    }
    if (writer() == nullptr && !batch.frames().empty()) flush(busy);
  }

  /// Ends the session if the connection is not what it was. Asks the server for a sign of life when something has not
  /// come back for a while, or nothing was asked for long.
  void check() noexcept {
    if (ended() || context_.closing.load()) return;
    Busy busy{busy_since_};
    if (to_be_reopened()) {
      reopened_ = true;
      return end({Errc::not_connected,
                  "the session with the NATS server is reopened because this node's own heartbeat "
                  "did not come back within the peer timeout"});
    }
    if (!connection_->is_the_same()) return end_broken();
    tell_refusal();
    const Duration patience = context_.settings.peer_timeout;
    const std::uint64_t taken = context_.outbox.taken();
    if (taken >= awaited_) {
      awaited_ = written_.load();
      awaited_since_ = now();
    }
    const bool late = taken < awaited_ && now() - awaited_since_ > (std::min)(look_around, patience / 8);
    if (late || now() - answered_at_ > patience / 4) flush(busy);
  }

  /// Waits a moment until the server has taken what was written.
  void flush_last() noexcept {
    Busy busy{busy_since_};
    flush(busy);
  }

  /// The client forgets it; receivers are woken.
  void close() noexcept {
    if (broadcasts_) broadcasts_->close();
    if (direct_) direct_->close();
    context_.outbox.stop();
    {
      const std::lock_guard turn{telling_};
      over_ = true;
    }
    connection_.reset();
    const std::lock_guard lock{mutex_};
    closed_ = true;
    changed_.notify_all();
  }

  /// Why it ended, once the sink knows.
  [[nodiscard]] const DisconnectReason& wait_for_end() noexcept {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return told_; });
    return end_;
  }

  /// Whether an attempt at the next one begins with the shortest pause again.
  [[nodiscard]] bool did_well() const noexcept { return confirmed_any_.load() || reopened_; }

  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  [[nodiscard]] bool ended() const noexcept { return ended_.load(); }

  /// Receivers: the next broadcast, or the next frame for this node, is delivered. Waits for one, look_around at most.
  void receive_broadcast() noexcept {
    if (!broadcasts_) return rest();
    const std::uint64_t due = due_back_.load();
    if (next_early_ != early_.size()) {
      deliver(*std::exchange(early_[next_early_++], nullptr));
    } else {
      receive(*broadcasts_);
    }
    // All that came before the server's answer stood in the client's queue then.
    if (!ended() && broadcasts_->waiting() == 0 && next_early_ == early_.size() && context_.outbox.taken() < due) {
      end_unreturned();
    }
  }
  void receive_direct() noexcept { direct_ ? receive(*direct_) : rest(); }

  /// Ends it if the sender does not come back from the client: a caller's connection may have no write deadline.
  void watch_sender() noexcept {
    const auto since = busy_since_.load();
    if (since == 0 || now() - TimePoint{Duration{since}} < context_.settings.peer_timeout) return;
    end({Errc::not_connected, "the NATS server has taken nothing for the peer timeout"});
  }

 private:
  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  // --- its beginning

  void subscribe(TimePoint deadline) {
    try {
      if (returns_) broadcasts_.emplace(connection_->get(), context_.subjects.broadcast);
      if (!context_.settings.publish_only) direct_.emplace(connection_->get(), context_.subjects.direct);
    } catch (const ConnectError&) {
      if (!connection_->is_the_same()) throw ConnectError{connection_->end()};  // the server's answer to the first
      throw;
    }
    require_answer(deadline);
  }

  /// An empty message that names our own subject for a reply: it asks only whether it may be published, and is no
  /// frame.
  [[nodiscard]] natsStatus publish_probe(const std::string& subject) noexcept {
    return connection_->publish(subject.c_str(), context_.subjects.direct.c_str(), {});
  }
  [[nodiscard]] bool is_own_probe(const natsMsg& message) const noexcept {
    return bytes_of(message).empty() && reply_of(message) == context_.subjects.direct;
  }

  /// Waits for the server's answer to what was written.
  void require_answer(TimePoint deadline) {
    const natsStatus status = connection_->flush(deadline - now());
    if (!connection_->is_the_same()) throw ConnectError{connection_->end()};
    require_nats(status, "the NATS server does not answer");
    answered_at_ = now();
  }

  /// The probe has come back: the server had answered behind it. What others published meanwhile is kept in `early`.
  void require_return(NatsSubscription& subscription, const std::string& subject,
                      std::vector<NatsHandle<natsMsg>>* early) {
    while (subscription.waiting() != 0) {
      NatsHandle<natsMsg> message;
      if (subscription.next(message, std::chrono::milliseconds{1}) != NatsSubscription::Next::message) break;
      if (is_own_probe(*message)) return;
      if (early != nullptr) early->push_back(std::move(message));
    }
    if (refusal().is_ours()) throw ConnectError{refusal().end()};
    throw ConnectError{Errc::not_connected,
                       "the NATS server takes what this node publishes on '" + subject +
                           "' but does not bring it back: the connection must not be made with "
                           "natsOptions_SetNoEcho, and the user must be allowed to publish on it and to subscribe"};
  }

  [[nodiscard]] NatsRefusal refusal() const { return {connection_->last_refusal(), context_.subjects.broadcast}; }
  [[nodiscard]] bool to_be_reopened() const noexcept { return context_.live_session.load() != number_; }

  // --- sending

  /// What was written so far is confirmed when the server has answered, or has to have come back then.
  void flush(Busy& busy) noexcept {
    const std::uint64_t written = written_.load();
    if (!flushed(busy)) return;
    if (returns_) return due_back_.store(written);
    if (connection_->has_refused()) return end(refusal().end());
    if (const auto frame = context_.outbox.taken_up_to(written)) tell_confirmed(*frame);
  }

  /// False if the session has ended, or will.
  [[nodiscard]] bool flushed(Busy& busy) noexcept {
    const TimePoint deadline = deadline_after(context_.settings.peer_timeout - context_.settings.peer_timeout / 4);
    natsStatus status = NATS_TIMEOUT;
    while (status == NATS_TIMEOUT && now() < deadline) {
      status = connection_->flush((std::min)(look_around, context_.settings.peer_timeout / 4));
      if (status == NATS_OK) busy.goes_on();
      // While it reconnects, the client waits for an answer to what it has not sent yet.
      if (status == NATS_TIMEOUT && !connection_->is_connected()) status = NATS_CONNECTION_DISCONNECTED;
      if (ended() || context_.closing.load() || to_be_reopened()) break;
    }
    // A PONG of another connection, made meanwhile, speaks for nothing that was written to the old one.
    if (status == NATS_OK && !connection_->is_the_same()) status = NATS_CONNECTION_DISCONNECTED;
    if (status == NATS_OK) {
      answered_at_ = now();
      return true;
    }
    if (status != NATS_TIMEOUT) {
      end_broken();
    } else if (now() >= deadline) {
      end({Errc::not_connected, "the NATS server did not answer a PING within the peer timeout"});
    }
    return false;
  }

  /// Tells of what the server has refused since the last call, if that is ours. A refused directed frame costs no
  /// session: nobody promised it.
  void tell_refusal() {
    std::string text = connection_->last_refusal();
    const NatsRefusal refusal{text, context_.subjects.broadcast};
    if (text == std::exchange(known_refusal_, text) || !refusal.is_ours()) return;
    refusal.costs_a_frame() ? context_.report(refusal.end()) : end(refusal.end());
  }

  // --- receiving

  void rest() noexcept {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, look_around, [this] { return told_ || closed_; });
  }

  void receive(NatsSubscription& subscription) noexcept {
    NatsHandle<natsMsg> message;
    switch (subscription.next(message, look_around)) {
      case NatsSubscription::Next::message:
        deliver(*message);
        return subscription.take_back(std::move(message));
      case NatsSubscription::Next::nothing: return;
      case NatsSubscription::Next::dropped:
        return end({Errc::not_connected, "this node was too slow to read: the NATS client had to drop messages"});
      case NatsSubscription::Next::ended: return end_broken();
    }
  }

  void deliver(const natsMsg& message) noexcept {
    const auto serial = returns_ ? mark_.serial_of(reply_of(message)) : std::nullopt;
    if (!context_.settings.publish_only && !is_probe(message)) {
      const std::lock_guard turn{telling_};  // the sink hears one at a time, and none of what it does takes this lock
      if (over_) return;
      context_.sink.tell([&](TransportSink& sink) { sink.on_frame(bytes_of(message)); });
    }
    if (serial) confirm_returned(*serial);
  }

  /// A node asks the server whether it may publish: no frame.
  [[nodiscard]] static bool is_probe(const natsMsg& message) noexcept {
    return bytes_of(message).empty() && !reply_of(message).empty();
  }

  void confirm_returned(std::uint64_t serial) noexcept {
    const NatsOutbox::Returned returned = context_.outbox.returned(number_, serial);
    if (returned.gap) return end_unreturned();
    if (returned.frame) tell_confirmed(*returned.frame);
  }

  void tell_confirmed(std::uint64_t frame) noexcept {
    const std::lock_guard turn{telling_};
    if (over_) return;
    confirmed_any_.store(true);
    context_.sink.tell([&](TransportSink& sink) { sink.on_confirmed({number_, frame}); });
  }

  // --- its end

  void end_broken() noexcept {
    std::shared_ptr<const NatsConnection> connection;  // the sender may let go of it meanwhile
    {
      const std::lock_guard turn{telling_};
      if (!over_) connection = connection_;
    }
    // Not under the lock: another thread of the program that blocks in a publish holds the client's, maybe for ever.
    end(connection ? connection->end() : DisconnectReason{});
  }

  void end_unreturned() noexcept {
    end({Errc::permission_denied, "the NATS server did not bring back what this node had published on '" +
                                      context_.subjects.broadcast +
                                      "': it was refused or lost; the user needs publish and subscribe on it"});
  }

  void end(DisconnectReason why) noexcept {
    {
      const std::lock_guard lock{mutex_};
      if (ended_.exchange(true)) return;
      end_ = std::move(why);
    }
    {
      const std::lock_guard turn{telling_};
      over_ = true;
    }
    context_.outbox.stop();
    if (!context_.closing.load()) context_.sink.tell([](TransportSink& sink) { sink.on_interrupted(); });
    const std::lock_guard lock{mutex_};
    told_ = true;
    changed_.notify_all();
    context_.outbox.wake();
  }

  NatsContext& context_;

  // Outlive the connection: up to cnats 3.5 its reader may still use one that was destroyed while messages came.
  std::optional<NatsSubscription> broadcasts_;  ///< if they return, heard or not
  std::optional<NatsSubscription> direct_;      ///< none if publish_only

  std::shared_ptr<NatsConnection> connection_;  ///< shared with who asks it why it ended
  const std::uint64_t number_;
  const EchoTag mark_;
  const bool returns_;  ///< own broadcasts confirm themselves

  // Of the sender:
  std::string known_refusal_;
  TimePoint answered_at_ = now();
  std::uint64_t awaited_ = 0;  // a serial that should be taken soon
  TimePoint awaited_since_{};
  bool reopened_ = false;

  // Of the receiver of broadcasts:
  std::vector<NatsHandle<natsMsg>> early_;  // came while the session was made
  std::size_t next_early_ = 0;

  std::atomic<Duration::rep> busy_since_ = 0;  // when the sender went into the client; 0: it is not there
  std::atomic<std::uint64_t> written_ = 0;     // the serial of the last broadcast written
  std::atomic<std::uint64_t> due_back_ = 0;    // one that stands in our client's queue, or will not come
  std::atomic<bool> confirmed_any_ = false;
  std::mutex telling_;  // held while the sink hears of frames and confirmations
  bool over_ = false;   // it hears nothing more of them; guarded by telling_

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> ended_ = false;
  bool told_ = false;
  bool closed_ = false;
  DisconnectReason end_;
};

}  // namespace syncbus::inline v1::detail
