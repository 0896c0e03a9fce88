// The session loop: one session with a broker after the other, by a thread of its own or by lent ones.
#pragma once

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/no_sigpipe.hpp>
#include <syncbus/base/start_thread.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/base/wake_fd.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/session/attempts.hpp>
#include <syncbus/transport/session/opening.hpp>
#include <syncbus/transport/session/problem_reporter.hpp>
#include <syncbus/transport/session/reconnect_tuning.hpp>
#include <syncbus/transport/session/session_context.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// The half of a transport that is the same for every client that can be waited for by poll(). `Session` has
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
/// and is used by one thread at a time. Thread safety: as the concept Transport says of the operations of the same
/// names.
template <class Session>
class SessionLoop {
 public:
  using Context = typename Session::Context;

  SessionLoop() = default;
  SessionLoop(const SessionLoop&) = delete;
  SessionLoop& operator=(const SessionLoop&) = delete;
  ~SessionLoop() { close(); }

  /// `make_context(base)` makes the session's Context out of the SessionContext. Returns when there is a session, and
  /// throws std::system_error when the first one, or the last that wait_for_broker allows, cannot be made.
  template <class MakeContext>
  void open(TransportSink& sink, const TransportSettings& settings, const ReconnectTuning& tuning,
            const MakeContext& make_context) {
    settings_ = settings;
    context_.emplace(make_context(SessionContext{settings_, sink, problems_, wake_, live_session_, closing_}));
    attempts_.emplace(settings_, tuning,
                      Session::takes_longer_attempts ? settings_.connect_timeout : tuning.attempt_timeout, now());
    if (!settings.lends_threads) {
      thread_ = start_thread([this]() noexcept { static_cast<void>(serve(never_)); });
    }
    opening_.begin();
    opening_.wait_for_end();
  }

  /// See LendableTransport.
  [[nodiscard]] bool serve(const std::atomic<bool>& leave) noexcept {
    opening_.wait_for_begin();  // lent threads may be here first
    const std::lock_guard serving{serving_mutex_};
    const NoSigpipe no_sigpipe;
    while (!closing_.load() && !leave.load(std::memory_order_relaxed)) {
      step();
      if (failed_) return false;
    }
    return !closing_.load();
  }

  /// Wakes the thread that does the I/O.
  void wake() noexcept { wake_.signal(); }

  /// Leaves it to the thread that does the I/O.
  void reopen(std::uint64_t session) noexcept {
    if (live_session_.compare_exchange_strong(session, 0)) wake_.signal();
  }

  /// Waits for the thread that does the I/O: for a sink call that is running, or an attempt to make a session.
  /// Idempotent. Returns whether there was a session.
  bool close() noexcept {
    closing_.store(true);
    wake_.signal();
    opening_.begin();
    if (thread_.joinable()) thread_.join();
    const std::lock_guard serving{serving_mutex_};
    const NoSigpipe no_sigpipe;  // over TLS what is left is written by the client
    return drop_session();
  }

 private:
  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  /// Attempts to make a session, or does what there is to do in it, or waits until there is something: at most until
  /// the wake signal.
  void step() noexcept {
    if (session_) {
      session_->serve();
      if (session_->end()) end_session();
    } else if (now() < attempts_->due()) {
      pause();
    } else {
      attempt();
    }
  }

  void attempt() noexcept {
    try {
      session_ = std::make_unique<Session>(*context_, deadline_after(attempts_->limit()));
      session_->begin(sessions_ + 1);
      attempts_->succeeded();
      if (++sessions_ == 1) opening_.end(nullptr);
    } catch (const ConnectError& failure) {
      fail(unless_without_descriptors(failure.end()));
    } catch (const std::exception& error) {
      fail({Errc::not_connected, error.what()});
    }
  }

  void end_session() noexcept {
    session_->finish();
    const DisconnectReason end = *session_->end();
    if (session_->confirmed_any() || session_->reopened()) attempts_->did_well();
    session_.reset();
    context_->sink.on_interrupted();
    fail(end);
  }

  /// Before the first session a failure may be the last word; later ones are reported.
  void fail(const DisconnectReason& why) noexcept {
    drop_session();  // one may have failed as it began
    if (!attempts_->failed(why.code, now())) {
      failed_ = true;
      return opening_.end(&why);
    }
    if (!closing_.load()) problems_.report(context_->sink, make_error_code(why.code), why.sentence, now());
  }

  void pause() noexcept {
    pollfd waited{wake_.fd(), POLLIN, 0};
    if (::poll(&waited, 1, poll_timeout(attempts_->due())) > 0) wake_.drain();
  }

  /// Without a word. Returns whether there was one.
  bool drop_session() noexcept {
    if (!session_) return false;
    session_->finish();
    session_.reset();
    return true;
  }

  TransportSettings settings_;
  WakeFd wake_;
  std::atomic<std::uint64_t> live_session_ = 0;  // 0: none, or the engine wants it reopened
  std::atomic<bool> closing_ = false;
  Opening opening_;
  ProblemReporter problems_;
  const std::atomic<bool> never_ = false;
  std::mutex serving_mutex_;  ///< held by the thread that does the I/O
  std::optional<Context> context_;
  std::optional<Attempts> attempts_;
  std::uint64_t sessions_ = 0;
  bool failed_ = false;
  std::unique_ptr<Session> session_;
  std::thread thread_;  // uses all of the above
};

}  // namespace syncbus::inline v1::detail
