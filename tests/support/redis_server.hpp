// A redis-server of a test's own on a free loopback port: to be stopped, killed and started again at will.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
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
  explicit RedisServer(std::vector<std::string> arguments = {}) : arguments_{std::move(arguments)}, port_{free_port()} {
    start();
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
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error{"fork failed"};
    if (process_ == 0) become_server();
    const bool up = eventually([this] { return ended() || answers(); });
    if (ended()) {
      process_ = -1;
      throw std::runtime_error{"redis-server did not start; it is needed for this test: apt-get install redis-server"};
    }
    if (!up) throw std::runtime_error{"redis-server does not answer on port " + std::to_string(port_)};
  }

  void restart() {
    kill();
    start();
  }

  /// Runs one command on a connection of its own; an integer's value, 0 for other answers. Throws what the server refuses.
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

  static int free_port() {
    const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const bool bound = ::bind(probe, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                       ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    ::close(probe);
    if (!bound) throw std::runtime_error{"no free port on the loopback interface"};
    return ntohs(address.sin_port);
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

  [[nodiscard]] bool answers() const {
    const Context context = connect();
    if (!context || context->err != 0) return false;
    const Reply reply{static_cast<redisReply*>(redisCommand(context.get(), "PING"))};
    return reply != nullptr;  // also when it wants a password
  }

  [[nodiscard]] bool ended() const noexcept {
    siginfo_t state{};
    return ::waitid(P_PID, static_cast<id_t>(process_), &state, WEXITED | WNOHANG | WNOWAIT) != 0 || state.si_pid != 0;
  }

  [[noreturn]] void become_server() const {
    const int silence = ::open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) ::dup2(silence, fd);
    const std::string port = std::to_string(port_);
    std::vector<const char*> words{"redis-server",  "--port", port.c_str(), "--bind",   "127.0.0.1",
                                   "--save",        "",       "--dir",      "/tmp",     "--appendonly",
                                   "no"};
    for (const std::string& argument : arguments_) words.push_back(argument.c_str());
    words.push_back(nullptr);
    ::execvp("redis-server", const_cast<char* const*>(words.data()));
    ::_exit(127);
  }

  std::vector<std::string> arguments_;
  int port_;
  pid_t process_ = -1;
};

}  // namespace support
