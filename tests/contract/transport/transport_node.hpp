// A transport alone with its recorder: one end of the pipe, for tests below the bus.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/transport.hpp>

#include "support/eventually.hpp"
#include "support/frames.hpp"
#include "support/recorder.hpp"

namespace contract {

using support::bytes_of, support::HeldRecorder, support::Recorder;

/// Any transport behind one type, so that tests of all are compiled once.
class AnyTransport {
 public:
  AnyTransport() = default;
  AnyTransport(const AnyTransport&) = delete;
  AnyTransport& operator=(const AnyTransport&) = delete;
  virtual ~AnyTransport() = default;

  virtual void open(syncbus::TransportSink&, const syncbus::TransportSettings&) = 0;
  virtual void broadcast(syncbus::Bytes, syncbus::BroadcastToken) noexcept = 0;
  virtual void send(syncbus::NodeId, syncbus::Bytes) noexcept = 0;
  virtual void reopen(std::uint64_t session) noexcept = 0;
  virtual void close() noexcept = 0;
};

/// Owns what is lent to the transport, if anything is.
template <syncbus::Transport T>
class TransportOf final : public AnyTransport {
 public:
  template <class... Args>
  explicit TransportOf(std::shared_ptr<const void> lent, Args&&... args)
      : lent_{std::move(lent)}, transport_{std::forward<Args>(args)...} {}

  void open(syncbus::TransportSink& sink, const syncbus::TransportSettings& settings) override {
    transport_.open(sink, settings);
  }
  void broadcast(syncbus::Bytes bytes, syncbus::BroadcastToken token) noexcept override {
    transport_.broadcast(bytes, token);
  }
  void send(syncbus::NodeId node, syncbus::Bytes bytes) noexcept override { transport_.send(node, bytes); }
  void reopen(std::uint64_t session) noexcept override { transport_.reopen(session); }
  void close() noexcept override { transport_.close(); }

 private:
  std::shared_ptr<const void> lent_;
  T transport_;
};

template <class T, class... Args>
[[nodiscard]] std::unique_ptr<AnyTransport> transport_of(Args&&... args) {
  return std::make_unique<TransportOf<T>>(nullptr, std::forward<Args>(args)...);
}

/// That a busy machine is slow is no silence.
[[nodiscard]] inline syncbus::TransportSettings settings_of(std::uint64_t id) {
  return {.self = {id},
          .publish_only = false,
          .connect_timeout = std::chrono::seconds{20},
          .peer_timeout = std::chrono::seconds{20}};
}

class TransportNode {
 public:
  TransportNode(std::unique_ptr<AnyTransport> closed, const syncbus::TransportSettings& settings)
      : self{settings.self}, transport{std::move(closed)} {
    transport->open(recorder, settings);
  }
  TransportNode(std::unique_ptr<AnyTransport> closed, std::uint64_t id)
      : TransportNode{std::move(closed), settings_of(id)} {}

  /// In the session that the recorder knows of; `frame` numbers them.
  syncbus::BroadcastToken broadcast(std::string_view text, std::uint64_t frame) {
    const syncbus::BroadcastToken token{recorder.session(), frame};
    transport->broadcast(bytes_of(text), token);
    return token;
  }
  void send(std::uint64_t node, std::string_view text) { transport->send({node}, bytes_of(text)); }

  [[nodiscard]] bool will_be_interrupted(int times = 1) const {
    return support::eventually([&] { return recorder.interruptions() >= times; });
  }

  /// In a later session; a broker that has just been started may end another one or two.
  [[nodiscard]] bool comes_back(std::uint64_t session = 2) const {
    return support::eventually([&] { return recorder.ready() && recorder.session() >= session; });
  }

  /// Whether it hears what it broadcasts and what is sent to it, and is confirmed: in this session or one that follows.
  [[nodiscard]] bool works() {
    return support::eventually([&] {
      const std::string text = "session " + std::to_string(recorder.session());
      const syncbus::BroadcastToken token = broadcast(text, ++works_);
      send(self.value, "directed in " + text);
      const auto done = [&] {
        return recorder.confirmed() == token && recorder.heard(text) && recorder.heard("directed in " + text);
      };
      const auto over = [&] { return !recorder.ready() || recorder.session() != token.session; };
      return support::eventually([&] { return done() || over(); }) && done();
    });
  }

  const syncbus::NodeId self;
  Recorder recorder;  // before it: the transport tells it things until it is closed
  std::unique_ptr<AnyTransport> transport;

 private:
  std::uint64_t works_ = 1'000'000;  // numbers its frames, behind those of the test
};

}  // namespace contract
