// What a test can do to the broker that it started.
#pragma once

#include <string>

#include "support/server_process.hpp"

namespace support {

class Broker {
 public:
  Broker() = default;
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;
  virtual ~Broker() = default;

  /// Connections break, nothing is said.
  virtual void kill() = 0;
  /// Where it was before; returns when it answers.
  virtual void start() = 0;
  /// Whatever a test left: afterwards it runs, and answers.
  virtual void revive() = 0;
};

/// A process of its own on a free loopback port. Its destructor ends it.
class TestServer : public Broker {
 public:
  [[nodiscard]] int port() const noexcept { return port_; }

  void kill() noexcept override { process_.kill(); }
  void start() override {
    if (!try_start()) ServerProcess::throw_not_started(program_, remedy_);
  }
  void revive() override { process_.started() ? resume() : start(); }
  void restart() {
    kill();
    start();
  }

  /// See ServerProcess.
  void stop() const noexcept { process_.stop(); }
  void resume() const noexcept { process_.resume(); }

 protected:
  /// See ServerProcess::throw_not_started.
  explicit TestServer(const char* program, const char* remedy = "") noexcept : program_{program}, remedy_{remedy} {}

  /// In the constructor of the server. Throws a sentence when it cannot be started.
  void start_on_free_port() {
    const auto attempt = [this](int port) {
      port_ = port;
      choose_further_ports();
      return try_start();
    };
    ServerProcess::start_on_free_port(attempt, program_, remedy_);
  }

  /// For each attempt: others may take one.
  virtual void choose_further_ports() {}

  /// False when it ends instead of answering.
  virtual bool try_start() = 0;

  [[nodiscard]] const ServerProcess& process() const noexcept { return process_; }
  [[nodiscard]] ServerProcess& process() noexcept { return process_; }

 private:
  const char* program_;
  const char* remedy_;
  int port_ = 0;
  ServerProcess process_;
};

}  // namespace support
