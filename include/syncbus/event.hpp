// The events that travel: what changed, who said so, and what a loss looks like.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

namespace syncbus::inline v1 {

/// Identity of one bus object: 64 random bits, drawn anew by every object, so a restarted process is a new node.
/// The value 0 stands for "no node".
struct NodeId {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(NodeId, NodeId) = default;
};

/// 16 lower-case hex digits.
inline std::string to_string(NodeId id) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = 0; i != text.size(); ++i) text[i] = digits[(id.value >> (60 - 4 * i)) & 15U];
  return text;
}

/// A template so that this header needs no <ostream>; a program that prints ids has it.
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out, NodeId id) {
  return out << to_string(id);
}

/// What happened to a key. `lease_revoked` and `resync` are only received, never published.
enum class EventType : std::uint8_t {
  invalidate,     ///< the cached value is no longer right; nothing is said about the new one
  set,            ///< the key has a new value
  remove,         ///< the key is gone
  lease_revoked,  ///< the lease whose id is the key is no longer held
  resync,         ///< anything about the key may have been missed up to now: drop what is cached
};

/// Who hears a publish; at a subscription, whose publishes it hears.
enum class Scope : std::uint8_t {
  all,     ///< this node and every other
  remote,  ///< every other node
  local,   ///< this node
};

/// One operation on one key, as handlers see it. It owns nothing: `key` is valid until the handler returns.
struct Event {
  EventType type = EventType::invalidate;
  std::string_view key{};
  std::uint64_t version = 0;  ///< the publisher's version of the value; 0: none was given
  NodeId origin{};              ///< the node that published it

  /// Whether a copy cached at `cached` (0: of unknown version) is made obsolete by this event.
  /// An event without a version supersedes every copy. One with a version that the copy has already does not: versions
  /// must grow strictly with each change of the key, a remove takes the next (see PublishOptions::version).
  [[nodiscard]] constexpr bool supersedes(std::uint64_t cached) const noexcept {
    return version == 0 || version > cached;
  }
};

/// The same with a key of its own: what a mailbox yields.
/// On an `optional<OwnedEvent> e` both `e->key` and `(*e)->key` are the key.
struct OwnedEvent {
  EventType type = EventType::invalidate;
  std::string key{};
  std::uint64_t version = 0;
  NodeId origin{};

  [[nodiscard]] Event operator*() const noexcept { return {type, key, version, origin}; }
  [[nodiscard]] const OwnedEvent* operator->() const noexcept { return this; }
  [[nodiscard]] bool supersedes(std::uint64_t cached) const noexcept { return (**this).supersedes(cached); }
};

/// Why events may have been missed.
enum class ResyncCause : std::uint8_t {
  overflow,      ///< a queue was full and was joined up to "everything"; or peers are left out: see Health
  unrepairable,  ///< a peer's events were lost and its history no longer has them
  peer_lost,     ///< a peer went silent without a goodbye
  interrupted,   ///< this node's connection was interrupted
  joined,        ///< a peer was heard for the first time, and it had published before
  incompatible,  ///< a peer speaks a protocol version or an event kind that this one does not know
  requested,     ///< somebody called publish_all
};

inline constexpr std::size_t resync_cause_count = 7;

/// "You may have missed anything up to now": the top of the lattice of invalidations. Drop everything cached.
struct Resync {
  ResyncCause cause = ResyncCause::requested;
  NodeId peer{};  ///< the node it concerns; 0 when it is not about one peer

  friend constexpr bool operator==(const Resync&, const Resync&) = default;
};

/// The enumerator's name, as metrics and logs show it.
[[nodiscard]] constexpr std::string_view to_string(ResyncCause cause) noexcept {
  constexpr std::array<std::string_view, resync_cause_count> names{
      "overflow", "unrepairable", "peer_lost", "interrupted", "joined", "incompatible", "requested"};
  const auto index = static_cast<std::size_t>(cause);
  return index < names.size() ? names[index] : "unknown";
}

/// The enumerator's name.
[[nodiscard]] constexpr std::string_view to_string(EventType type) noexcept {
  constexpr std::array<std::string_view, 5> names{"invalidate", "set", "remove", "lease_revoked", "resync"};
  const auto index = static_cast<std::size_t>(type);
  return index < names.size() ? names[index] : "unknown";
}

}  // namespace syncbus::inline v1

template <>
struct std::hash<syncbus::NodeId> {
  /// Ids are random, unless somebody chooses them: the value is its own hash.
  [[nodiscard]] std::size_t operator()(syncbus::NodeId id) const noexcept { return static_cast<std::size_t>(id.value); }
};
