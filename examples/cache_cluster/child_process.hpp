// A child process that does not outlive its parent, nor its owner in it. Only for a parent without threads.
#pragma once

#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "board.hpp"

namespace cache_cluster {

class ChildProcess {
 public:
  /// Runs `body()` in a new process, whose exit status is what it returns.
  template <class Body>
  explicit ChildProcess(const Body& body) {
    std::fflush(nullptr);  // or both processes would write what is buffered
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) throw std::system_error{errno, std::generic_category(), "cannot start a process"};
    if (pid_ > 0) return;
    std::signal(SIGINT, SIG_IGN);  // the parent ends us, in its order
    std::signal(SIGTERM, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(EXIT_FAILURE);
    std::exit(body());
  }

  ChildProcess(ChildProcess&& other) noexcept
      : pid_{std::exchange(other.pid_, -1)}, ended_{std::exchange(other.ended_, std::nullopt)} {}
  ChildProcess& operator=(ChildProcess&&) = delete;

  ~ChildProcess() { kill(); }

  /// How it ended, in words, empty when it exited with 0; nothing while it runs. Does not block.
  [[nodiscard]] std::optional<std::string> ended() {
    if (pid_ > 0 && !ended_) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) ended_ = in_words(status);
    }
    return ended_;
  }

  [[nodiscard]] bool wait_for(std::chrono::steady_clock::duration timeout) {
    return wait_until(std::chrono::steady_clock::now() + timeout, [&] { return ended().has_value(); });
  }

  /// Does nothing when it has ended.
  void signal(int number) noexcept {
    if (pid_ > 0 && !ended_) ::kill(pid_, number);
  }

  /// SIGKILL, and waits until it is gone.
  void kill() noexcept {
    if (pid_ <= 0 || ended_) return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    ended_.emplace();
  }

 private:
  [[nodiscard]] static std::string in_words(int status) {
    if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
    if (WEXITSTATUS(status) == 0) return {};
    return "exited with " + std::to_string(WEXITSTATUS(status));
  }

  pid_t pid_ = -1;
  std::optional<std::string> ended_;
};

}  // namespace cache_cluster
