// The input of a bus's primitives: one operation on some keys, and the interest of a subscriber.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <syncbus/event.hpp>

namespace syncbus::inline v1 {

/// One operation on some keys, which live as long as the call. `type` lease_revoked means that the keys are lease ids;
/// type resync, without keys, that everything is stale.
struct Submission {
  EventType type = EventType::invalidate;
  std::uint64_t version = 0;
  Scope scope = Scope::all;
  std::span<const std::string_view> keys{};
};

/// What the name of an Interest is. Each kind is a namespace of its own.
enum class KeySpace : std::uint8_t { key, lease, prefix };

/// What a subscriber wants to hear: the events of a key, of a lease, or of every key that begins with a prefix, which
/// may be empty. `name` lives as long as the call.
struct Interest {
  KeySpace space = KeySpace::key;
  std::string_view name{};
  Scope from = Scope::all;  ///< whose publishes
};

}  // namespace syncbus::inline v1
