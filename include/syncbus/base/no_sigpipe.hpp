// Keeps SIGPIPE from a thread while it does a broker's I/O.
#pragma once

#include <signal.h>

namespace syncbus::inline v1::detail {

/// hiredis, and OpenSSL below it, write without MSG_NOSIGNAL. Lives as long as one thread does I/O, and then restores
/// the signals that the thread had blocked before. A SIGPIPE that came meanwhile is consumed, unless it was blocked
/// before.
class NoSigpipe {
 public:
  NoSigpipe() noexcept {
    ::pthread_sigmask(SIG_BLOCK, &pipe(), &before_);
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;
  ~NoSigpipe() {
    if (::sigismember(&before_, SIGPIPE) == 1) return;
    const timespec at_once{0, 0};
    while (::sigtimedwait(&pipe(), nullptr, &at_once) == SIGPIPE) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  static const sigset_t& pipe() noexcept {
    static const sigset_t only_pipe = [] {
      sigset_t one;
      ::sigemptyset(&one);
      ::sigaddset(&one, SIGPIPE);
      return one;
    }();
    return only_pipe;
  }

  sigset_t before_{};
};

}  // namespace syncbus::inline v1::detail
