// One node's protocol as a pure machine: inputs and the time go in, actions come out.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/core/actions.hpp>
#include <syncbus/core/peers/health_watch.hpp>
#include <syncbus/core/quorum/electorate.hpp>
#include <syncbus/core/receiving/reconciler.hpp>
#include <syncbus/core/sending/sender.hpp>
#include <syncbus/core/wire/codec.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// The machine. The owner calls everything under one lock; bytes that an action or a taken item shows may be read
/// outside it. After each input it asks next_action() until none comes.
///
/// Its parts are siblings: Sender (our events, until everybody has them), AwaitTable (who has acknowledged them), Inbox
/// (theirs, until our handlers have returned), Membership (the peers), Reconciler (what is missing of theirs). They
/// read one SessionState. Protocol carries frames between them and watches that this node hears itself.
///
/// What others send ends no process that is out of memory: what cannot be kept is a resync, or an answer that is asked
/// for again; what was to be said is said a little later.
class Protocol {
 public:
  explicit Protocol(const ProtocolOptions& options)
      : options_{options},
        membership_{options_},
        inbox_{options_, metrics_},
        reconciler_{options_, state_, membership_, inbox_, metrics_},
        awaits_{options.self, options.max_awaits, options.max_peers, Sender::kept_for_awaits(options.history_bytes),
                metrics_},
        sender_{options_, state_, awaits_, metrics_},
        questions_{options.max_awaits} {}

  Protocol(const Protocol&) = delete;
  Protocol& operator=(const Protocol&) = delete;

  // --- publishing

  /// Whether one frame of the broker can hold the event.
  [[nodiscard]] bool fits(const WireEvent& event) const noexcept { return sender_.fits(event); }

  /// Takes an event for sending. With `may_join` it is never refused for want of room: it joins what is pending.
  /// Disconnected, it always may. `awaited`: which event of which open await it is.
  [[nodiscard]] Submitted submit(const WireEvent& event, bool may_join,
                                 std::optional<Awaited> awaited = std::nullopt) noexcept {
    return sender_.submit(event, may_join, awaited);
  }

  [[nodiscard]] std::optional<std::uint64_t> flush_point() const noexcept { return sender_.flush_point(); }
  [[nodiscard]] std::uint64_t confirmed() const noexcept { return sender_.confirmed_sequence(); }  // see Sender

  /// Whether next_action() would broadcast events now: all that a submit can have brought about.
  [[nodiscard]] bool has_frame_to_send() const noexcept { return state_.connected && sender_.has_next(); }

  // --- awaits: open one, submit its events, say that this was all; say what own handlers did; take the completion

  /// None: too many are open.
  [[nodiscard]] std::optional<AwaitId> open_await(const AwaitRequest& request, TimePoint now) {
    return awaits_.open(request, now);
  }
  void submitted(AwaitId await_id) { awaits_.submitted(await_id, electorate()); }
  void heard_here(AwaitId await_id, std::uint32_t event, AcknowledgementStatus status) {
    if (options_.observer) status = AcknowledgementStatus::no_subscriber;
    awaits_.heard_here(await_id, event, status, electorate());
  }
  void cancel_await(AwaitId await_id, Errc why) { awaits_.cancel(await_id, why); }
  void cancel_awaits(Errc why) { awaits_.cancel_all(why); }
  [[nodiscard]] std::optional<AwaitCompletion> take_completion() { return awaits_.take_completion(); }

  // --- the transport's word

  /// What nobody need have was lost; `moved`: by a change of the broker. `listening`, also of on_ready: see on_frame.
  void on_lost(bool listening, bool moved = false) noexcept { reconciler_.lost(listening, moved); }
  void on_place(std::uint64_t place) noexcept { membership_.places().here(place); }  // see Places

  void on_ready(std::uint64_t session, std::size_t frame_limit, bool listening, TimePoint now) noexcept {
    state_ = {.session = session, .connected = true, .frame_limit = frame_limit};
    deaf_ = false;
    if (session > 1) ++metrics_.reconnects;
    sender_.begin_session();
    awaits_.begin_session();
    reconciler_.begin_session(listening, now);
    health_watch_.changed();
  }

  void on_interrupted(TimePoint now) noexcept {
    state_.connected = false;
    reconciler_.cut_off(now);
    health_watch_.changed();
    room_changed_ = true;  // a publish no longer waits for room: disconnected it may join
  }

  /// The machine was suspended, and time has leapt: what was missed shows in another session.
  void on_suspended(TimePoint now) noexcept {
    reopen_due_ = reopen_due_ || state_.connected;
    if (state_.connected) on_interrupted(now);
  }

  void on_confirmed(std::uint64_t sequence) noexcept {
    sender_.confirmed(sequence);
    room_changed_ = true;
  }

  /// A message arrived. Bytes that are no frame change a counter and nothing else. `listening`: whether anybody on this
  /// node hears other nodes; without one nothing can be lost.
  void on_frame(Bytes bytes, bool listening, TimePoint now) noexcept {
    if (!awaits_.waits_for_echo() && looks_like_events_of(options_.self, bytes) && is_echo(bytes)) {
      ++metrics_.frames_received;  // half of all bytes, and no news: not worth a checksum
      metrics_.bytes_received += bytes.size();
      return;
    }
    reconciler_.listening(listening, now);
    FrameHeader header;
    const FrameError error = decode_header(bytes, header);
    const bool directed = header.destination != NodeId{};
    const bool ours = !directed || header.destination == options_.self;
    if (error != FrameError::ok) {
      ++metrics_.invalid_frames;
      if (error == FrameError::other_version && ours && header.origin != options_.self)
        reconciler_.on_other_version(now);
      return;
    }
    ++metrics_.frames_received;
    metrics_.bytes_received += bytes.size();
    if (!ours) return;
    try {
      const bool understood =
          header.origin == options_.self ? on_echo(header, bytes, now) : on_body(header, bytes, directed, now);
      if (!understood) ++metrics_.invalid_frames;
      if (reconciler_.electorate_changed()) awaits_.electorate_changed(electorate());
    } catch (const std::bad_alloc&) {
      if (header.origin != options_.self) reconciler_.out_of_memory(header.origin);
    }
  }

  // --- time

  void tick(TimePoint now) noexcept try {
    told_wake_ = detail::never;
    if (!deaf_ && state_.connected && membership_.deaf(now)) {
      deaf_ = true;
      reconciler_.cut_off(now);
      reopen_due_ = true;
      health_watch_.changed();
    }
    reconciler_.tick(now);
    if (reconciler_.electorate_changed()) awaits_.electorate_changed(electorate());
    awaits_.tick(now, membership_.own().answer_time(), electorate(), questions_);
    watch_health(now);
  } catch (const std::bad_alloc&) {
    rest_until_ = now + without_memory;
  }

  /// The node ends: it says so, several times, for any of these may be lost. Nothing else is said after.
  void say_goodbye() noexcept { goodbyes_left_ = goodbyes; }

  // --- dispatching

  /// The next thing to be heard by subscribers; what it shows is valid until release(). One at a time.
  [[nodiscard]] bool take(ReceiveQueue::Item& item) noexcept { return inbox_.queue().take(item); }

  /// Every handler has returned from the item taken last; `answers` says what became of the awaited events in it.
  void release(std::span<const Acknowledgement> answers, TimePoint now) noexcept {
    inbox_.queue().release();
    inbox_.answered(answers, now);
    if (health_watch_.stale() && !has_received()) watch_health(now);
  }

  /// Whether take() has something.
  [[nodiscard]] bool has_received() const noexcept { return !inbox_.queue().empty(); }

  // --- what to do, what can be seen

  [[nodiscard]] Action next_action(TimePoint now) noexcept try {
    sender_.was_read();
    if (state_.connected) {
      if (!gone_ && membership_.hello_due(now)) return heartbeat({}, now);
      if (const auto frame = sender_.next()) return broadcast_events(*frame, now);
    }
    if (inbox_.grew()) return {.kind = Action::Kind::dispatch};
    if (awaits_.grew()) return {.kind = Action::Kind::complete};
    if (std::exchange(room_changed_, false)) return {.kind = Action::Kind::room};
    if (speaks()) {
      if (const auto control = next_control(now); control.kind != Action::Kind::none) return control;
    }
    if (std::exchange(reopen_due_, false)) return {.kind = Action::Kind::reopen, .session = state_.session};
    if (membership_.left_out().news()) return {.kind = Action::Kind::left_out};
    if (const auto id = membership_.doubled_news()) {
      return {.kind = Action::Kind::doubled, .destination = *id};
    }
    const bool settled = joined() || !connected();  // a session that is not joined yet is no news
    if (settled && health_watch_.take()) return {.kind = Action::Kind::health};
    return next_wake();
  } catch (const std::bad_alloc&) {
    rest_until_ = now + without_memory;
    return next_wake();
  }

  /// The transport has a session, and this node hears itself in it.
  [[nodiscard]] bool connected() const noexcept { return state_.connected && !deaf_; }

  /// The hello of this session has come back, and whoever is there had time to answer it.
  [[nodiscard]] bool joined() const noexcept { return state_.connected && !membership_.window_open(); }

  /// How far behind this node may be. Not const: what waited for proof may have it by now.
  [[nodiscard]] Health health(TimePoint now) noexcept {
    return {connected(), reconciler_.staleness(now), membership_.left_out().any()};
  }

  [[nodiscard]] std::vector<Peer> peers(TimePoint now) const { return membership_.list(now); }

  [[nodiscard]] Metrics metrics() const noexcept {
    Metrics metrics = metrics_;
    metrics.queue_bytes = inbox_.queue().bytes();
    metrics.history_bytes = sender_.history_bytes();
    return metrics;
  }

 private:
  static constexpr int goodbyes = 3;
  static constexpr Duration without_memory = std::chrono::milliseconds{10};  ///< then it is tried again

  /// Whether control frames may go out: not after the last goodbye.
  [[nodiscard]] bool speaks() const noexcept { return state_.connected && (!gone_ || goodbyes_left_ != 0); }

  [[nodiscard]] Electorate electorate() const noexcept {
    return {membership_, options_.self, connected() && joined()};
  }

  // --- frames in

  /// Whether bytes that look like an events frame of ours are one, as far as anybody knows.
  [[nodiscard]] bool is_echo(Bytes bytes) const noexcept {
    const auto sent = sender_.sent(sequence_in(bytes), checksum_in(bytes));
    return sent.value_or(!membership_.namesake().there());
  }

  /// A frame of our own came back, or one in our name. Heartbeats and questions of ours prove that we hear.
  bool on_echo(const FrameHeader& header, Bytes bytes, TimePoint now) {
    if (header.type == FrameType::acknowledgement) return on_acknowledgement(header, now);
    if (header.type == FrameType::events)
      return read_body(header, decode_events, [&](auto& events) {
        const std::uint64_t sequence = events.sequence();
        if (is_echo(bytes)) return awaits_.returned(sequence, electorate());
        reconciler_.on_namesake(events, bytes, sender_.sent(sequence, checksum_in(bytes)).has_value(), now);
      });
    if (header.type != FrameType::heartbeat) return true;
    HeartbeatView heartbeat;
    if (decode_heartbeat(header, heartbeat) != FrameError::ok) return false;
    const auto sent = membership_.own().sent(heartbeat.number, checksum_in(bytes));
    if (!sent.value_or(!heartbeat.doubled)) {
      reconciler_.on_namesake(heartbeat, now);
      return true;
    }
    reconciler_.on_own_heartbeat(heartbeat.number, now);
    awaits_.returned(heartbeat.last_sequence, electorate());
    if (deaf_ && !membership_.deaf(now)) {  // an old one may come late, and those behind it not at all
      deaf_ = false;
      health_watch_.changed();
    }
    return true;
  }

  /// False: the body is no valid one.
  bool on_body(const FrameHeader& header, Bytes bytes, bool directed, TimePoint now) {
    switch (header.type) {
      case FrameType::events:
        return read_body(header, decode_events,
                         [&](auto& events) { reconciler_.on_events(events, bytes, false, now); });
      case FrameType::repair:
        return read_body(header, decode_repair, [&](const RepairView& repair) {
          if (repair.events.origin() != options_.self) reconciler_.on_events(repair.events, repair.frame, true, now);
        });
      case FrameType::heartbeat:
        return read_body(header, decode_heartbeat, [&](const HeartbeatView& heartbeat) {
          reconciler_.on_heartbeat(header.origin, heartbeat, directed, now);
        });
      case FrameType::welcome:
        return read_body(header, decode_welcome, [&](const WelcomeView& welcome) {
          reconciler_.on_welcome(header.origin, welcome, directed, now);
        });
      case FrameType::acknowledgement: return on_acknowledgement(header, now);
      case FrameType::repair_request: return on_repair_request(header, now);
    }
    return false;
  }

  bool on_acknowledgement(const FrameHeader& header, TimePoint now) {
    AcknowledgementView view;
    if (decode_acknowledgement(header, view) != FrameError::ok) return false;
    reconciler_.heard_from(header.origin, now);
    const Duration answer_time = membership_.own().answer_time();
    FrameWork work{awaits_.awaited()};
    const bool namesake = membership_.namesake().there();  // then it may be an answer to that one
    for (Acknowledgement entry; view.next(entry);) {
      const bool question = entry.status == AcknowledgementStatus::requested;
      if (header.origin == options_.self) {
        if (question && joined()) awaits_.question_returned(entry, now, answer_time, electorate(), work);
      } else if (question && entry.publisher == header.origin) {
        inbox_.asked(header.origin, entry, now, answer_time, work);
      } else if (!question && entry.publisher == options_.self && !namesake) {
        ++metrics_.acknowledgements_received;
        awaits_.acknowledged(header.origin, entry, now, electorate(), work);
      }
    }
    return true;
  }

  bool on_repair_request(const FrameHeader& header, TimePoint now) {
    RepairRequestView view;
    if (decode_repair_request(header, view) != FrameError::ok) return false;
    reconciler_.heard_from(header.origin, now);
    if (view.publisher() != options_.self) return true;
    for (SequenceRange range; view.next(range);) sender_.requested(header.origin, range, now);
    return true;
  }

  // --- actions

  [[nodiscard]] Action broadcast_events(const FrameRing::Outgoing& frame, TimePoint now) {
    awaits_.handed_over(frame.sequence, now, membership_.own().answer_time());
    membership_.frame_sent(now);
    return {.kind = Action::Kind::broadcast,
            .bytes = frame.bytes,
            .session = state_.session,
            .sequence = frame.sequence};
  }

  /// What is to be said besides events, the most urgent first.
  [[nodiscard]] Action next_control(TimePoint now) {
    make_room_for_control();
    if (const auto answers = inbox_.next_answers(buffer_, now)) {
      metrics_.acknowledgements_sent += answers->entries;
      return control(answers->destination, answers->bytes);
    }
    const auto room = std::span{buffer_}.first((std::min)(buffer_.size(), state_.frame_limit));
    if (const auto welcome = membership_.next_welcome(room, sender_.extent(), state_.session, now))
      return control(welcome->destination, welcome->bytes);
    if (const auto asker = membership_.next_answer()) return heartbeat(*asker, now);
    if (const auto repair = sender_.next_repair(now)) {
      ++metrics_.repairs_sent;
      buffer_.resize(repair->frame.size() + repair_overhead_bytes);
      return control(repair->destination, encode_repair(buffer_, options_.self, repair->destination, repair->frame));
    }
    if (const auto request = reconciler_.next_request(buffer_, now)) return control(request->publisher, request->bytes);
    if (const auto questions = questions_.next(options_.self, buffer_, now)) {
      return control(questions->destination, questions->bytes);
    }
    if (goodbyes_left_ != 0 || (now >= membership_.heartbeat_due() && !gone_)) return heartbeat({}, now);
    return {};
  }

  /// For any control frame but a repair: as much as the broker takes.
  void make_room_for_control() {
    buffer_.resize((std::max)((std::min)(AcknowledgementOutbox::frame_bytes, state_.frame_limit), least_frame_bytes));
  }

  [[nodiscard]] Action heartbeat(NodeId destination, TimePoint now) {
    make_room_for_control();
    gone_ = gone_ || goodbyes_left_ != 0;
    if (goodbyes_left_ != 0 && destination == NodeId{}) --goodbyes_left_;
    return control(destination,
                   membership_.write_heartbeat(buffer_, destination, gone_, sender_.extent(), now));
  }

  [[nodiscard]] Action control(NodeId destination, std::size_t size) noexcept {
    ++metrics_.frames_sent;
    metrics_.bytes_sent += size;
    return {.kind = destination == NodeId{} ? Action::Kind::broadcast : Action::Kind::send,
            .bytes = Bytes{buffer_}.first(size),
            .session = state_.session,
            .sequence = sender_.handed_over(),
            .destination = destination};
  }

  /// Asks to be woken earlier than was asked for last; later, the early call finds nothing to do and asks again.
  [[nodiscard]] Action next_wake() noexcept {
    TimePoint at = (std::min)(awaits_.due(), reconciler_.due(speaks()));
    if (connected()) at = (std::min)(at, membership_.deaf_at());
    if (speaks()) {
      const TimePoint heartbeat = gone_ ? detail::never : membership_.heartbeat_due();
      at = (std::min)({at, heartbeat, questions_.due(), inbox_.answers().due()});
    }
    at = (std::max)(at, rest_until_);
    if (at >= told_wake_) return {};
    told_wake_ = at;
    return {.kind = Action::Kind::wake, .at = at};
  }

  void watch_health(TimePoint now) noexcept { health_watch_.look(health(now), membership_.patience()); }

  const ProtocolOptions options_;
  Metrics metrics_;
  SessionState state_;
  Membership membership_;
  Inbox inbox_;
  Reconciler reconciler_;
  AwaitTable awaits_;
  Sender sender_;
  HealthWatch health_watch_;
  AcknowledgementOutbox questions_;  ///< about our own awaits
  std::vector<std::byte> buffer_;    ///< of the control frame that the last action shows
  bool deaf_ = false;  ///< connected, but nothing of our own comes back
  bool gone_ = false;
  int goodbyes_left_ = 0;
  bool reopen_due_ = false, room_changed_ = false;
  TimePoint told_wake_ = detail::never;
  TimePoint rest_until_{};  ///< for want of memory
};

}  // namespace syncbus::inline v1::core
