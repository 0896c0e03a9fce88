// A process forked off a test, which can be stopped and goes on later. In one of a test that has threads already nothing
// releases the locks that they held: it does little.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <optional>
#include <system_error>

#include "support/eventually.hpp"

namespace support {

class ChildProcess {
 public:
  /// Runs `body()` there; the exit status is what it returns, 99 if it throws.
  template <class Body>
  explicit ChildProcess(const Body& body) : process_{::fork()} {
    if (process_ < 0) throw std::system_error{errno, std::generic_category(), "cannot start a process"};
    if (process_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      ::_exit(body());
    } catch (const std::exception&) {
      ::_exit(99);
    }
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  ~ChildProcess() {
    if (status_) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }

  /// SIGSTOP: it is there and does nothing. Returns when it does.
  void stop() const noexcept {
    ::kill(process_, SIGSTOP);
    siginfo_t state{};
    ::waitid(P_PID, static_cast<id_t>(process_), &state, WSTOPPED);
  }
  void resume() const noexcept { ::kill(process_, SIGCONT); }

  /// Its exit status, the negative number of the signal that ended it, or nothing when it is still there after a while.
  [[nodiscard]] std::optional<int> ends() {
    static_cast<void>(eventually([this] { return has_ended(); }, 2 * patience));
    return status_;
  }

 private:
  [[nodiscard]] bool has_ended() noexcept {
    int status = 0;
    if (!status_ && ::waitpid(process_, &status, WNOHANG) == process_) {
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    return status_.has_value();
  }

  pid_t process_;
  std::optional<int> status_;
};

}  // namespace support
