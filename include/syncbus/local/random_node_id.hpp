// Draws the identity of a node from the operating system's entropy.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <system_error>

#include <syncbus/event.hpp>

namespace syncbus::inline v1::detail {

/// 64 random bits, never 0. Throws std::system_error when the system has no entropy to give.
[[nodiscard]] inline NodeId random_node_id() {
  NodeId id;
  while (id == NodeId{}) {
    if (::getentropy(&id.value, sizeof id.value) != 0) {
      throw std::system_error{errno, std::generic_category(), "syncbus: cannot draw a node id"};
    }
  }
  return id;
}

}  // namespace syncbus::inline v1::detail
