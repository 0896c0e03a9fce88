// A redis-server of a test's own on a free loopback port: to be stopped, killed and started again at will.
#pragma once

#include <hiredis/hiredis.h>
#include <sys/time.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/test_server.hpp"

namespace support {

/// Keeps nothing on disk.
class RedisServer final : public TestServer {
 public:
  /// `arguments` go to redis-server behind its own. Throws a sentence when it cannot be started.
  explicit RedisServer(std::vector<std::string> arguments = {})
      : TestServer{"redis-server"}, arguments_{std::move(arguments)} {
    start_on_free_port();
  }

  [[nodiscard]] std::string url() const { return url_at(port()); }
  /// Through a proxy in front of it.
  [[nodiscard]] static std::string url_at(int port) { return "redis://127.0.0.1:" + std::to_string(port); }

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

  /// A value of INFO; empty: there is none.
  [[nodiscard]] std::string info(const std::string& section, const std::string& key) const {
    const Context context = connect();
    const Reply reply = run(context, {"INFO", section});
    const std::string text = "\n" + std::string{reply->str, reply->len};
    const auto at = text.find("\n" + key + ":");
    if (at == text.npos) return {};
    const auto begin = at + key.size() + 2;
    return text.substr(begin, text.find('\r', begin) - begin);
  }

  /// CLIENT KILL of all connections of a user, or of those of one type: "normal" or "pubsub". How many there were.
  long long throw_out(const std::string& user, const std::string& type = {}) const {
    std::vector<std::string> words{"CLIENT", "KILL", "USER", user};
    if (!type.empty()) words.insert(words.end(), {"TYPE", type});
    return command(words);
  }

  /// How many connections are so many seconds old, and have said something in the last one.
  [[nodiscard]] int lively_connections(int age) const {
    const Context context = connect();
    const Reply reply = run(context, {"CLIENT", "LIST"});
    std::istringstream lines{std::string{reply->str, reply->len}};
    int count = 0;
    for (std::string line; std::getline(lines, line);) {
      const auto seconds = [&](const std::string& key) { return std::stoi(line.substr(line.find(key) + key.size())); };
      if (seconds(" age=") >= age && seconds(" idle=") <= 1) ++count;
    }
    return count;
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

  bool try_start() override {
    std::vector<std::string> words{
        "redis-server", "--port", std::to_string(port()), "--bind", "127.0.0.1", "--save", "",
        "--dir",        "/tmp",   "--appendonly",         "no"};
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    return process().start(words, [this] { return answers(); });
  }

  [[nodiscard]] Context connect() const {
    const timeval limit{2, 0};
    return Context{redisConnectWithTimeout("127.0.0.1", port(), limit)};
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
    const std::string ours = "\r\nprocess_id:" + std::to_string(process().id()) + "\r\n";
    return std::string_view{reply->str, reply->len}.find(ours) != std::string_view::npos;
  }

  std::vector<std::string> arguments_;
};

}  // namespace support
