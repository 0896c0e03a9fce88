// A machine that hears one peer, whose frames a test writes.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <syncbus/core/protocol.hpp>

#include "support/control_frames.hpp"
#include "support/frames.hpp"
#include "support/machine.hpp"

namespace support {

/// The peer that is meant when none is named.
inline constexpr syncbus::NodeId usual_peer{2};

/// A node that has joined, and one peer that it knows: frames 1 to `seen` were heard.
struct Receiver : Node {
  explicit Receiver(const syncbus::core::ProtocolOptions& options = roomy(), std::uint64_t seen = 1) : Node{options} {
    join();
    beat(0, 0);
    for (std::uint64_t sequence = 1; sequence <= seen; ++sequence) frame(sequence);
    (void)heard();
  }

  void frame(std::uint64_t sequence, syncbus::NodeId of = usual_peer) {
    const std::string key = std::to_string(sequence);
    on_frame(events_frame(of, sequence, {{.key = key}}));
  }
  void repaired(std::uint64_t sequence, syncbus::NodeId of = usual_peer) {
    const std::string key = std::to_string(sequence);
    on_frame(support::repair_frame(of, self, events_frame(of, sequence, {{.key = key}})));
  }
  void beat(std::uint64_t last, std::uint64_t oldest = 1, syncbus::NodeId of = usual_peer,
            syncbus::Duration next = std::chrono::seconds{1}) {
    on_frame(heartbeat_frame(of, {.number = ++number_,
                                  .last_sequence = last,
                                  .oldest_sequence = oldest,
                                  .place = place,
                                  .interval = std::chrono::duration_cast<std::chrono::microseconds>(next)}));
  }
  /// The peer is heard every 100 ms, and has nothing new to say.
  void pass_heard(syncbus::Duration time, std::uint64_t last) {
    constexpr std::chrono::milliseconds step{100};
    for (; time > time.zero(); time -= step) {
      pass(step);
      beat(last);
    }
  }
  void reconnect() {
    on_interrupted();
    pass(std::chrono::milliseconds{100});
    on_ready(session + 1);
  }

  std::uint64_t place = 0;  ///< that heartbeats tell

 private:
  std::uint64_t number_ = 0;
};

inline syncbus::core::ProtocolOptions lossless() {
  auto options = roomy();
  options.lossless_sessions = true;
  return options;
}

}  // namespace support
