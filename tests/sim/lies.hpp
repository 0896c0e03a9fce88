// Well-formed frames with false contents, in anybody's name, as who may write to the channel can make them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <syncbus/core/wire/codec.hpp>
#include <syncbus/event.hpp>

#include "sim/random.hpp"

namespace sim {

/// What a liar sends. It invents no events and no answers that end an await, of which nobody could know that they are
/// false, and takes no number of a frame that is soon to come; all else it says.
class Liar {
 public:
  using NodeId = syncbus::NodeId;
  using Frame = std::vector<std::byte>;

  /// `lives`: the node that it is about will be heard to the end. Of another one no long interval is told, which would
  /// hide for minutes that it is not there.
  Liar(Random& random, NodeId about, bool lives, NodeId to) noexcept
      : random_{random}, about_{about}, lives_{lives}, to_{to} {}

  [[nodiscard]] Frame frame() {
    switch (random_.below(8)) {
      case 0: return far_ahead();
      case 1: return welcome();
      case 2: return answer();
      case 3: return request();
      default: return heartbeat();
    }
  }

 private:
  static constexpr std::uint64_t most = ~std::uint64_t{0};
  static constexpr std::size_t room = 1'024;

  /// Small, plausible, or as large as can be.
  [[nodiscard]] std::uint64_t number() {
    const std::uint64_t numbers[] = {0, 1, random_.below(20), random_.below(400), 1'000'000, most / 2, most};
    return random_.pick(numbers);
  }
  [[nodiscard]] NodeId destination() { return random_.chance(0.3) ? to_ : NodeId{}; }
  [[nodiscard]] std::chrono::microseconds interval() {
    if (lives_ && random_.chance(0.3)) return std::chrono::hours{24};
    return random_.chance(0.5) ? std::chrono::milliseconds{100} : std::chrono::milliseconds{0};
  }

  [[nodiscard]] Frame heartbeat() {
    Frame frame(room);
    frame.resize(syncbus::core::encode_heartbeat(frame, about_, destination(),
                                                 {.answer_me = random_.chance(0.2),
                                                  .goodbye = random_.chance(0.2),
                                                  .publish_only = random_.chance(0.1),
                                                  .observer = random_.chance(0.1),
                                                  .greets = random_.chance(0.5),
                                                  .number = number(),
                                                  .last_sequence = number(),
                                                  .ahead = number(),
                                                  .oldest_sequence = number(),
                                                  .hello = random_.chance(0.2) ? number() : 0,
                                                  .interval = interval(),
                                                  .name = "liar",
                                                  .zone = "forged",
                                                  .newest_origin = to_,
                                                  .newest_number = number()}));
    return frame;
  }

  /// An events frame without events, by itself or as if somebody repaired it.
  [[nodiscard]] Frame far_ahead() {
    Frame events(syncbus::core::events_header_bytes);
    syncbus::core::begin_events_frame(events, about_);
    syncbus::core::seal_events_frame(events, 100'000 + number() / 2);
    if (random_.chance(0.5)) return events;
    Frame frame(room);
    frame.resize(syncbus::core::encode_repair(frame, NodeId{random_.next() | 1U}, destination(), events));
    return frame;
  }

  [[nodiscard]] Frame welcome() {
    Frame frame(room);
    syncbus::core::WelcomeWriter writer{frame};
    const bool invented = random_.chance(0.3);
    if (invented) lives_ = false;
    for (std::size_t left = 1 + random_.below(2); left != 0; --left) {
      static_cast<void>(writer.add({.node = invented ? NodeId{random_.next() | 1U} : about_,
                                    .publish_only = random_.chance(0.1),
                                    .observer = random_.chance(0.1),
                                    .greets = random_.chance(0.5),
                                    .current = random_.chance(0.8),
                                    .number = number(),
                                    .last_sequence = number(),
                                    .oldest_sequence = number(),
                                    .interval = interval(),
                                    .name = "liar",
                                    .zone = "forged"}));
    }
    frame.resize(writer.finish(number()));
    syncbus::core::address_welcome(frame, random_.chance(0.5) ? about_ : NodeId{random_.next() | 1U}, destination(), 0,
                                   random_.chance(0.2) ? 2 : 1);
    return frame;
  }

  /// That something is not done yet, or a question.
  [[nodiscard]] Frame answer() {
    using Status = syncbus::core::AcknowledgementStatus;
    Frame frame(room);
    syncbus::core::AcknowledgementWriter writer{frame};
    for (std::size_t left = 1 + random_.below(10); left != 0; --left) {
      const bool question = random_.chance(0.5);
      static_cast<void>(writer.add({.publisher = question ? about_ : to_,
                                    .sequence = random_.chance(0.5) ? 1 + random_.below(30) : number() | 1U,
                                    .index = static_cast<std::uint32_t>(random_.below(4)),
                                    .count = static_cast<std::uint32_t>(1 + random_.below(1'000)),
                                    .status = question ? Status::requested : Status::pending}));
    }
    frame.resize(writer.finish(random_.chance(0.7) ? about_ : NodeId{random_.next() | 1U}, destination()));
    return frame;
  }

  [[nodiscard]] Frame request() {
    Frame frame(room);
    const std::uint64_t first = 1 + random_.below(30);
    const syncbus::core::SequenceRange range{first, random_.chance(0.5) ? first + random_.below(20) : most};
    frame.resize(syncbus::core::encode_repair_request(frame, about_, to_, to_, {&range, 1}));
    return frame;
  }

  Random& random_;
  NodeId about_;
  bool lives_;
  NodeId to_;
};

}  // namespace sim
