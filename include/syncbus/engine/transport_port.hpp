// The engine's view of a transport: without its type, with a clock and a timer.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/base/uptime_clock.hpp>
#include <syncbus/engine/timer_thread.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// One engine serves every broker. It shares its port with the bus, so that an engine that had to be left behind can
/// still ask what time it is.
class TransportPort {
 public:
  virtual ~TransportPort() = default;

  virtual void broadcast(Bytes bytes, BroadcastToken token) noexcept = 0;
  virtual void send(NodeId node, Bytes bytes) noexcept = 0;
  virtual void reopen(std::uint64_t session) noexcept = 0;

  /// After it the sink hears nothing more, and nothing may be sent. Once, also when the transport could not be opened.
  virtual void close() noexcept = 0;

  /// The engine's clock and timer: the sink's on_wake() is called at the time set last. Threads do not wait by it.
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;
  virtual void wake_at(TimePoint time) noexcept = 0;

  /// Whether the machine was suspended since this was asked last. One call at a time.
  [[nodiscard]] virtual bool was_suspended() noexcept = 0;

  /// Whether serve() is to be called, by one thread at a time: see LendableTransport.
  [[nodiscard]] virtual bool lendable() const noexcept = 0;
  [[nodiscard]] virtual bool serve(const std::atomic<bool>& leave) noexcept = 0;

  /// The life of an executor's task: it was given; it begins to run, or was dropped; it has ended.
  virtual void task_began() noexcept = 0;
  virtual void task_runs() noexcept = 0;
  virtual void task_ended() noexcept = 0;
};

/// A transport as a port: on its own clock if it has one, else on the uptime clock.
template <Transport T>
class PortOf final : public TransportPort {
 public:
  template <class... Args>
  explicit PortOf(std::in_place_t, Args&&... transport) : transport_(std::forward<Args>(transport)...) {}

  /// Throws what the transport throws.
  void open(TransportSink& sink, const TransportSettings& settings) {
    if constexpr (!TimedTransport<T>) timer_thread_.start([&sink] { sink.on_wake(); });
    transport_.open(sink, settings);
  }

  [[nodiscard]] T& transport() noexcept { return transport_; }

  void broadcast(Bytes bytes, BroadcastToken token) noexcept override { transport_.broadcast(bytes, token); }
  void send(NodeId node, Bytes bytes) noexcept override { transport_.send(node, bytes); }
  void reopen(std::uint64_t session) noexcept override { transport_.reopen(session); }

  void close() noexcept override {
    if constexpr (!TimedTransport<T>) timer_thread_.stop();
    transport_.close();
  }

  [[nodiscard]] TimePoint now() const noexcept override {
    if constexpr (TimedTransport<T>) {
      return transport_.now();
    } else {
      return UptimeClock::now();
    }
  }

  void wake_at(TimePoint time) noexcept override {
    if constexpr (TimedTransport<T>) {
      transport_.wake_at(time);
    } else {
      timer_thread_.set(time);
    }
  }

  [[nodiscard]] bool was_suspended() noexcept override {
    if constexpr (TimedTransport<T>) {
      return false;
    } else {
      return clocks_.suspended();
    }
  }

  [[nodiscard]] bool lendable() const noexcept override { return LendableTransport<T>; }
  [[nodiscard]] bool serve(const std::atomic<bool>& leave) noexcept override {
    if constexpr (LendableTransport<T>) {
      return transport_.serve(leave);
    } else {
      static_cast<void>(leave);
      return false;
    }
  }

  void task_began() noexcept override {
    if constexpr (TimedTransport<T>) transport_.task_began();
  }
  void task_runs() noexcept override {
    if constexpr (TimedTransport<T>) transport_.task_runs();
  }
  void task_ended() noexcept override {
    if constexpr (TimedTransport<T>) transport_.task_ended();
  }

 private:
  struct NoTimer {};
  struct NoWatch {};

  T transport_;
  [[no_unique_address]] std::conditional_t<TimedTransport<T>, NoTimer, TimerThread> timer_thread_;
  [[no_unique_address]] std::conditional_t<TimedTransport<T>, NoWatch, SuspendWatch> clocks_;
};

}  // namespace syncbus::inline v1::detail
