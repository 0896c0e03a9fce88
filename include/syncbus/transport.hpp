// The concept Transport, and the sink that a transport pushes into. The page to read to add a broker.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

#include <syncbus/base/time.hpp>
#include <syncbus/event.hpp>
#include <syncbus/frame_bytes.hpp>

namespace syncbus::inline v1 {

/// Names one broadcast. `session` numbers the transport's connections from 1: it grows with every on_ready.
struct BroadcastToken {
  std::uint64_t session = 0;
  std::uint64_t frame = 0;

  friend constexpr auto operator<=>(const BroadcastToken&, const BroadcastToken&) = default;
};

/// What a bus tells its transport when it opens it.
struct TransportSettings {
  NodeId self;                ///< directed frames to this node are ours
  bool publish_only = false;  ///< receive nothing: no subscription is made
  Duration connect_timeout{}; ///< within it an attempt of open() succeeds or throws
  Duration wait_for_broker{}; ///< so long open() makes further attempts where is_worth_waiting() says so
  Duration peer_timeout{};    ///< a broker that answers nothing for so long counts as dead
  bool lends_threads = false; ///< of a LendableTransport: serve() will be called, no thread is needed for that
};

/// Where a transport delivers. Implemented by the engine of a bus; every call returns soon and throws nothing. Calls
/// may come from any of the transport's threads. A call may call broadcast(), send() and reopen() before it returns, so
/// during a call a transport holds none of the locks that these take.
class TransportSink {
 public:
  /// A message arrived, broadcast or directed, own echoes included. The bytes are the caller's and need only live for
  /// the call. One call at a time, in the order in which the broker delivered. Never in a publish_only bus.
  virtual void on_frame(Bytes bytes) noexcept = 0;

  /// The broker has the frame of this token, and every frame broadcast before it in the same session.
  virtual void on_confirmed(BroadcastToken token) noexcept = 0;

  /// The session ended: messages may be lost from here on, sent ones and received ones. At most once a session.
  virtual void on_interrupted() noexcept = 0;

  /// Messages of others are lost for good, and perhaps nobody is left who would tell of them. Between sessions.
  virtual void on_lost() noexcept {}

  /// The same, because the session that is about to begin is on another broker than the one before, and others may have
  /// been on this one meanwhile: neither they nor we have heard what was published on the other. Between sessions.
  virtual void on_moved() noexcept {}

  /// Where the next session is, or this one from now on. Only from a transport whose sessions are not lossless although
  /// those at one *place*, which is one running server, lose nothing of each other: see rule 11. Holds until the
  /// transport says otherwise; 0, or no word at all: not known.
  virtual void on_place(std::uint64_t place) noexcept { static_cast<void>(place); }

  /// A session began: whatever is published by anybody from now on arrives here. Called once before open() returns,
  /// then once after each interruption. `max_frame_bytes`: at least least_frame_bytes.
  virtual void on_ready(std::uint64_t session, std::size_t max_frame_bytes) noexcept = 0;

  /// The time that the transport was asked to wake at has come. Only from a transport that keeps time.
  virtual void on_wake() noexcept {}

  /// Something a person should know: a refused permission, an error of the client; without a code, what the client
  /// was asked to report. One sentence, no line end.
  virtual void on_problem(std::error_code code, std::string_view sentence) noexcept = 0;

 protected:
  ~TransportSink() = default;
};

/// A dumb pipe over one broker. What a type must mean beyond its syntax:
///
///  1. open() makes the first session, or throws std::system_error with an Errc and a sentence that says what to do,
///     within connect_timeout, or connect_timeout after wait_for_broker. It is called once. Later sessions the
///     transport makes by itself, for ever, until close().
///  2. A session begins only when the broker has confirmed the subscriptions (unless publish_only), and when no
///     broadcast() of an earlier one reads its bytes any longer.
///  3. broadcast() reaches every node on the channel, the sender included: by what comes back a node knows that it
///     hears. It never blocks and never fails: it writes, or enqueues, or drops when the session of the token is not
///     the current one. The bytes stay valid and unchanged until the frame is confirmed, but at least until broadcast()
///     returns; a transport that needs them longer copies them.
///  4. Calls of broadcast() and send() come one at a time, from any thread, also from inside a sink call.
///  5. Frames of one session arrive at each receiver in the order of their broadcasts. One that the broker refused may
///     be missing before later ones; rule 6 says what becomes of it.
///  6. What was broadcast is confirmed, or the session is interrupted; nothing stays unanswered beyond peer_timeout.
///     After an interruption the transport sends nothing again: the engine does that. A client that still holds frames
///     of the session may bring them late, once each, before those of the next session.
///  7. send() is for one node, best effort, never confirmed, and may be lost without an interruption.
///  8. reopen() ends a session that the engine believes to be deaf, as if its connection had broken: the sink is told
///     of the interruption, and a new session is made. It does not block, and does nothing when that session is not the
///     current one. It is called like broadcast().
///  9. close() ends the session without a word to the sink, stops every thread, and returns when no sink call is
///     running and none will come. It is called outside of sink calls, at most once, also when open() threw.
/// 10. `lossless_sessions`: within a session no receiver loses a broadcast unless its own transport is interrupted.
/// 11. on_place(): nodes that named the same place, while their sessions go on there, lose no broadcast of each other
///     unless their own transport is interrupted. A node names one only while it knows of no other server where its
///     next session could be. When it learns of one it takes the place back (0), until its next session. A server that
///     is started again is another place.
template <class T>
concept Transport = requires(T& transport, TransportSink& sink, const TransportSettings& settings,
                             Bytes bytes, BroadcastToken token, NodeId node, std::uint64_t session) {
  { transport.open(sink, settings) };
  { transport.broadcast(bytes, token) } noexcept;
  { transport.send(node, bytes) } noexcept;
  { transport.reopen(session) } noexcept;
  { transport.close() } noexcept;
  { T::lossless_sessions } -> std::convertible_to<bool>;
};

/// A transport with a clock of its own, which then is the engine's: now() is the time, wake_at(t) asks for one
/// on_wake() at t or soon after it, and a later call replaces an earlier one; wake_at is called like broadcast().
/// wait_until blocks until `done()`, which may lock the engine, or the deadline, and returns done(); it may throw where
/// time cannot move. From task_began(), by way of task_runs(), to task_ended(), which come from any thread, an executor
/// has a task of the engine, and time stands still.
template <class T>
concept TimedTransport = Transport<T> && requires(T& transport, const T& constant, TimePoint time, bool (*done)()) {
  { constant.now() } noexcept -> std::same_as<TimePoint>;
  { transport.wake_at(time) } noexcept;
  { transport.wait_until(time, done) } -> std::same_as<bool>;
  { transport.task_began() } noexcept;
  { transport.task_runs() } noexcept;
  { transport.task_ended() } noexcept;
};

/// A transport whose I/O can be done by other threads: the thread that has read a frame can then dispatch it at once,
/// while another reads on. serve() does the transport's I/O on the calling thread: all of it, or at least the reading
/// of broadcasts. It may be called before open(). It returns true when `leave` was set inside a sink call, and false
/// when there will be nothing more to do, after close() or when open() failed. One thread at a time.
template <class T>
concept LendableTransport = Transport<T> && requires(T& transport, const std::atomic<bool>& leave) {
  { transport.serve(leave) } noexcept -> std::same_as<bool>;
};

}  // namespace syncbus::inline v1
