// Blocks signals on a thread and on those that it starts, and undoes what user code does to them there.
#pragma once

#include <signal.h>

#include <initializer_list>

namespace syncbus::inline v1::detail {

/// While it lives, the calling thread takes only the signals that report its own faults (SIGSEGV and the like), which a
/// crash handler wants to see. Threads that are started meanwhile are born so and stay so: a client whose poll() is
/// interrupted by a signal may take that for a broken connection, as cnats does, also with SA_RESTART.
class BlockedSignals {
 public:
  BlockedSignals() noexcept {
    sigset_t blocked;
    ::sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) ::sigdelset(&blocked, fault);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

/// Which signals the calling thread had blocked when this was made.
class SignalsOfThread {
 public:
  SignalsOfThread() noexcept { ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked_); }

  /// Undoes what was changed since. One system call, about 0.1 us.
  void restore() const noexcept { ::pthread_sigmask(SIG_SETMASK, &blocked_, nullptr); }

 private:
  sigset_t blocked_{};
};

}  // namespace syncbus::inline v1::detail
