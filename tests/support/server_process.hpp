// A broker's process of a test's own, on a free loopback port: to be stopped, killed and started again at will.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/eventually.hpp"

namespace support {

/// The loopback interface's address of a port.
[[nodiscard]] inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

/// Only the process that it started is ever signalled; its destructor ends it.
class ServerProcess {
 public:
  ServerProcess() = default;
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess() { kill(); }

  /// Below the ports that outgoing connections get, or one of these could take it while the server is away.
  [[nodiscard]] static int free_port() {
    static std::minstd_rand random{std::random_device{}()};
    std::uniform_int_distribution<int> ports{10'000, 32'000};
    for (int attempt = 0; attempt != 1'000; ++attempt) {
      if (const int port = ports(random); is_free(port)) return port;
    }
    throw std::runtime_error{"no free port on the loopback interface"};
  }

  /// Calls `start(port)`, which does start(), with free ports until it is true; throws a sentence after a few times:
  /// who tests at the same moment may take a port between our look and the server's. Returns the port.
  template <class Start>
  static int start_on_free_port(const Start& start, const std::string& program, const std::string& remedy = {}) {
    for (int attempt = 0; attempt != 5; ++attempt) {
      if (const int port = free_port(); start(port)) return port;
    }
    throw_not_started(program, remedy);
  }

  /// `remedy` says how to get it; unless given, the Debian package has the program's name.
  [[noreturn]] static void throw_not_started(const std::string& program, const std::string& remedy = {}) {
    throw std::runtime_error{program + " did not start; it is needed for this test: " +
                             (remedy.empty() ? "apt-get install " + program : remedy)};
  }

  /// Runs the program of the first word, silently. Returns when `answers()`; false when it ends instead.
  template <class Answers>
  [[nodiscard]] bool start(const std::vector<std::string>& words, const Answers& answers,
                           std::chrono::seconds limit = patience) {
    std::vector<const char*> arguments;
    for (const std::string& word : words) arguments.push_back(word.c_str());
    arguments.push_back(nullptr);
    const std::string aside = "/usr/sbin/" + words.front();  // where Debian puts servers, and not every user looks
    // Whoever kills the test, as a timeout does, ends the server with it. The signal comes when the thread that forked
    // ends: only the main thread lasts as long as the process.
    const bool ends_with_test = ::syscall(SYS_gettid) == ::getpid();
    const pid_t test = ::getpid();
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error{"fork failed"};
    if (process_ == 0) become_server(arguments.data(), aside.c_str(), test, ends_with_test);
    const bool up = eventually([&] { return ended() || answers(); }, limit);
    if (ended()) {
      ::waitpid(process_, nullptr, 0);
      process_ = -1;
      return false;
    }
    if (!up) throw std::runtime_error{words.front() + " does not answer"};
    return true;
  }

  [[nodiscard]] bool started() const noexcept { return process_ > 0; }
  [[nodiscard]] pid_t id() const noexcept { return process_; }

  /// By itself.
  [[nodiscard]] bool ended() const noexcept {
    siginfo_t state{};
    return ::waitid(P_PID, static_cast<id_t>(process_), &state, WEXITED | WNOHANG | WNOWAIT) != 0 || state.si_pid != 0;
  }

  /// SIGKILL: connections break, nothing is said.
  void kill() noexcept {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }

  /// SIGTERM: it says what it has to say, and ends; in the end it is killed.
  void terminate() noexcept {
    signal(SIGTERM);
    static_cast<void>(eventually([this] { return ended(); }));
    kill();
  }

  /// SIGSTOP and SIGCONT: a server that is there and answers nothing. The former returns when all of its threads have
  /// stopped.
  void stop() const noexcept {
    if (process_ <= 0) return;
    signal(SIGSTOP);
    siginfo_t state{};
    ::waitid(P_PID, static_cast<id_t>(process_), &state, WSTOPPED | WEXITED | WNOWAIT);
  }
  void resume() const noexcept { signal(SIGCONT); }
  void signal(int number) const noexcept {
    if (process_ > 0) ::kill(process_, number);
  }

 private:
  [[nodiscard]] static bool is_free(int port) {
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(port);
    const bool bound = ::bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(probe);
    return bound;
  }

  /// In the child of a process with other threads, whose locks nobody releases here: nothing may allocate.
  [[noreturn]] static void become_server(const char* const* words, const char* aside, pid_t test,
                                         bool ends_with_test) noexcept {
    if (ends_with_test) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != test) ::_exit(127);  // it ended before it could be told
    }
    const int silence = ::open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) ::dup2(silence, fd);
    ::syscall(SYS_close_range, 3U, ~0U, 0U);  // connections of the test would not end with it
    ::execvp(words[0], const_cast<char* const*>(words));
    ::execv(aside, const_cast<char* const*>(words));
    ::_exit(127);
  }

  pid_t process_ = -1;
};

}  // namespace support
