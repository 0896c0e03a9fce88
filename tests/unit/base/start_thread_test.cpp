// How the library's own threads begin: without signals, or with a sentence when there is none to begin.
#include <pthread.h>
#include <signal.h>

#include <cstddef>
#include <string>
#include <system_error>
#include <thread>

#include <syncbus/base/start_thread.hpp>

#include "support/catch.hpp"

using syncbus::detail::start_thread;

namespace {

sigset_t blocked_here() {
  sigset_t signals{};
  ::pthread_sigmask(SIG_BLOCK, nullptr, &signals);
  return signals;
}

/// While it lives, no thread can have its stack.
class NoThreads {
 public:
  NoThreads() {
    ::pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    ::pthread_attr_init(&huge);
    ::pthread_attr_setstacksize(&huge, std::size_t{1} << 47U);
    ::pthread_setattr_default_np(&huge);
    ::pthread_attr_destroy(&huge);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;
  ~NoThreads() {
    ::pthread_setattr_default_np(&before_);
    ::pthread_attr_destroy(&before_);
  }

 private:
  pthread_attr_t before_{};
};

}  // namespace

TEST_CASE("a thread of the library takes no signals but those for its own faults, and who starts it is as before") {
  const sigset_t before = blocked_here();
  sigset_t there{};
  start_thread([&] { there = blocked_here(); }).join();
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGALRM, SIGPROF, SIGUSR1, SIGUSR2, SIGPIPE}) {
    CHECK(::sigismember(&there, signal) == 1);
    CHECK(::sigismember(&before, signal) == 0);
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) CHECK(::sigismember(&there, signal) == 0);
  const sigset_t after = blocked_here();
  for (int signal = 1; signal != SIGRTMIN; ++signal) {
    CHECK(::sigismember(&after, signal) == ::sigismember(&before, signal));
  }
}

TEST_CASE("a process that gets no further thread is told what to raise") {
  std::string sentence;
  {
    const NoThreads no_threads;
    try {
      start_thread([] {}).join();
    } catch (const std::system_error& error) {
      CHECK(error.code() == std::errc::resource_unavailable_try_again);
      sentence = error.what();
    }
  }
  CHECK(sentence.find("ulimit -u") != std::string::npos);
  start_thread([] {}).join();
}
