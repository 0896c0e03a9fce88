// What must hold for a node's machine whatever happens to it: bytes are read as a list of what happens. Shared by the
// fuzzer and the test that replays its corpus.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/core/protocol.hpp>
#include <syncbus/core/wire/codec.hpp>

#include "support/control_frames.hpp"
#include "support/frames.hpp"
#include "support/machine.hpp"

namespace support {

/// A machine with small bounds, and what happens to it: frames of three peers and of its own, well-formed or not, its
/// publishers, its transport, its dispatcher, time.
class HauntedMachine {
 public:
  explicit HauntedMachine(std::span<const std::byte> script) : script_{script}, options_{options(byte())}, node_{options_} {}

  /// What is wrong, in a sentence; empty: nothing.
  [[nodiscard]] std::string run() try {
    for (int left = 200; left != 0 && !script_.empty(); --left) {
      happen();
      check();
    }
    node_.pass(std::chrono::minutes{1});
    check();
    return problem_;
  } catch (const std::logic_error& endless) {  // of Node: it never rests
    return endless.what();
  }

 private:
  [[nodiscard]] static syncbus::core::ProtocolOptions options(unsigned bits) {
    auto options = roomy();
    options.publish_only = (bits & 1U) != 0;
    options.lossless_sessions = (bits & 2U) != 0;
    options.history_bytes = (bits & 4U) != 0 ? kib : 16 * kib;
    options.queue_bytes = (bits & 8U) != 0 ? 256 : 16 * kib;
    options.pending_bytes = (bits & 16U) != 0 ? 256 : 16 * kib;
    options.max_peers = (bits & 32U) != 0 ? 1 : 16;
    options.max_awaits = (bits & 64U) != 0 ? 1 : 16;
    if ((bits & 128U) != 0) options.heartbeat = options.peer_timeout;
    return options;
  }

  [[nodiscard]] unsigned byte() {
    if (script_.empty()) return 0;
    const auto value = std::to_integer<unsigned>(script_.front());
    script_ = script_.subspan(1);
    return value;
  }
  /// Mostly small, sometimes as large as can be.
  [[nodiscard]] std::uint64_t number() {
    const unsigned value = byte();
    return value < 250 ? value : ~std::uint64_t{0} - (255 - value);
  }
  [[nodiscard]] std::string_view key() {
    constexpr std::string_view keys{"abcdefgh"};
    return keys.substr(byte() % keys.size(), 1);
  }
  /// The machine itself among them.
  [[nodiscard]] syncbus::NodeId origin() { return {1 + byte() % 4}; }

  void happen() {
    const unsigned what = byte();
    switch (what % 16) {
      case 0: (void)node_.publish(key(), number()); return;
      case 1: (void)node_.submit({.type = syncbus::EventType::resync, .cause = syncbus::ResyncCause::requested}); return;
      case 2: return open_await();
      case 3: return node_.on_confirmed(node_.sent.empty() ? 0 : node_.sent.back().sequence - byte() % 2);
      case 4:
        if (node_.machine.connected()) return node_.on_interrupted();
        node_.machine.on_place(node_.session % 3);
        return node_.on_ready(node_.session + 1, 256 + 16 * byte());
      case 5: return node_.pass(std::chrono::milliseconds{byte()});
      case 6: return node_.pass(std::chrono::milliseconds{100 * byte()});
      case 7: node_.listening = !node_.listening; return;
      case 8: node_.hears_itself = !node_.hears_itself; return;
      case 9: (void)node_.heard(); return;
      case 10: return node_.on_frame(event_frame());
      case 11: return node_.on_frame(repair_frame(origin(), to(), event_frame()));
      case 12: return heartbeat();
      case 13: return acknowledgement();
      case 14: return question();
      default: return garbage();
    }
  }

  [[nodiscard]] syncbus::NodeId to() { return {byte() % 2 == 0 ? std::uint64_t{0} : node_.self.value}; }

  [[nodiscard]] Frame event_frame() {
    const auto from = origin();
    const auto sequence = (std::max)(number(), std::uint64_t{1});
    const unsigned kind = byte();
    const auto name = key();
    if (kind % 8 == 0) {
      return events_frame(from, sequence,
                          {{.type = syncbus::EventType::resync, .cause = syncbus::ResyncCause::requested}});
    }
    return events_frame(from, sequence,
                        {{.type = syncbus::EventType::set, .key = name, .version = kind, .awaited = kind % 2 == 0},
                         {.key = "other", .awaited = kind % 3 == 0}});
  }

  void heartbeat() {
    const auto from = origin();
    const unsigned flags = byte();
    syncbus::core::HeartbeatView view{.answer_me = (flags & 1U) != 0,
                                      .goodbye = (flags & 2U) != 0,
                                      .publish_only = (flags & 4U) != 0,
                                      .number = (std::max)(number(), std::uint64_t{1}),
                                      .last_sequence = number(),
                                      .place = (flags >> 3U) % 4,
                                      .interval = std::chrono::milliseconds{byte()}};
    view.oldest_sequence = (std::min)(std::uint64_t{byte()}, view.last_sequence);
    view.newest_origin = origin();
    view.newest_number = number();
    Frame frame(syncbus::core::max_heartbeat_bytes);
    frame.resize(syncbus::core::encode_heartbeat(frame, from, to(), view));
    if (!frame.empty()) node_.on_frame(frame);
  }

  void acknowledgement() {
    const auto from = origin();
    const auto status = static_cast<syncbus::core::AcknowledgementStatus>(byte() % 5);
    const Frame frame = acknowledgement_frame(
        from, to(), {{origin(), (std::max)(number(), std::uint64_t{1}), byte(), 1 + byte(), status}});
    if (!frame.empty()) node_.on_frame(frame);
  }

  void question() {
    const auto from = origin();
    const auto first = (std::max)(number(), std::uint64_t{1});
    if (first < 250) node_.on_frame(repair_request_frame(from, origin(), {{first, first + byte()}}));
  }

  /// A frame of its own with one byte changed, and the checksum right or not.
  void garbage() {
    if (node_.wire.empty()) return;
    Frame frame = node_.wire[byte() % node_.wire.size()].bytes;
    const std::size_t at = byte() % frame.size();
    const auto value = static_cast<std::byte>(byte());
    if (byte() % 4 == 0) {
      frame[at] = value;
    } else {
      frame = altered(std::move(frame), at, value);
    }
    node_.on_frame(frame);
  }

  void open_await() {
    const auto await_id = node_.await({std::string{key()}}, syncbus::Quorum{static_cast<int>(byte() % 3)},
                                      std::chrono::milliseconds{10 * byte()});
    if (await_id != 0) open_.insert(await_id);
  }

  void check() {
    const syncbus::Metrics metrics = node_.machine.metrics();
    if (metrics.history_bytes > options_.history_bytes) problem_ = "more history than may be kept";
    if (metrics.queue_bytes > options_.queue_bytes + options_.pending_bytes) problem_ = "a longer queue than may be kept";
    if (node_.machine.peers(node_.now).size() > options_.max_peers) problem_ = "more peers than may be remembered";
    if (node_.staleness() < syncbus::Duration{}) problem_ = "fresh before its time";
    for (; ended_ != node_.ended.size(); ++ended_) {
      if (open_.erase(node_.ended[ended_].await_id) == 0) problem_ = "an await ended that was not open";
    }
    for (; sent_ != node_.sent.size(); ++sent_) {
      const Sent& frame = node_.sent[sent_];
      const auto [known, fresh] = frames_.try_emplace(frame.sequence, frame.bytes);
      if (!fresh && known->second != frame.bytes) problem_ = "a sequence has other bytes when it is sent again";
      if (fresh && frame.sequence != frames_.size()) problem_ = "a sequence was left out";
    }
  }

  std::span<const std::byte> script_;
  const syncbus::core::ProtocolOptions options_;
  Node node_;
  std::set<syncbus::core::AwaitId> open_;
  std::map<std::uint64_t, Frame> frames_;
  std::size_t ended_ = 0, sent_ = 0;
  std::string problem_;
};

}  // namespace support
