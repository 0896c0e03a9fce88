// The session loop: one session with a broker after the other, in steps.
#pragma once

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/base/wake_fd.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/session/attempts.hpp>
#include <syncbus/transport/session/problem_reporter.hpp>
#include <syncbus/transport/session/reconnect_tuning.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// What the sessions of every transport have in common. A transport's own surroundings derive from it.
struct SessionContext {
  const TransportSettings& settings;
  TransportSink& sink;
  ProblemReporter& problems;
  WakeFd& wake;
  std::atomic<std::uint64_t>& live_session;  ///< set to 0 by who wants it reopened
  const std::atomic<bool>& stop;
};

/// `Session` has
///
///     using Context;                                 // derived from SessionContext
///     static constexpr bool takes_longer_attempts;   // after some that failed
///     Session(const Context&, TimePoint deadline);   // throws ConnectError
///     void begin(std::uint64_t number);              // tells the sink, as its last step; throws only before
///     void serve() noexcept;                         // does what there is to do, or waits until there is something
///     void finish() noexcept;                        // nothing is sent any more
///     const std::optional<DisconnectReason>& end() const noexcept;
///     bool confirmed_any() const noexcept;           // the broker accepted a broadcast
///     bool reopened() const noexcept;                // it ended because the engine asked for a new one
///
/// Thread safety: none; steps may come from different threads, one after the other.
template <class Session>
class Sessions {
 public:
  using Context = typename Session::Context;

  /// `opened` hears once how the first attempt went, or that of the others that wait_for_broker allows; when it failed,
  /// no further is made.
  Sessions(const Context& context, const ReconnectTuning& tuning, std::function<void(const DisconnectReason*)> opened)
      : context_{context},
        opened_{std::move(opened)},
        attempts_{context.settings, tuning,
                  Session::takes_longer_attempts ? context.settings.connect_timeout : tuning.attempt_timeout, now()} {}

  /// Attempts to make a session, or does what there is to do in it, or waits until there is something: at most until
  /// the wake signal.
  void step() noexcept {
    if (session_) {
      session_->serve();
      if (session_->end()) end_session();
    } else if (now() < attempts_.due()) {
      pause();
    } else {
      attempt();
    }
  }

  /// Whether the first attempt failed.
  [[nodiscard]] bool failed() const noexcept { return failed_; }

  /// Ends the session without a word. Returns whether there was one.
  bool close() noexcept {
    if (!session_) return false;
    session_->finish();
    session_.reset();
    return true;
  }

 private:
  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  void attempt() noexcept {
    try {
      session_ = std::make_unique<Session>(context_, deadline_after(attempts_.limit()));
      session_->begin(sessions_ + 1);
      attempts_.succeeded();
      if (++sessions_ == 1) opened_(nullptr);
    } catch (const ConnectError& failure) {
      fail(unless_without_descriptors(failure.end()));
    } catch (const std::exception& error) {
      fail({Errc::not_connected, error.what()});
    }
  }

  void end_session() noexcept {
    session_->finish();
    const DisconnectReason end = *session_->end();
    if (session_->confirmed_any() || session_->reopened()) attempts_.did_well();
    session_.reset();
    context_.sink.on_interrupted();
    fail(end);
  }

  void fail(const DisconnectReason& why) noexcept {
    close();  // one may have failed as it began
    if (!attempts_.failed(why.code, now())) {
      failed_ = true;
      return opened_(&why);
    }
    if (!context_.stop.load()) context_.problems.report(context_.sink, make_error_code(why.code), why.sentence, now());
  }

  void pause() noexcept {
    pollfd waited{context_.wake.fd(), POLLIN, 0};
    if (::poll(&waited, 1, poll_timeout(attempts_.due())) > 0) context_.wake.drain();
  }

  const Context context_;
  const std::function<void(const DisconnectReason*)> opened_;
  Attempts attempts_;
  std::uint64_t sessions_ = 0;
  bool failed_ = false;
  std::unique_ptr<Session> session_;
};

}  // namespace syncbus::inline v1::detail
