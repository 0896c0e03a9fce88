// Lets open() wait for the first attempt at a session, which another thread makes.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>

#include <syncbus/base/plain_text.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: everything may be called from any thread.
class Opening {
 public:
  /// open() was called, or close(): threads that were lent before need wait no longer.
  void begin() noexcept {
    const std::lock_guard lock{mutex_};
    begun_ = true;
    changed_.notify_all();
  }
  void wait_for_begin() noexcept {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return begun_; });
  }

  /// An attempt failed, and another is to follow: told if that does not end in time.
  void note(const DisconnectReason& failure) {
    const std::lock_guard lock{mutex_};
    before_ = "; the attempt before it failed: " + failure.sentence;
  }

  /// The last attempt succeeded, or failed for this reason.
  void end(const DisconnectReason* failure) {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    if (failure != nullptr) {
      error_ = make_error_code(failure->code);
      sentence_ = failure->sentence;
    }
    changed_.notify_all();
  }

  [[nodiscard]] bool ended() const noexcept {
    const std::lock_guard lock{mutex_};
    return ended_;
  }

  /// Returns when an attempt has succeeded; throws std::system_error when the last one failed, or has not ended by the
  /// deadline.
  void wait_for_end(TimePoint deadline = never) {
    std::unique_lock lock{mutex_};
    const auto ended = [this] { return ended_; };
    if (deadline == never) {
      changed_.wait(lock, ended);
    } else if (!changed_.wait_until(lock, deadline, ended)) {
      throw std::system_error{make_error_code(Errc::not_connected),
                              one_line("the broker's client did not come back in time: the server is stopped, or a "
                                       "look-up of its name takes too long" +
                                       before_)};
    }
    if (error_) throw std::system_error{error_, one_line(sentence_)};
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false;
  bool ended_ = false;
  std::error_code error_;
  std::string sentence_;
  std::string before_;
};

}  // namespace syncbus::inline v1::detail
