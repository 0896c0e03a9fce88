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

#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/frame_mark.hpp>
#include <syncbus/detail/problem_reporter.hpp>
#include <syncbus/detail/session_failure.hpp>
#include <syncbus/detail/sink_gate.hpp>
#include <syncbus/error.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/nats_connection.hpp>
#include <syncbus/transport/nats_outbox.hpp>

namespace syncbus::inline v1::detail {

/// Broadcasts, and frames for this node.
struct NatsSubjects {
  std::string broadcast;
  std::string direct;
};

/// What all sessions of a transport have in common. Shared by its threads, of which one may have to be left behind.
struct NatsSurroundings {
  NatsSubjects subjects;
  TransportSettings settings;
  std::optional<FrameMark> mark{};
  SinkGate sink{};
  NatsOutbox outbox{};
  ProblemReporter problems{};  ///< of the sender
  std::atomic<bool> closing = false;
  std::atomic<std::uint64_t> live_session = 0;  ///< set to 0 by who wants it reopened

  /// Tells the user; once in a while only, when it is always the same. Sender.
  void report(const SessionEnd& what) noexcept {
    sink.tell([&](TransportSink& told) {
      problems.report(told, make_error_code(what.code), what.sentence, std::chrono::steady_clock::now());
    });
  }
};

/// The sender makes it, sends, and closes it; two receivers read one subscription each; whoever notices ends it.
///
/// What was broadcast is confirmed by its own return, if the connection is ours: a server that brings a message has
/// taken it, and all before it on that connection, of which a session has one. So nobody waits for an answer, and none
/// has to be asked for. Where frames do not return (publish_only), or only a flush brings them out of the client's
/// buffer at once (the caller's connection), it is the PONG of a flush that began after the publish, if the connection
/// is still the same.
class NatsSession final : public NatsWriter {
 public:
  /// Longest wait of a receiver in the client, and of the sender for a PONG before it looks around.
  static constexpr Duration look_around = std::chrono::milliseconds{200};

  /// Subscribes, and asks the server whether all is permitted. Throws SessionFailure. Sender, like all that follows
  /// until the receivers' part.
  NatsSession(NatsSurroundings& around, NatsConnection connection, std::uint64_t number, TimePoint deadline)
      : around_{around},
        connection_{std::move(connection)},
        number_{number},
        returns_{connection_->is_own() && !around.settings.publish_only} {
    if (!connection_->is_connected()) throw SessionFailure{Errc::not_connected, "the NATS connection is not connected"};
    reconnects_ = connection_->reconnects();
    known_refusal_ = connection_->last_refusal();
    subscribe(deadline);
    ask_to_publish(around_.subjects.direct, deadline);
    ask_to_publish(around_.subjects.broadcast, deadline);
    // What is published comes back before the PONG behind it.
    if (broadcasts_ && broadcasts_->waiting() == 0) {
      throw SessionFailure{Errc::not_connected,
                           "the NATS server takes what this node publishes on '" + around_.subjects.broadcast +
                               "' but does not bring it back: the connection must not be made with "
                               "natsOptions_SetNoEcho, and the user must be allowed to subscribe to it"};
    }
  }
  NatsSession(const NatsSession&) = delete;
  NatsSession& operator=(const NatsSession&) = delete;
  ~NatsSession() = default;

  [[nodiscard]] std::size_t max_payload() const noexcept { return connection_->max_payload(); }

  /// What publishers may write to; nullptr where a flush has to follow, or others may block the client.
  [[nodiscard]] NatsWriter* writer() noexcept { return returns_ ? this : nullptr; }

  [[nodiscard]] bool write_broadcast(Bytes bytes, std::uint64_t number) noexcept override {
    FrameMark::Buffer buffer;
    const char* const mark = returns_ ? around_.mark->write(buffer, number) : nullptr;
    if (connection_->publish(around_.subjects.broadcast.c_str(), mark, bytes) != NATS_OK) return false;
    written_.store(number + 1);
    return true;
  }
  [[nodiscard]] bool write_direct(const char* subject, Bytes bytes) noexcept override {
    return connection_->publish(subject, nullptr, bytes) == NATS_OK;
  }

  /// Publishes all.
  void send(const NatsOutbox::Batch& batch) noexcept {
    const Busy busy{busy_since_};
    if (!returns_ && !same_connection()) return end_broken("the client lost it");  // else it would send them later
    for (const NatsOutbox::Frame& frame : batch.frames()) {
      if (ended()) return;
      const bool broadcast = frame.subject_bytes == 0;
      const bool written = broadcast ? write_broadcast(batch.bytes(frame), frame.number)
                                     : write_direct(batch.subject(frame), batch.bytes(frame));
      if (!written) return end_broken("a publish failed");
    }
    if (!returns_ && !batch.frames().empty()) flush();
  }

  /// Ends the session if the connection is not what it was. Asks the server for a sign of life when something has not
  /// come back for a while, or nothing was asked for long.
  void check() noexcept {
    if (ended() || around_.closing.load()) return;
    const Busy busy{busy_since_};
    if (to_be_reopened()) {
      reopened_ = true;
      return end({Errc::not_connected,
                  "the session with the NATS server is reopened because this node's own heartbeat "
                  "did not come back within the peer timeout"});
    }
    if (!same_connection()) return end_broken("the client lost it");
    const Duration patience = around_.settings.peer_timeout;
    if (confirmed_.load() >= awaited_) {
      awaited_ = written_.load();
      awaited_since_ = now();
    }
    const bool late = confirmed_.load() < awaited_ && now() - awaited_since_ > (std::min)(look_around, patience / 8);
    if (late || in_doubt_.load() || now() - answered_at_ > patience / 4) flush();
  }

  /// Waits a moment until the server has taken what was written.
  void flush_last() noexcept {
    const Busy busy{busy_since_};
    flush();
  }

  /// The client forgets it; receivers are woken.
  void close() noexcept {
    if (broadcasts_) broadcasts_->close();
    if (direct_) direct_->close();
    around_.outbox.stop();
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
  [[nodiscard]] const SessionEnd& wait_for_end() noexcept {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return told_; });
    return end_;
  }

  /// Whether an attempt at the next one begins with the shortest pause again.
  [[nodiscard]] bool did_well() const noexcept { return confirmed_.load() != 0 || reopened_; }

  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  [[nodiscard]] bool ended() const noexcept { return ended_.load(); }

  /// Receivers: the next broadcast, or the next frame for this node, is delivered. Waits for one, look_around at most.
  void receive_broadcast() noexcept { broadcasts_ ? receive(*broadcasts_) : rest(); }
  void receive_direct() noexcept { receive(*direct_); }

  /// Ends it if the sender does not come back from the client: a connection of the caller's may have no write deadline.
  void watch_sender() noexcept {
    const auto since = busy_since_.load();
    if (since == 0 || now() - TimePoint{Duration{since}} < around_.settings.peer_timeout) return;
    end({Errc::not_connected, "the NATS server has taken nothing for the peer timeout"});
  }

 private:
  /// While it lives, the sender may be in the client.
  class Busy {
   public:
    explicit Busy(std::atomic<Duration::rep>& since) noexcept : since_{since} {
      since_.store(now().time_since_epoch().count());
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() { since_.store(0); }

   private:
    std::atomic<Duration::rep>& since_;
  };

  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  void subscribe(TimePoint deadline) {
    if (around_.settings.publish_only) return;
    broadcasts_.emplace(connection_->get(), around_.subjects.broadcast);
    direct_.emplace(connection_->get(), around_.subjects.direct);
    require_taken(deadline);
  }

  void ask_to_publish(const std::string& subject, TimePoint deadline) {
    require_nats(publish_probe(subject), "the NATS client cannot publish");
    require_taken(deadline);
  }

  /// An empty message that names a reply: it asks only whether it may be published, and is no frame.
  [[nodiscard]] natsStatus publish_probe(const std::string& subject) noexcept {
    return connection_->publish(subject.c_str(), around_.subjects.direct.c_str(), {});
  }
  [[nodiscard]] static bool is_probe(const natsMsg& message) noexcept {
    return bytes_of(message).empty() && !reply_of(message).empty();
  }

  /// Waits for the server's answer to what was written; throws what it refused.
  void require_taken(TimePoint deadline) {
    require_nats(connection_->flush(deadline - now()), "the NATS server does not answer");
    if (auto refusal = take_refusal()) throw SessionFailure{Errc::permission_denied, refusal->sentence};
    if (!same_connection()) throw SessionFailure{Errc::not_connected, "the NATS connection broke meanwhile"};
    answered_at_ = now();
  }

  [[nodiscard]] bool to_be_reopened() const noexcept { return around_.live_session.load() != number_; }
  [[nodiscard]] bool same_connection() const noexcept {
    return connection_->is_connected() && connection_->reconnects() == reconnects_;
  }

  // --- sending

  /// Confirms what was written when the server has answered.
  void flush() noexcept {
    const std::uint64_t written = written_.load();
    in_doubt_.store(false);
    if (!flushed() || !permitted() || written == 0) return;
    const std::lock_guard turn{telling_};
    if (!over_) tell_confirmed(written - 1);
  }

  /// False if the session has ended, or will.
  [[nodiscard]] bool flushed() noexcept {
    const TimePoint deadline = deadline_after(around_.settings.peer_timeout - around_.settings.peer_timeout / 4);
    natsStatus status = NATS_TIMEOUT;
    while (status == NATS_TIMEOUT && now() < deadline) {
      status = connection_->flush((std::min)(look_around, around_.settings.peer_timeout / 4));
      // While it reconnects, the client waits for an answer to what it has not sent yet.
      if (status == NATS_TIMEOUT && !connection_->is_connected()) status = NATS_CONNECTION_DISCONNECTED;
      if (ended() || around_.closing.load() || to_be_reopened()) break;
    }
    // A PONG of another connection, made meanwhile, speaks for nothing that was written to the old one.
    if (status == NATS_OK && !same_connection()) status = NATS_CONNECTION_DISCONNECTED;
    if (status == NATS_OK) {
      answered_at_ = now();
      return true;
    }
    if (status != NATS_TIMEOUT || now() >= deadline) end_broken(natsStatus_GetText(status));
    return false;
  }

  struct Refusal {
    std::string sentence;
    bool of_directed_frame = false;  ///< nobody promised it: the session goes on
  };

  /// What the server has refused since the last call, if it is ours.
  [[nodiscard]] std::optional<Refusal> take_refusal() {
    std::string text = connection_->last_refusal();
    if (text == std::exchange(known_refusal_, text)) return std::nullopt;
    const std::string& subject = around_.subjects.broadcast;
    const bool directed = text.find("\"" + subject + ".direct.") != std::string::npos;
    if (!directed && text.find("\"" + subject + "\"") == std::string::npos) return std::nullopt;
    const bool subscribing = text.find("Subscription") != std::string::npos;
    return Refusal{std::string{"the NATS user may not "} + (subscribing ? "subscribe to" : "publish on") + " '" +
                       subject + (directed ? ".direct.*" : "") + "': grant publish and subscribe on '" + subject +
                       "' and '" + subject + ".direct.*'",
                   directed && !subscribing};
  }

  /// Whether all that was published was. Only the last refusal is to be had, so behind one of a directed frame may have
  /// been one of a broadcast: that is asked again.
  [[nodiscard]] bool permitted() noexcept {
    std::optional<Refusal> refusal = take_refusal();
    if (refusal && refusal->of_directed_frame) {
      around_.report({Errc::permission_denied, refusal->sentence});
      if (publish_probe(around_.subjects.broadcast) != NATS_OK || !flushed()) return false;
      refusal = take_refusal();
    }
    if (!refusal) return true;
    end({Errc::permission_denied, refusal->sentence});
    return false;
  }

  // --- receiving

  void rest() noexcept {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, look_around, [this] { return told_ || closed_; });
  }

  void receive(NatsSubscription& subscription) noexcept {
    NatsHandle<natsMsg> message;
    switch (subscription.next(message, look_around)) {
      case NatsSubscription::Next::message: return deliver(*message);
      case NatsSubscription::Next::nothing: return;
      case NatsSubscription::Next::dropped:
        return end({Errc::not_connected, "this node was too slow to read: the NATS client had to drop messages"});
      case NatsSubscription::Next::ended: return end_broken("the client closed it");
    }
  }

  void deliver(const natsMsg& message) noexcept {
    if (is_probe(message)) return;
    {
      const std::lock_guard turn{telling_};  // the sink hears one at a time, and none of what it does takes this lock
      if (over_) return;
      around_.sink.tell([&](TransportSink& sink) { sink.on_frame(bytes_of(message)); });
    }
    if (const auto number = around_.mark->frame_of(reply_of(message))) confirm_returned(*number);
  }

  /// It came back, so the server has it, and all before it that was permitted. A refusal comes before it.
  void confirm_returned(std::uint64_t number) noexcept {
    around_.outbox.read_up_to(number);  // first: the sink may broadcast the next one
    const std::lock_guard turn{telling_};
    if (over_) return;
    if (!connection_->has_refused()) return tell_confirmed(number);
    in_doubt_.store(true);  // the sender asks what it was
    around_.outbox.wake();
  }

  void tell_confirmed(std::uint64_t number) noexcept {
    if (confirmed_.load() > number) return;
    confirmed_.store(number + 1);
    around_.sink.tell([&](TransportSink& sink) { sink.on_confirmed({number_, number}); });
  }

  // --- its end

  void end_broken(const std::string& why) noexcept {
    end({Errc::not_connected, "lost the connection to the NATS server: " + why});
  }

  void end(SessionEnd why) noexcept {
    {
      const std::lock_guard lock{mutex_};
      if (ended_.exchange(true)) return;
      end_ = std::move(why);
    }
    {
      const std::lock_guard turn{telling_};
      over_ = true;
    }
    around_.outbox.stop();
    if (!around_.closing.load()) around_.sink.tell([](TransportSink& sink) { sink.on_interrupted(); });
    const std::lock_guard lock{mutex_};
    told_ = true;
    changed_.notify_all();
    around_.outbox.wake();
  }

  NatsSurroundings& around_;
  std::optional<NatsConnection> connection_;
  const std::uint64_t number_;
  const bool returns_;                          ///< own broadcasts confirm themselves
  std::optional<NatsSubscription> broadcasts_;  // none if publish_only
  std::optional<NatsSubscription> direct_;

  // Of the sender:
  std::uint64_t reconnects_ = 0;
  std::string known_refusal_;
  TimePoint answered_at_ = now();
  std::uint64_t awaited_ = 0;  // of written_: should be confirmed soon
  TimePoint awaited_since_{};
  bool reopened_ = false;

  std::atomic<Duration::rep> busy_since_ = 0;  // when the sender went into the client; 0: it is not there
  std::atomic<std::uint64_t> written_ = 0;     // the number behind that of the last broadcast written
  std::atomic<std::uint64_t> confirmed_ = 0;   // and of the last one confirmed
  std::atomic<bool> in_doubt_ = false;         // something may have been refused
  std::mutex telling_;                         // held while the sink hears of frames and confirmations
  bool over_ = false;                          // it hears nothing more of them; guarded by telling_

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> ended_ = false;
  bool told_ = false;
  bool closed_ = false;
  SessionEnd end_;
};

}  // namespace syncbus::inline v1::detail
