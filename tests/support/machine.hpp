// One node's machine driven by hand: a virtual clock, and everything that the machine wanted done.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/control_frames.hpp"
#include "support/frames.hpp"
#include "support/keys.hpp"
#include "support/lines.hpp"

namespace support {

inline constexpr syncbus::TimePoint start{std::chrono::hours{1}};

inline syncbus::core::ProtocolOptions roomy(syncbus::NodeId self = syncbus::NodeId{1}) {
  return {.self = self,
          .history_bytes = 1024 * kib,
          .queue_bytes = 256 * kib,
          .pending_bytes = 256 * kib,
          .max_peers = 16,
          .max_awaits = 1'024};
}

/// A frame that a machine handed over.
struct Sent {
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;
  syncbus::NodeId destination{};
  syncbus::core::FrameType type{};
  syncbus::TimePoint at{};
  Frame bytes{};
};

struct Ended {
  syncbus::core::Ticket ticket = 0;
  std::error_code error{};
  std::vector<syncbus::NodeId> replicas{};
  syncbus::TimePoint at{};
};

/// The header of a frame that a machine made: it is valid.
inline syncbus::core::FrameHeader header_of(syncbus::Bytes frame) {
  syncbus::core::FrameHeader header;
  if (syncbus::core::decode_header(frame, header) != syncbus::core::FrameError::ok) {
    throw std::logic_error{"the machine sent what is no frame"};
  }
  return header;
}

inline syncbus::core::HeartbeatView heartbeat_of(const Sent& sent) {
  syncbus::core::HeartbeatView view;
  if (syncbus::core::decode_heartbeat(header_of(sent.bytes), view) != syncbus::core::FrameError::ok) {
    throw std::logic_error{"no heartbeat"};
  }
  return view;
}

inline std::vector<syncbus::core::Acknowledgement> acknowledgements_of(const Sent& sent) {
  syncbus::core::AcknowledgementView view;
  if (syncbus::core::decode_acknowledgement(header_of(sent.bytes), view) != syncbus::core::FrameError::ok) return {};
  std::vector<syncbus::core::Acknowledgement> all;
  for (syncbus::core::Acknowledgement entry; view.next(entry);) all.push_back(entry);
  return all;
}

inline std::vector<syncbus::core::SequenceRange> requested_by(const Sent& sent) {
  syncbus::core::RepairRequestView view;
  if (syncbus::core::decode_repair_request(header_of(sent.bytes), view) != syncbus::core::FrameError::ok) return {};
  std::vector<syncbus::core::SequenceRange> all;
  for (syncbus::core::SequenceRange range; view.next(range);) all.push_back(range);
  return all;
}

/// What an events frame carries, as lines.
inline Lines lines_of(syncbus::Bytes frame) {
  syncbus::core::EventsView events;
  const auto header = header_of(frame);
  if (syncbus::core::decode_events(header, events) != syncbus::core::FrameError::ok) return {"no events"};
  Lines lines;
  for (syncbus::core::WireEvent event; events.next(event);) {
    lines.push_back(event.type == syncbus::EventType::resync
                        ? line_of(syncbus::Resync{event.cause, header.origin})
                        : line_of(syncbus::Event{event.type, event.key, event.version, header.origin}));
  }
  return lines;
}

/// The machine of one node, and everything that it wanted done. Alone, it hears its own heartbeats at once.
class Node {
 public:
  using Status = syncbus::core::AcknowledgementStatus;

  explicit Node(const syncbus::core::ProtocolOptions& options = roomy(), bool ready = true,
                syncbus::TimePoint begin = start)
      : machine{options}, self{options.self}, now{begin} {
    if (ready) on_ready(1);
  }

  // --- inputs

  void on_ready(std::uint64_t in, std::size_t frame_limit = syncbus::core::max_frame_bytes) {
    session = in;
    machine.on_ready(in, frame_limit, now);
    act();
  }
  void on_interrupted() {
    machine.on_interrupted(now);
    act();
  }
  void on_confirmed(std::uint64_t sequence) {
    machine.on_confirmed(sequence);
    act();
  }
  void on_frame(syncbus::Bytes frame) {
    machine.on_frame(frame, listening, now);
    act();
  }
  syncbus::core::Submitted submit(const syncbus::core::WireEvent& event, bool may_join = true) {
    const auto result = machine.submit(event, may_join);
    act();
    return result;
  }
  syncbus::core::Submitted publish(std::string_view key, std::uint64_t version = 0) {
    return submit({.key = key, .version = version});
  }

  /// Publishes all keys and awaits them; the ticket, 0 when too many are open.
  syncbus::core::Ticket await(const std::vector<std::string>& keys, syncbus::Quorum quorum,
                              syncbus::Duration timeout = std::chrono::seconds{5}, bool heard_here = false) {
    const auto ticket = machine.open_await({.quorum = quorum,
                                            .events = static_cast<std::uint32_t>(keys.size()),
                                            .deadline = now + timeout,
                                            .heard_here = heard_here},
                                           now);
    if (!ticket) return 0;
    for (std::uint32_t i = 0; i != keys.size(); ++i) {
      (void)machine.submit({.key = keys[i]}, true, syncbus::core::Awaited{*ticket, i});
    }
    machine.submitted(*ticket);
    act();
    return *ticket;
  }

  /// Time passes; the machine is woken when it asked for it, and only then.
  void pass(syncbus::Duration time) { pass_until(now + time); }
  void pass_until(syncbus::TimePoint until) {
    for (int in_a_row = 0; wake && *wake <= until; in_a_row = wake && *wake <= now ? in_a_row + 1 : 0) {
      if (in_a_row == 100) throw std::logic_error{"the machine wants to be woken at once, again and again"};
      wake_up();
    }
    now = (std::max)(now, until);
  }
  void wake_up() {
    now = (std::max)(now, wake.value_or(now));
    wake.reset();
    ++wakes;
    machine.tick(now);
    act();
  }

  /// The join window ends, when nobody answers.
  void join() { pass(std::chrono::milliseconds{25}); }

  /// Does what the machine says until it says nothing more.
  void act() {
    do {
      int count = 0;
      for (auto action = machine.next_action(now); action.kind != Kind::none; action = machine.next_action(now)) {
        if (++count == 100'000) throw std::logic_error{"the machine never has enough"};
        perform(action);
      }
      if (handlers_run) take_all();
    } while (echo() || (handlers_run && machine.has_received()));
  }

  // --- subscribers

  /// Takes one item and hears it; its handlers have not returned before returned().
  bool take() {
    if (!machine.take(item_)) return false;
    hear(item_);
    return true;
  }
  void returned() {
    machine.release(std::exchange(answers_, {}), now);
    for (auto action = machine.next_action(now); action.kind != Kind::none; action = machine.next_action(now)) {
      perform(action);
    }
  }

  /// What was heard since the last call; what waits is heard now.
  Lines heard() {
    take_all();
    return std::exchange(lines_, {});
  }

  // --- what was sent

  [[nodiscard]] std::vector<Sent> control(syncbus::core::FrameType type, std::size_t from = 0) const {
    std::vector<Sent> all;
    std::copy_if(others.begin() + static_cast<std::ptrdiff_t>(from), others.end(), std::back_inserter(all),
                 [type](const Sent& frame) { return frame.type == type; });
    return all;
  }
  [[nodiscard]] std::vector<Sent> heartbeats(std::size_t from = 0) const {
    return control(syncbus::core::FrameType::heartbeat, from);
  }
  [[nodiscard]] std::vector<Sent> requests(std::size_t from = 0) const {
    return control(syncbus::core::FrameType::repair_request, from);
  }
  [[nodiscard]] std::vector<Sent> repairs(std::size_t from = 0) const {
    return control(syncbus::core::FrameType::repair, from);
  }
  /// Entries of acknowledgement frames, answers or questions.
  [[nodiscard]] std::vector<syncbus::core::Acknowledgement> entries(bool questions, std::size_t from = 0) const {
    std::vector<syncbus::core::Acknowledgement> all;
    for (const Sent& frame : control(syncbus::core::FrameType::acknowledgement, from)) {
      std::ranges::copy_if(acknowledgements_of(frame), std::back_inserter(all),
                           [questions](const auto& entry) { return (entry.status == Status::requested) == questions; });
    }
    return all;
  }

  [[nodiscard]] syncbus::Duration staleness() { return machine.health(now).staleness; }
  /// Its newest heartbeat to all.
  [[nodiscard]] Sent newest_heartbeat() const {
    const auto all = heartbeats();
    const auto newest = std::find_if(all.rbegin(), all.rend(),
                                     [](const Sent& frame) { return frame.destination == syncbus::NodeId{}; });
    if (newest == all.rend()) throw std::logic_error{"it sent no heartbeat"};
    return *newest;
  }

  syncbus::core::Protocol machine;
  const syncbus::NodeId self;
  syncbus::TimePoint now;
  std::uint64_t session = 0;
  bool listening = true;      ///< somebody on this node hears other nodes
  bool hears_itself = true;   ///< its heartbeats come back, at once
  bool handlers_run = false;  ///< what arrives is heard at once
  std::function<Status(std::string_view)> handler = [](std::string_view) { return Status::applied; };

  std::vector<Sent> sent;    ///< events frames
  std::vector<Sent> others;  ///< all other frames
  std::deque<Sent> wire;     ///< all of them, until the channel takes them
  std::vector<Ended> ended;
  std::optional<syncbus::TimePoint> wake;
  int rooms = 0, dispatches = 0, healths = 0, reopens = 0, wakes = 0;

 private:
  using Kind = syncbus::core::Action::Kind;

  void perform(const syncbus::core::Action& action) {
    if (action.kind == Kind::broadcast || action.kind == Kind::send) keep(action);
    if (action.kind == Kind::wake) wake = action.at;
    rooms += action.kind == Kind::room ? 1 : 0;
    dispatches += action.kind == Kind::dispatch ? 1 : 0;
    healths += action.kind == Kind::health ? 1 : 0;
    reopens += action.kind == Kind::reopen ? 1 : 0;
    if (action.kind != Kind::complete) return;
    while (auto done = machine.take_completion()) {
      ended.push_back({done->ticket, done->error, std::move(done->replicas), now});
    }
  }

  void keep(const syncbus::core::Action& action) {
    const auto type = header_of(action.bytes).type;
    const bool to_all = action.destination == syncbus::NodeId{};
    Sent frame{.session = action.session,
               .sequence = action.sequence,
               .destination = action.destination,
               .type = type,
               .at = now,
               .bytes = {action.bytes.begin(), action.bytes.end()}};
    if (type == syncbus::core::FrameType::heartbeat && to_all) echoes_.push_back(frame.bytes);
    (type == syncbus::core::FrameType::events ? sent : others).push_back(frame);
    wire.push_back(std::move(frame));
  }

  bool echo() {
    const auto frames = std::exchange(echoes_, {});
    if (!hears_itself || frames.empty()) return false;
    for (const Frame& frame : frames) machine.on_frame(frame, listening, now);
    return true;
  }

  void take_all() {
    while (take()) returned();
  }

  void hear(const syncbus::core::ReceiveQueue::Item& item) {
    using ItemKind = syncbus::core::ReceiveQueue::Item::Kind;
    if (item.kind == ItemKind::resync) return lines_.push_back(line_of(item.resync));
    if (item.kind == ItemKind::frame) return hear_frame(item);
    lines_.push_back(line_of(syncbus::Event{item.event.type, item.event.key, item.event.version, item.event.origin}));
    if (item.event.awaited.empty()) return;
    const Status status = handler(item.event.key);
    for (const auto& place : item.event.awaited) {
      answers_.push_back({item.event.origin, place.sequence, place.index, 1, status});
    }
  }

  void hear_frame(const syncbus::core::ReceiveQueue::Item& item) {
    std::ranges::copy(lines_of(item.frame), std::back_inserter(lines_));
    auto events = syncbus::core::reread_events(item.frame);
    syncbus::core::WireEvent event;
    for (std::uint32_t index = 0; events.next(event); ++index) {
      if (event.awaited) answers_.push_back({events.origin(), events.sequence(), index, 1, handler(event.key)});
    }
  }

  std::vector<Frame> echoes_;
  Lines lines_;
  syncbus::core::ReceiveQueue::Item item_;
  std::vector<syncbus::core::Acknowledgement> answers_;
};

}  // namespace support
