// The options of buses, publishes, awaits and mailboxes. Every member has a default, none is inherited,
// so `{.name = "cache-7"}` says all that differs. Durations are steady-clock durations, sizes are bytes.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include <syncbus/base/time.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1 {

/// How one publish is made.
struct PublishOptions {
  EventType type = EventType::invalidate;  ///< invalidate, set or remove; others are invalid_argument
  /// Travels with the event. 0: none, and every copy is dropped, which is right without any bookkeeping. Another number
  /// is right only when it grows strictly with each change of the key, in the order of the changes, through removals
  /// too: a remove takes the next number, and a key that is made again goes on from there. So it is a counter that the
  /// write itself increments, never a timestamp: of two changes with one number the later one is not heard.
  std::uint64_t version = 0;
  Scope scope = Scope::all;
};

/// How an await waits.
struct AwaitOptions {
  Duration timeout = std::chrono::seconds{5};
  std::stop_token stop_token{};  ///< a request ends the await with Errc::canceled
  PublishOptions publish{};
};

/// How a mailbox holds what was not received yet.
struct MailboxOptions {
  std::size_t capacity = 1'024;  ///< keys; one more joins everything to a resync
  std::stop_token stop_token{};  ///< a request closes the mailbox
  Scope scope = Scope::all;      ///< whose publishes it hears
};

/// How far a node may be behind.
struct Health {
  bool connected = false;  ///< the broker is connected and brings back what this node broadcasts
  Duration staleness{};    ///< how long ago a live peer may have published what is not handled here: see BasicBus
  bool peers_left_out = false;  ///< there are more live peers than max_peers has room for, or two with one id
};

/// How a bus works. What a bus has no use for (an alone InMemoryBus has no broker) is ignored.
struct BusOptions {
  std::string name{};  ///< for people: shown to peers, in logs and metrics; at most 255 bytes
  std::string zone{};  ///< a failure domain; empty: none; at most 255 bytes
  std::size_t max_key_bytes = 4'096;
  Duration connect_timeout = std::chrono::seconds{5};  ///< within it a constructor succeeds or throws
  /// For so long a constructor goes on to try when there is no broker yet, or it is not ready; each attempt has
  /// connect_timeout, and on_log hears of each that failed. What the broker refuses, or an argument, is thrown at once.
  Duration wait_for_broker{};
  Duration close_timeout = std::chrono::seconds{2};    ///< what a destructor gives to close, a failed start to on_log
  Duration send_wait = std::chrono::milliseconds{100}; ///< longest wait of a publish for room; zero: none, it joins
  Duration heartbeat = std::chrono::seconds{1};     ///< above zero, as peer_timeout; all times are cut to a year
  Duration peer_timeout = std::chrono::seconds{5};  ///< no answer for so long: the broker, or a peer, counts as dead
  Duration repair_timeout = std::chrono::seconds{1};
  std::size_t control_rate = 10'000;  ///< heartbeats that the whole cluster may cause, in deliveries a second
  /// Frames kept: unsent, unconfirmed, and sent; a quarter of it is for frames and events that are awaited.
  std::size_t history_bytes = std::size_t{8} << 20U;
  std::size_t queue_bytes = std::size_t{64} << 20U;   ///< received frames that wait for the dispatcher
  std::size_t pending_bytes = std::size_t{8} << 20U;  ///< each set of events that found no room in a ring
  /// Peers remembered; the gone and the silent are forgotten first. Fewer than there are live peers is too few: a peer
  /// that finds no room is heard, its sets and removes as invalidations, but what is lost of it is not noticed. So as
  /// long as it lives `staleness` grows (and on_health and on_log say why), no await for everyone is satisfied, and
  /// where the broker may lose messages (NATS) a resync every twelve peer_timeouts stands for what may be lost.
  std::size_t max_peers = 4'096;
  /// Awaited events at once (an await of several keys counts as many), and awaits whose completion is not called yet.
  std::size_t max_awaits = 65'536;
  /// A bus without a way back: it receives nothing, and only local subscriptions (Scope::local) are possible.
  bool publish_only = false;
  /// A bus that watches, for tools and dashboards: it hears everything, and no quorum counts it or waits for it. Its
  /// own handlers are no replica of its own awaits, either. Not together with publish_only.
  bool observer = false;

  /// Runs handlers of remote events, completions, on_health and on_log instead of the bus's own dispatch thread. It is
  /// given one task at a time and must run each exactly once, not inside the call. Any thread may call it that brings
  /// the bus something: the transport's, the one that keeps time, a publisher's. So it must not block, which would hold
  /// these up, close among them, and must not throw: what it did not take it is offered again, when time has passed (by
  /// a heartbeat at the latest). To drop a task is the same as not to take it. Tasks that it is still holding keep what
  /// they need alive.
  std::function<void(std::function<void()> task)> executor{};
  /// Called on the dispatch thread whenever `connected` or `peers_left_out` changes, and, while connected, when the
  /// staleness passes `peer_timeout`, or four intervals of this node's heartbeats if that is longer, up or down; the
  /// first time perhaps before the constructor has returned. May be slow; must not call close.
  std::function<void(const Health& health)> on_health{};
  /// Called on the dispatch thread, or the publisher's for what its own handlers threw, so perhaps by several threads
  /// at once, and perhaps before the constructor has returned: one sentence, on one line whatever the bytes of keys and
  /// of others' texts in it: control characters and what is no UTF-8 are written as \xNN. Of each kind of line the
  /// first few are told, then one now and then that says how many were left out. What waits as the bus closes is told
  /// first, on the dispatch thread, and close waits for that until its deadline (a tenth of a second at least); on an
  /// InMemoryBus, which has no such thread, on the thread that closes it. Lines for which there was no time are not
  /// told. Not called once the bus is closed; a call that has begun by then may still run, as may a handler or
  /// on_health beyond the deadline of close.
  std::function<void(std::string_view line)> on_log{};
};

}  // namespace syncbus::inline v1
