// One session with a Redis server after the other, in steps: whoever takes a step does the transport's I/O meanwhile.
#pragma once

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <syncbus/detail/backoff.hpp>
#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/problem_reporter.hpp>
#include <syncbus/detail/resp.hpp>
#include <syncbus/detail/session_failure.hpp>
#include <syncbus/error.hpp>
#include <syncbus/options.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/redis_session.hpp>

namespace syncbus::inline v1 {

/// How sessions are made again after an interruption.
struct RedisTuning {
  Duration min_backoff = std::chrono::milliseconds{50};  ///< longest pause before the first attempt
  Duration max_backoff = std::chrono::seconds{2};        ///< the pause doubles up to this
  /// Limit of one attempt by URL (and never above connect_timeout): so long close() may have to wait for it.
  Duration attempt_timeout = std::chrono::seconds{1};
};

namespace detail {

/// Thread safety: none; steps may come from different threads, one after the other.
class RedisSessions {
 public:
  /// `opened` hears once how the first attempt went; when it failed, no further is made.
  RedisSessions(const RedisSurroundings& around, RedisTuning tuning, std::function<void(const SessionEnd*)> opened)
      : around_{around},
        tuning_{tuning},
        opened_{std::move(opened)},
        backoff_{tuning.min_backoff, tuning.max_backoff,
                 around.settings.self.value ^ static_cast<std::uint64_t>(now().time_since_epoch().count())} {}

  /// Attempts to make a session, or does what there is to do in it, or waits until there is something: at most until
  /// the wake signal.
  void step() noexcept {
    if (session_) {
      session_->serve();
      if (session_->end()) end_session();
    } else if (now() < attempt_at_) {
      pause();
    } else {
      attempt();
    }
  }

  /// Whether the first attempt failed.
  [[nodiscard]] bool failed() const noexcept { return failed_; }

  /// Ends the session without a word.
  void close() noexcept {
    if (session_) session_->finish();
    session_.reset();
  }

 private:
  [[nodiscard]] static TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

  void attempt() noexcept {
    const Duration limit = sessions_ == 0 ? around_.settings.connect_timeout
                                          : (std::min)(around_.settings.connect_timeout, tuning_.attempt_timeout);
    try {
      session_ = std::make_unique<RedisSession>(around_, deadline_after(limit));
      session_->begin(++sessions_);
      if (sessions_ == 1) opened_(nullptr);
    } catch (const SessionFailure& failure) {
      fail(failure.end());
    } catch (const std::exception& error) {
      fail({Errc::not_connected, std::string{"the RedisConnector threw: "} + error.what()});
    } catch (...) {
      fail({Errc::not_connected, "the RedisConnector threw"});
    }
  }

  void end_session() noexcept {
    session_->finish();
    const SessionEnd end = *session_->end();
    if (session_->confirmed_any() || session_->reopened()) backoff_.reset();
    around_.sink.on_interrupted();
    fail(end);
  }

  void fail(const SessionEnd& why) noexcept {
    session_.reset();
    if (sessions_ == 0) {
      failed_ = true;
      return opened_(&why);
    }
    if (!around_.stop.load()) around_.problems.report(around_.sink, make_error_code(why.code), why.sentence, now());
    attempt_at_ = now() + backoff_.next();
  }

  void pause() noexcept {
    pollfd waited{around_.wake.fd(), POLLIN, 0};
    if (::poll(&waited, 1, poll_timeout(attempt_at_)) > 0) around_.wake.drain();
  }

  const RedisSurroundings around_;
  const RedisTuning tuning_;
  const std::function<void(const SessionEnd*)> opened_;
  Backoff backoff_;
  std::uint64_t sessions_ = 0;
  bool failed_ = false;
  TimePoint attempt_at_{};
  std::unique_ptr<RedisSession> session_;
};

}  // namespace detail

}  // namespace syncbus::inline v1
