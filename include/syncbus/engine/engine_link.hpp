// Ties a transport to the engine that drives it, for one bus.
#pragma once

#include <memory>
#include <system_error>
#include <utility>

#include <syncbus/base/deadline.hpp>
#include <syncbus/base/fork_mark.hpp>
#include <syncbus/engine/engine.hpp>
#include <syncbus/engine/transport_port.hpp>
#include <syncbus/error.hpp>
#include <syncbus/local/local_node.hpp>
#include <syncbus/local/subscribers.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

template <Transport T>
class EngineLink {
 public:
  /// Opens the transport and waits until the node has joined; throws what the transport throws, or not_connected.
  /// `inline_dispatch`: remote events are heard on the thread that brings them.
  template <class... Args>
  EngineLink(const LocalNode& local, bool inline_dispatch, Args&&... transport)
      : port_{std::make_shared<PortOf<T>>(std::in_place, std::forward<Args>(transport)...)},
        engine_{std::make_shared<Engine>(local.id(), local.options(), T::lossless_sessions, inline_dispatch,
                                         local.subscribers(), port_)} {
    local.require_protocol_options();
    const BusOptions& options = local.options();
    try {
      engine_->start();  // in here: one thread may have been made when there is none for the next
      TimePoint begin = port_->now();
      port_->open(*engine_, {.self = local.id(),
                             .publish_only = options.publish_only,
                             .connect_timeout = options.connect_timeout,
                             .wait_for_broker = options.wait_for_broker,
                             .peer_timeout = options.peer_timeout,
                             .lends_threads = engine_->lends_threads()});
      if (options.wait_for_broker > Duration::zero()) begin = port_->now();
      if (!wait_joined(deadline_after(begin, options.connect_timeout), *local.subscribers())) {
        throw std::system_error{Errc::not_connected,
                                "the broker takes what this node broadcasts but does not bring it back within "
                                "connect_timeout: check what the user may subscribe to, or raise connect_timeout"};
      }
    } catch (...) {
      port_->close();
      engine_->abandon();
      throw;
    }
  }

  EngineLink(const EngineLink&) = delete;
  EngineLink& operator=(const EngineLink&) = delete;
  ~EngineLink() {
    if (!engine_->forked()) return;
    leave_behind(port_);
    leave_behind(engine_);
  }

  [[nodiscard]] Engine& engine() const noexcept { return *engine_; }

 private:
  [[nodiscard]] bool wait_joined(TimePoint deadline, [[maybe_unused]] const Subscribers& subscribers) {
    if constexpr (TimedTransport<T>) {
      // Inside a handler time stands still: a node that is made there joins later.
      return port_->transport().wait_until(deadline, [this] { return engine_->joined(); }) ||
             subscribers.in_handler();
    } else {
      return engine_->wait_joined(deadline_after(deadline - port_->now()));  // threads wait on the steady clock
    }
  }

  std::shared_ptr<PortOf<T>> port_;
  std::shared_ptr<Engine> engine_;
};

}  // namespace syncbus::inline v1::detail
