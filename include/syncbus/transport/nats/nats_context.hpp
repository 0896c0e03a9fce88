// The state that the sessions of one NATS transport share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/nats/nats_outbox.hpp>
#include <syncbus/transport/nats/sink_gate.hpp>
#include <syncbus/transport/session/problem_reporter.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// Broadcasts, and frames for this node.
struct NatsSubjects {
  std::string broadcast;
  std::string direct;
};

/// Shared by its threads, of which one may have to be left behind.
struct NatsContext {
  NatsSubjects subjects;
  TransportSettings settings;
  SinkGate sink{};
  NatsOutbox outbox{};
  ProblemReporter problems{};  ///< of the sender
  std::atomic<bool> closing = false;
  std::atomic<std::uint64_t> live_session = 0;  ///< set to 0 by who wants it reopened

  /// Tells the user; once in a while only, when it is always the same. Sender.
  void report(const DisconnectReason& what) noexcept {
    sink.tell([&](TransportSink& told) {
      problems.report(told, make_error_code(what.code), what.sentence, std::chrono::steady_clock::now());
    });
  }
};

}  // namespace syncbus::inline v1::detail
