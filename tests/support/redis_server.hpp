// A redis-server of a test's own on a free loopback port: to be stopped, killed and started again at will.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/eventually.hpp"

namespace support {

/// Keeps nothing on disk. Only the process that it started is ever signalled; its destructor ends it.
class RedisServer {
 public:
  /// `arguments` go to redis-server behind its own. Throws a sentence when it cannot be started.
  explicit RedisServer(std::vector<std::string> arguments = {}) : arguments_{std::move(arguments)} {
    constexpr int attempts = 5;  // who tests at the same time may take a port between our look and the server's
    for (int attempt = 1; port_ == 0; ++attempt) {
      port_ = free_port();
      if (!try_start()) port_ = 0;
      if (port_ == 0 && attempt == attempts) throw std::runtime_error{did_not_start};
    }
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  ~RedisServer() { kill(); }

  [[nodiscard]] int port() const noexcept { return port_; }
  [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  /// SIGKILL: connections break, nothing is said.
  void kill() noexcept {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }

  /// SIGSTOP and SIGCONT: a server that is there and answers nothing.
  void stop() const noexcept { ::kill(process_, SIGSTOP); }
  void resume() const noexcept { ::kill(process_, SIGCONT); }

  /// On the same port as before; returns when it answers.
  void start() {
    if (!try_start()) throw std::runtime_error{did_not_start};
  }

  /// Whatever a test left: running, stopped or killed, afterwards it runs.
  void revive() {
    if (process_ > 0) return resume();
    start();
  }

  void restart() {
    kill();
    start();
  }

  /// Runs one command on a connection of its own; an integer's value, 0 for other answers. Throws what the server
  /// refuses.
  long long command(const std::vector<std::string>& words) const {
    const Context context = connect();
    const Reply reply = run(context, words);
    return reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
  }

  /// CONFIG SET, until the next start.
  void set(const std::string& parameter, const std::string& value) const {
    command({"CONFIG", "SET", parameter, value});
  }

  /// CLIENT KILL of all connections of a user, or of those of one type: "normal" or "pubsub". How many there were.
  long long throw_out(const std::string& user, const std::string& type = {}) const {
    std::vector<std::string> words{"CLIENT", "KILL", "USER", user};
    if (!type.empty()) words.insert(words.end(), {"TYPE", type});
    return command(words);
  }

  /// How many connections of one type a user has.
  [[nodiscard]] std::size_t connections(const std::string& user, const std::string& type) const {
    const Context context = connect();
    const Reply reply = run(context, {"CLIENT", "LIST", "TYPE", type});
    const std::string_view list{reply->str, reply->len};
    const std::string of_user = " user=" + user + " ";
    std::size_t count = 0;
    for (auto at = list.find(of_user); at != list.npos; at = list.find(of_user, at + 1)) ++count;
    return count;
  }

 private:
  struct FreeContext {
    void operator()(redisContext* context) const noexcept { redisFree(context); }
  };
  struct FreeReply {
    void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
  };
  using Context = std::unique_ptr<redisContext, FreeContext>;
  using Reply = std::unique_ptr<redisReply, FreeReply>;

  static constexpr const char* did_not_start =
      "redis-server did not start; it is needed for this test: apt-get install redis-server";

  /// Below the ports that outgoing connections get, or one of these could take it while the server is away.
  static int free_port() {
    static std::minstd_rand random{std::random_device{}()};
    std::uniform_int_distribution<int> ports{10'000, 32'000};
    for (int attempt = 0; attempt != 1'000; ++attempt) {
      if (const int port = ports(random); is_free(port)) return port;
    }
    throw std::runtime_error{"no free port on the loopback interface"};
  }

  static bool is_free(int port) {
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    const bool bound = ::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(probe);
    return bound;
  }

  /// False when it ends instead of answering.
  bool try_start() {
    const std::string port = std::to_string(port_);
    std::vector<const char*> words{"redis-server",  "--port", port.c_str(), "--bind",   "127.0.0.1",
                                   "--save",        "",       "--dir",      "/tmp",     "--appendonly",
                                   "no"};
    for (const std::string& argument : arguments_) words.push_back(argument.c_str());
    words.push_back(nullptr);
    // Whoever kills the test, as a timeout does, ends the server with it. The signal comes when the thread that forked
    // ends: only the main thread lasts as long as the process.
    const bool ends_with_test = ::syscall(SYS_gettid) == ::getpid();
    const pid_t test = ::getpid();
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error{"fork failed"};
    if (process_ == 0) become_server(words.data(), test, ends_with_test);
    const bool up = eventually([this] { return ended() || answers(); });
    if (ended()) {
      ::waitpid(process_, nullptr, 0);
      process_ = -1;
      return false;
    }
    if (!up) throw std::runtime_error{"redis-server does not answer on port " + port};
    return true;
  }

  [[nodiscard]] Context connect() const {
    const timeval limit{2, 0};
    return Context{redisConnectWithTimeout("127.0.0.1", port_, limit)};
  }

  [[nodiscard]] static Reply run(const Context& context, const std::vector<std::string>& words) {
    if (!context || context->err != 0) throw std::runtime_error{"no connection to the test's redis-server"};
    std::vector<const char*> pieces;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
      pieces.push_back(word.data());
      sizes.push_back(word.size());
    }
    Reply reply{static_cast<redisReply*>(
        redisCommandArgv(context.get(), static_cast<int>(pieces.size()), pieces.data(), sizes.data()))};
    if (!reply) throw std::runtime_error{context->errstr};
    if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error{reply->str};
    return reply;
  }

  /// Our server, and not another one on a port that ours did not get.
  [[nodiscard]] bool answers() const {
    const Context context = connect();
    if (!context || context->err != 0) return false;
    const Reply reply{static_cast<redisReply*>(redisCommand(context.get(), "INFO server"))};
    if (!reply) return false;
    if (reply->type == REDIS_REPLY_ERROR) return true;  // it wants a password
    const std::string ours = "\r\nprocess_id:" + std::to_string(process_) + "\r\n";
    return std::string_view{reply->str, reply->len}.find(ours) != std::string_view::npos;
  }

  [[nodiscard]] bool ended() const noexcept {
    siginfo_t state{};
    return ::waitid(P_PID, static_cast<id_t>(process_), &state, WEXITED | WNOHANG | WNOWAIT) != 0 || state.si_pid != 0;
  }

  /// In the child of a process with other threads, whose locks nobody releases here: nothing may allocate.
  [[noreturn]] static void become_server(const char* const* words, pid_t test, bool ends_with_test) noexcept {
    if (ends_with_test) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != test) ::_exit(127);  // it ended before it could be told
    }
    const int silence = ::open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) ::dup2(silence, fd);
    ::syscall(SYS_close_range, 3U, ~0U, 0U);  // connections of the test would not end with it
    ::execvp(words[0], const_cast<char* const*>(words));
    ::_exit(127);
  }

  std::vector<std::string> arguments_;
  int port_ = 0;
  pid_t process_ = -1;
};

}  // namespace support
