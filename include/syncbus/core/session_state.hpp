// What all parts of the machine read of the session, and only Protocol writes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace syncbus::inline v1::core {

struct SessionState {
  std::uint64_t session = 0;    ///< 1, 2, 3 ...; 0: there was none yet
  bool connected = false;       ///< it lasts
  std::size_t frame_limit = 0;  ///< the broker takes so many bytes at once
};

}  // namespace syncbus::inline v1::core
