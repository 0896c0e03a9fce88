// Submission: one operation on some keys, as the verbs of a bus hand it to what is behind them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <syncbus/event.hpp>

namespace syncbus::inline v1 {

/// What a verb hands to the bus behind the facade: one operation on some keys.
/// `type` lease_revoked means that the keys are lease ids; type resync, without keys, that everything is stale.
struct Submission {
  EventType type = EventType::invalidate;
  std::uint64_t version = 0;
  Scope scope = Scope::all;
  std::span<const std::string_view> keys{};
};

}  // namespace syncbus::inline v1
