// One node of a hub, and the frames on their way to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// Memory has no limit of frames; the codec has this one.

/// A frame for one receiver.
struct HubCopy {
  NodeId origin;
  TimePoint due;
  std::shared_ptr<const std::vector<std::byte>> bytes;  // shared by the copies of a frame
};

/// A node's place on a hub: it stays while frames of the node are under way, without a sink once the node has left.
struct HubNode {
  NodeId id;
  bool publish_only = false;
  TransportSink* sink = nullptr;
  std::uint64_t session = 1;
  bool crashed = false;
  TimePoint wake = never;

  // What is on its way to this node.
  std::size_t under_way = 0;      // copies in the timeline
  TimePoint last_due{};           // of the last of those
  std::optional<HubCopy> held{};  // waits to be overtaken by the next copy
  TimePoint held_since{};

  /// Whether a copy that comes now has to get in line.
  [[nodiscard]] bool has_line() const noexcept { return under_way != 0 || held; }
};

}  // namespace syncbus::inline v1::detail
