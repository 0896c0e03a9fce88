// Runs a transport's sessions on a thread of its own or on lent ones, from open() to close().
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include <syncbus/base/no_sigpipe.hpp>
#include <syncbus/base/start_thread.hpp>
#include <syncbus/base/wake_fd.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/session/opening.hpp>
#include <syncbus/transport/session/problem_reporter.hpp>
#include <syncbus/transport/session/reconnect_tuning.hpp>
#include <syncbus/transport/session/session_error.hpp>
#include <syncbus/transport/session/sessions.hpp>

namespace syncbus::inline v1::detail {

/// The half of a transport that is the same for every client that can be waited for by poll(). Thread safety: as the
/// concept Transport says of the operations of the same names.
template <class Session>
class SessionHost {
 public:
  SessionHost() = default;
  SessionHost(const SessionHost&) = delete;
  SessionHost& operator=(const SessionHost&) = delete;
  ~SessionHost() { close(); }

  /// `make_context(base)` makes the session's Context out of what is common to all. Throws std::system_error when
  /// the first session cannot be made.
  template <class MakeContext>
  void open(TransportSink& sink, const TransportSettings& settings, const ReconnectTuning& tuning,
            const MakeContext& make_context) {
    settings_ = settings;
    sessions_.emplace(make_context(SessionContext{settings_, sink, problems_, wake_, live_session_, closing_}),
                      tuning, [this](const DisconnectReason* failure) { opening_.end(failure); });
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
      sessions_->step();
      if (sessions_->failed()) return false;
    }
    return !closing_.load();
  }

  /// Whoever does the I/O looks up.
  void wake() noexcept { wake_.signal(); }

  /// Leaves it to the I/O thread.
  void reopen(std::uint64_t session) noexcept {
    if (live_session_.compare_exchange_strong(session, 0)) wake_.signal();
  }

  /// Waits for whoever does the I/O: for a sink call that is running, or an attempt to make a session. Idempotent.
  /// Returns whether there was a session.
  bool close() noexcept {
    closing_.store(true);
    wake_.signal();
    opening_.begin();
    if (thread_.joinable()) thread_.join();
    const std::lock_guard serving{serving_mutex_};
    const NoSigpipe no_sigpipe;  // over TLS what is left is written by the client
    return sessions_ && sessions_->close();
  }

 private:
  TransportSettings settings_;
  WakeFd wake_;
  std::atomic<std::uint64_t> live_session_ = 0;  // 0: none, or the engine wants it reopened
  std::atomic<bool> closing_ = false;
  Opening opening_;
  ProblemReporter problems_;
  const std::atomic<bool> never_ = false;
  std::mutex serving_mutex_;  ///< held by whoever does the I/O
  std::optional<Sessions<Session>> sessions_;
  std::thread thread_;  // uses all of the above
};

}  // namespace syncbus::inline v1::detail
