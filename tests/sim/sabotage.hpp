// Bugs to be planted in a simulated world, each where its machine meets the shell: the auditor has to find them.
#pragma once

#include <cstdint>

namespace sim {

enum class Sabotage : std::uint8_t {
  none,
  withhold_events,   ///< a frame is taken for heard, and its events are not
  skip_handler,      ///< it is not called, and acknowledged as if it had been
  swallow_answers,   ///< nothing is acknowledged
  forge_answer,      ///< each acknowledgement counts a second time, for a node that does not exist
  name_twice,        ///< a replica stands twice in the outcome of an await
  dawdle,            ///< frames go out late
  give_up_at_once,   ///< an await fails before anybody can have answered
  refuse_awaits,     ///< as if too many were open
  invent_resync,     ///< one is heard now and then, for no reason
  repeat_resync,     ///< each is heard twice
  feign_freshness,   ///< nothing is ever stale
  hoard_history,     ///< more than may be kept
  hoard_frames,      ///< more than may wait for the dispatcher
  mistake_type,      ///< what was removed is heard as set
  mistake_version,   ///< an event without a version is heard with the one before
  disorder,          ///< a late set is heard as a set
  cut_flush_short,   ///< a goodbye goes out before what was published has gone out
  ignore_versions,   ///< frames of another one are no frames
  ignore_heartbeats, ///< once the link has healed
};

}  // namespace sim
