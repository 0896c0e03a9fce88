// One node's machine driven by hand: a virtual clock, and everything that the machine wanted done.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
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
  syncbus::core::AwaitId await_id = 0;
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

/// The machine of one node, and everything that it wanted done. Alone, it hears its own broadcasts at once.
class Node {
 public:
  using Status = syncbus::core::AcknowledgementStatus;

  explicit Node(const syncbus::core::ProtocolOptions& options = roomy(), bool ready = true,
                syncbus::TimePoint begin = start);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node();

  // --- inputs

  void on_ready(std::uint64_t in, std::size_t frame_limit = syncbus::max_frame_bytes);
  void on_interrupted();
  void on_confirmed(std::uint64_t sequence);
  void on_frame(syncbus::Bytes frame);
  syncbus::core::Submitted submit(const syncbus::core::WireEvent& event, bool may_join = true);
  syncbus::core::Submitted publish(std::string_view key, std::uint64_t version = 0) {
    return submit({.key = key, .version = version});
  }

  /// Publishes all keys and awaits them; the id of the await, 0 when too many are open.
  syncbus::core::AwaitId await(const std::vector<std::string>& keys, syncbus::Quorum quorum,
                               syncbus::Duration timeout = std::chrono::seconds{5}, bool heard_here = false);

  /// Time passes; the machine is woken when it asked for it, and only then.
  void pass(syncbus::Duration time) { pass_until(now + time); }
  void pass_until(syncbus::TimePoint until);
  void wake_up();

  /// The join window ends, when nobody answers.
  void join() { pass(std::chrono::milliseconds{45}); }

  /// Does what the machine says until it says nothing more.
  void act();

  // --- subscribers

  /// Takes one item and hears it; its handlers have not returned before returned().
  bool take();
  void returned();

  /// What was heard since the last call; what waits is heard now.
  Lines heard();

  // --- what was sent

  [[nodiscard]] std::vector<Sent> control(syncbus::core::FrameType type, std::size_t from = 0) const;
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
  [[nodiscard]] std::vector<syncbus::core::Acknowledgement> entries(bool questions, std::size_t from = 0) const;

  [[nodiscard]] syncbus::Duration staleness();
  /// Its newest heartbeat to all.
  [[nodiscard]] Sent newest_heartbeat() const;

  syncbus::core::Protocol machine;
  const syncbus::NodeId self;
  syncbus::TimePoint now;
  std::uint64_t session = 0;
  bool listening = true;      ///< somebody on this node hears other nodes
  bool hears_itself = true;   ///< its broadcasts come back, at once
  bool handlers_run = false;  ///< what arrives is heard at once
  std::function<Status(std::string_view)> handler = [](std::string_view) { return Status::applied; };

  std::vector<Sent> sent;    ///< events frames
  std::vector<Sent> others;  ///< all other frames
  std::deque<Sent> wire;     ///< all of them, until the channel takes them
  std::vector<Ended> ended;
  std::vector<syncbus::NodeId> doubled;  ///< whom it said there are two of; 0: itself
  std::optional<syncbus::TimePoint> wake;
  int rooms = 0, dispatches = 0, healths = 0, reopens = 0, wakes = 0;

 private:
  using Kind = syncbus::core::Action::Kind;

  void perform(const syncbus::core::Action& action);
  void keep(const syncbus::core::Action& action);
  bool echo();
  void take_all();
  void hear(const syncbus::core::ReceiveQueue::Item& item);
  void hear_frame(const syncbus::core::ReceiveQueue::Item& item);

  std::vector<Frame> echoes_;
  Lines lines_;
  syncbus::core::ReceiveQueue::Item item_;
  std::vector<syncbus::core::Acknowledgement> answers_;
};

}  // namespace support
