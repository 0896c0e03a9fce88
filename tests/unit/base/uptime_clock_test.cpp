// A clock that counts a suspend of the machine, and what a bus does when it wakes.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <syncbus/base/uptime_clock.hpp>
#include <syncbus/engine/engine.hpp>
#include <syncbus/engine/transport_port.hpp>
#include <syncbus/local/local_node.hpp>
#include <syncbus/transport.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using detail::SuspendWatch, detail::UptimeClock;

namespace {

constexpr TimePoint uptime{5h}, steady{3h};  // it slept two hours before

/// A port whose machine can be suspended, and which notes what is asked of it.
class SuspendedPort final : public detail::TransportPort {
 public:
  void broadcast(Bytes, BroadcastToken) noexcept override {}
  void send(NodeId, Bytes) noexcept override {}
  void reopen(std::uint64_t session) noexcept override { reopened = session; }
  void close() noexcept override {}
  [[nodiscard]] TimePoint now() const noexcept override { return time; }
  void wake_at(TimePoint) noexcept override {}
  [[nodiscard]] bool was_suspended() noexcept override { return suspended.exchange(false); }
  [[nodiscard]] bool lendable() const noexcept override { return false; }
  [[nodiscard]] bool serve(const std::atomic<bool>&) noexcept override { return false; }
  void task_began() noexcept override {}
  void task_runs() noexcept override {}
  void task_ended() noexcept override {}

  std::atomic<TimePoint> time{uptime};
  std::atomic<bool> suspended = false;
  std::atomic<std::uint64_t> reopened = 0;
};

}  // namespace

TEST_CASE("a suspend is noticed once: the uptime has moved on, and the steady clock has not") {
  SuspendWatch watch{uptime, steady};
  CHECK_FALSE(watch.suspended(uptime + 10min, steady + 10min));
  CHECK_FALSE(watch.suspended(uptime + 20min, steady + 20min - 999ms));
  CHECK(watch.suspended(uptime + 30min, steady + 20min));
  CHECK_FALSE(watch.suspended(uptime + 31min, steady + 21min));
  CHECK(watch.suspended(uptime + 33min, steady + 22min));
}

TEST_CASE("short suspends add up, and a pause between the readings of the clocks is none") {
  SuspendWatch watch{uptime, steady};
  CHECK_FALSE(watch.suspended(uptime + 600ms, steady));
  CHECK(watch.suspended(uptime + 1200ms, steady));
  CHECK_FALSE(watch.suspended(uptime + 1h, steady + 1h + 10s));
  CHECK_FALSE(watch.suspended(uptime + 1h + 1200ms, steady + 1h));
}

TEST_CASE("a machine that stays awake was not suspended") {
  SuspendWatch watch;
  const TimePoint begin = UptimeClock::now();
  while (UptimeClock::now() < begin + 20ms) CHECK_FALSE(watch.suspended());
}

TEST_CASE("a bus that wakes from a suspend takes another session before it judges anybody") {
  detail::LocalNode local{BusOptions{.connect_timeout = support::patience}};
  const auto port = std::make_shared<SuspendedPort>();
  const auto engine =
      std::make_shared<detail::Engine>(local.id(), local.options(), false, false, local.subscribers(), port);
  engine->start();
  engine->on_ready(7, std::size_t{1} << 20U);
  CHECK(engine->health().connected);
  engine->on_wake();
  CHECK(port->reopened == 0);

  port->time = uptime + 10min;
  port->suspended = true;
  SECTION("its alarm rings") { engine->on_wake(); }
  SECTION("a frame comes") { engine->on_frame(std::vector<std::byte>(1)); }
  CHECK(port->reopened == 7);
  CHECK_FALSE(engine->health().connected);
  engine->abandon();
}
