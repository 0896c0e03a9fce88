// A transport and the engine that drives it, tied together for one bus.
#pragma once

#include <chrono>
#include <memory>
#include <system_error>
#include <utility>

#include <syncbus/detail/deadline.hpp>
#include <syncbus/detail/engine.hpp>
#include <syncbus/detail/local_bus.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

template <Transport T>
class EngineLink final : private TransportPort {
 public:
  /// Opens the transport; throws what it throws. `inline_dispatch`: remote events are heard on the thread that brings them.
  template <class... Args>
  EngineLink(const LocalBus& local, bool inline_dispatch, Args&&... transport)
      : transport_(std::forward<Args>(transport)...),
        engine_{std::make_shared<Engine>(local.id(), local.options(), T::lossless_sessions, inline_dispatch,
                                         local.subscribers())} {
    engine_->start(*this);
    try {
      const BusOptions& options = local.options();
      transport_.open(*engine_, {.self = local.id(),
                                 .publish_only = options.publish_only,
                                 .connect_timeout = options.connect_timeout,
                                 .peer_timeout = options.peer_timeout});
    } catch (...) {
      transport_.close();
      engine_->abandon();
      throw;
    }
  }

  EngineLink(const EngineLink&) = delete;
  EngineLink& operator=(const EngineLink&) = delete;
  ~EngineLink() = default;

  [[nodiscard]] Engine& engine() const noexcept { return *engine_; }

 private:
  void broadcast(Bytes bytes, BroadcastToken token) noexcept override { transport_.broadcast(bytes, token); }
  void close() noexcept override { transport_.close(); }

  T transport_;
  std::shared_ptr<Engine> engine_;
};

}  // namespace syncbus::inline v1::detail
