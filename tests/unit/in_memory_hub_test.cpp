// The hub under hand-made sinks, without a bus: faults, virtual time, who delivers and who waits.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/base/handler_scope.hpp>
#include <syncbus/error.hpp>
#include <syncbus/in_memory_hub.hpp>
#include <syncbus/transport/memory/in_memory_transport.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/lines.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using support::eventually, support::Lines;

namespace {

/// Whether it is done by then.
template <class Done>
[[nodiscard]] bool settles(detail::HubState& hub, TimePoint deadline, const Done& done) {
  return hub.settle_until(deadline, deadline - hub.now(), done) == detail::Settled::done;
}

/// What all nodes of a test were told, in order: "b hears x", and behind that " at 5ms" once time has moved.
class Trace {
 public:
  explicit Trace(const InMemoryHub& hub) : start_{hub.now()} {}

  void add(std::string line, TimePoint now) {
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - start_).count();
    if (passed != 0) line += " at " + std::to_string(passed) + "ms";
    const std::lock_guard lock{mutex_};
    lines_.push_back(std::move(line));
  }

  [[nodiscard]] Lines all() const {
    const std::lock_guard lock{mutex_};
    return lines_;
  }

  /// Since the last call.
  [[nodiscard]] Lines take() {
    const std::lock_guard lock{mutex_};
    return std::exchange(lines_, {});
  }

 private:
  const TimePoint start_;
  mutable std::mutex mutex_;
  Lines lines_;
};

/// A node without a bus.
class Node final : public TransportSink {
 public:
  Node(const InMemoryHub& hub, Trace& trace, char name, bool publish_only = false)
      : name_{name}, trace_{trace}, transport_{hub} {
    transport_.open(*this, {.self = id(), .publish_only = publish_only});
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() { close(); }

  [[nodiscard]] NodeId id() const { return {static_cast<std::uint64_t>(name_)}; }
  [[nodiscard]] InMemoryTransport& transport() { return transport_; }
  [[nodiscard]] detail::HubState& hub() const { return transport_.hub(); }
  [[nodiscard]] TimePoint now() const { return transport_.now(); }

  void broadcast(std::string_view text) {
    transport_.broadcast(std::as_bytes(std::span{text.data(), text.size()}), {session_, ++frames_});
  }
  void send(const Node& to, std::string_view text) {
    transport_.send(to.id(), std::as_bytes(std::span{text.data(), text.size()}));
  }

  /// As a bus does: returns when the broadcast is confirmed.
  void publish(std::string_view text) {
    broadcast(text);
    hub().settle([this, frame = frames_.load()] { return confirmed_ >= frame; });
  }

  void wake_in(Duration time) { transport_.wake_at(now() + time); }
  void reopen() { transport_.reopen(session_); }

  void close() {
    if (!std::exchange(closed_, true)) transport_.close();
  }

  /// What it heard of others and itself, in order.
  [[nodiscard]] Lines heard() const {
    const std::lock_guard lock{mutex_};
    return heard_;
  }
  [[nodiscard]] std::uint64_t confirmed() const { return confirmed_; }
  [[nodiscard]] int wakes() const { return wakes_; }

  std::function<void(std::string_view text)> on_text;  // runs inside on_frame
  std::function<void()> on_alarm;                      // runs inside on_wake

  void on_frame(Bytes bytes) noexcept override {
    const std::string text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    {
      const std::lock_guard lock{mutex_};
      heard_.push_back(text);
    }
    note("hears " + text);
    if (on_text) on_text(text);
  }
  void on_confirmed(BroadcastToken token) noexcept override {
    note("is confirmed " + std::to_string(token.frame));
    confirmed_ = token.frame;
  }
  void on_interrupted() noexcept override { note("is interrupted"); }
  void on_ready(std::uint64_t session, std::size_t) noexcept override {
    session_ = session;
    if (session != 1) note("is ready " + std::to_string(session));
  }
  void on_wake() noexcept override {
    ++wakes_;
    note("wakes");
    if (on_alarm) on_alarm();
  }
  void on_problem(std::error_code, std::string_view) noexcept override { note("has a problem"); }

 private:
  void note(const std::string& what) { trace_.add(std::string{name_} + ' ' + what, now()); }

  const char name_;
  Trace& trace_;
  InMemoryTransport transport_;
  std::atomic<std::uint64_t> session_ = 0, frames_ = 0, confirmed_ = 0;
  std::atomic<int> wakes_ = 0;
  bool closed_ = false;
  mutable std::mutex mutex_;
  Lines heard_;
};

/// A hub with the nodes a, b and c.
struct Cluster {
  InMemoryHub hub;
  Trace trace{hub};
  Node a{hub, trace, 'a'}, b{hub, trace, 'b'}, c{hub, trace, 'c'};

  explicit Cluster(HubOptions options = {}) : hub{options} {}
};

[[nodiscard]] std::error_code error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return error.code();
  }
  return {};
}

[[nodiscard]] bool never_done() { return false; }

}  // namespace

// --- delivery

TEST_CASE("without faults a broadcast is heard by all, its publisher too, and then confirmed") {
  Cluster cluster;
  cluster.b.publish("x");
  CHECK(cluster.trace.all() == Lines{"a hears x", "b hears x", "c hears x", "b is confirmed 1"});
}

TEST_CASE("a directed frame is heard by its node alone and not confirmed") {
  Cluster cluster;
  cluster.a.send(cluster.c, "x");
  cluster.hub.advance(0s);
  CHECK(cluster.trace.all() == Lines{"c hears x"});
}

TEST_CASE("a node that only publishes is confirmed and hears nothing, not even what is for it alone") {
  Cluster cluster;
  Node quiet{cluster.hub, cluster.trace, 'q', true};
  cluster.a.send(quiet, "x");
  quiet.publish("y");
  CHECK(quiet.heard().empty());
  CHECK(quiet.confirmed() == 1);
  CHECK(cluster.a.heard() == Lines{"y"});
}

TEST_CASE("what sinks broadcast while they are called is delivered before the publish that called them returns") {
  Cluster cluster;
  cluster.b.on_text = [&](std::string_view text) {
    if (text == "1") cluster.b.broadcast("2");
  };
  cluster.c.on_text = [&](std::string_view text) {
    if (text == "2") cluster.c.broadcast("3");
  };
  cluster.a.publish("1");
  CHECK(cluster.a.heard() == Lines{"1", "2", "3"});
  CHECK(cluster.a.heard() == cluster.c.heard());
}

TEST_CASE("a publisher that delivers is not kept delivering what others broadcast meanwhile") {
  Cluster cluster;
  cluster.b.on_text = [&](std::string_view text) {
    if (text == "1") std::jthread{[&] { cluster.c.broadcast("2"); }}.join();
  };
  cluster.a.publish("1");
  CHECK(cluster.b.heard() == Lines{"1"});
  cluster.hub.advance(0s);
  CHECK(cluster.b.heard() == Lines{"1", "2"});
}

TEST_CASE("a publish on another thread returns when its delivery has ended, whoever delivers") {
  Cluster cluster;
  std::binary_semaphore entered{0}, leave{0};
  cluster.b.on_text = [&](std::string_view text) {
    if (text != "first") return;
    entered.release();
    leave.acquire();
  };
  std::jthread delivering{[&] { cluster.a.publish("first"); }};
  entered.acquire();
  Lines at_return;
  std::jthread waiting{[&] {
    cluster.c.publish("second");
    at_return = cluster.b.heard();
  }};
  leave.release();
  waiting.join();
  CHECK(at_return == Lines{"first", "second"});
}

TEST_CASE("settling inside a handler comes back at once and is made good when the handler has ended") {
  Cluster cluster;
  {
    const detail::HandlerScope scope{detail::HazardRecords::home().mine()};
    cluster.a.publish("x");
    CHECK(cluster.b.heard().empty());
  }
  CHECK(cluster.b.heard() == Lines{"x"});
}

TEST_CASE("who has left hears nothing more, also what was on its way") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.a.publish("x");
  cluster.b.close();
  cluster.a.publish("y");
  cluster.hub.advance(10ms);
  CHECK(cluster.b.heard().empty());
  CHECK(cluster.c.heard() == Lines{"x", "y"});
}

TEST_CASE("leaving waits for the call that the node is in") {
  Cluster cluster;
  std::binary_semaphore entered{0}, leave{0};
  std::atomic<bool> ended = false;
  cluster.b.on_text = [&](std::string_view) {
    entered.release();
    leave.acquire();
    ended = true;
  };
  std::jthread delivering{[&] { cluster.a.publish("x"); }};
  entered.acquire();
  std::jthread letting_go{[&] { leave.release(); }};
  cluster.b.close();
  CHECK(ended);
}

TEST_CASE("a hub may end before its nodes") {
  auto hub = std::make_unique<InMemoryHub>();
  Trace trace{*hub};
  Node a{*hub, trace, 'a'}, b{*hub, trace, 'b'};
  hub.reset();
  a.publish("x");
  CHECK(b.heard() == Lines{"x"});
}

// --- faults

TEST_CASE("a dropped copy never arrives, but its publisher hears itself and is confirmed") {
  Cluster cluster;
  cluster.hub.drop(1);
  cluster.a.publish("x");
  cluster.a.send(cluster.b, "y");
  cluster.hub.advance(1h);
  CHECK(cluster.trace.all() == Lines{"a hears x", "a is confirmed 1"});
  cluster.hub.drop(0);
  cluster.a.publish("z");
  CHECK(cluster.b.heard() == Lines{"z"});
}

TEST_CASE("copies are dropped one by one: each receiver loses others, about as many as the probability says") {
  Cluster cluster;
  cluster.hub.drop(0.5);
  for (int i = 0; i != 1'000; ++i) cluster.a.publish(std::to_string(i));
  CHECK(cluster.a.heard().size() == 1'000);
  CHECK(cluster.b.heard().size() > 400);
  CHECK(cluster.b.heard().size() < 600);
  CHECK(cluster.b.heard() != cluster.c.heard());
}

TEST_CASE("a doubled copy arrives twice, a publisher hears itself once") {
  Cluster cluster;
  cluster.hub.duplicate(1);
  cluster.a.publish("x");
  cluster.a.send(cluster.b, "y");
  cluster.hub.advance(0s);
  CHECK(cluster.a.heard() == Lines{"x"});
  CHECK(cluster.b.heard() == Lines{"x", "x", "y", "y"});
  cluster.hub.duplicate(0);
  cluster.a.publish("z");
  CHECK(cluster.c.heard() == Lines{"x", "x", "z"});
}

TEST_CASE("a copy that is held back arrives behind the next one") {
  Cluster cluster;
  cluster.hub.reorder(1);
  for (const char* text : {"1", "2", "3", "4"}) cluster.a.publish(text);
  CHECK(cluster.a.heard() == Lines{"1", "2", "3", "4"});
  CHECK(cluster.b.heard() == Lines{"2", "1", "4", "3"});
}

TEST_CASE("a node's own frame is not held back, but what waits for the next one arrives behind it") {
  Cluster cluster;
  cluster.hub.reorder(1);
  cluster.a.publish("1");
  CHECK(cluster.b.heard().empty());
  cluster.b.publish("2");
  CHECK(cluster.b.heard() == Lines{"2", "1"});
}

TEST_CASE("when none comes, a copy that is held back arrives before time moves") {
  Cluster cluster;
  cluster.hub.reorder(1);
  cluster.c.wake_in(1ms);
  cluster.a.publish("x");
  SECTION("by zero") {
    cluster.hub.advance(0s);
    CHECK(cluster.trace.all() == Lines{"a hears x", "a is confirmed 1", "b hears x", "c hears x"});
  }
  SECTION("to a timer") {
    cluster.hub.advance(1ms);
    CHECK(cluster.trace.all() == Lines{"a hears x", "a is confirmed 1", "b hears x", "c hears x", "c wakes at 1ms"});
  }
}

TEST_CASE("a delayed copy arrives when it is due, its publisher hears itself and is confirmed at once") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.a.publish("x");
  cluster.a.send(cluster.b, "y");
  CHECK(cluster.trace.take() == Lines{"a hears x", "a is confirmed 1"});
  cluster.hub.advance(4ms);
  CHECK(cluster.trace.take().empty());
  cluster.hub.advance(1ms);
  CHECK(cluster.trace.take() == Lines{"b hears x at 5ms", "c hears x at 5ms", "b hears y at 5ms"});
}

TEST_CASE("delays lie between the two bounds, and both ends are met") {
  Cluster cluster;
  cluster.hub.delay(2ns, 4ns);
  std::vector<int> counts(6);
  for (int i = 0; i != 200; ++i) {
    const TimePoint sent = cluster.hub.now();
    cluster.b.on_text = [&](std::string_view) { ++counts[static_cast<std::size_t>((cluster.hub.now() - sent) / 1ns)]; };
    cluster.a.publish("x");
    cluster.hub.advance(5ns);
  }
  CHECK(counts[0] + counts[1] + counts[5] == 0);
  CHECK(counts[2] > 0);
  CHECK(counts[3] > 0);
  CHECK(counts[4] > 0);
}

TEST_CASE("under delay all nodes hear in one order, their own frames included") {
  Cluster cluster;
  cluster.hub.delay(0ms, 20ms);
  for (int i = 0; i != 100; ++i) {
    (i % 2 == 0 ? cluster.a : cluster.b).publish(std::to_string(i));
    cluster.hub.advance(1ms);
  }
  cluster.hub.advance(20ms);
  CHECK(cluster.c.heard().size() == 100);
  CHECK(cluster.a.heard() == cluster.c.heard());
  CHECK(cluster.b.heard() == cluster.c.heard());
  Lines sorted = cluster.c.heard();
  std::sort(sorted.begin(), sorted.end(), [](const auto& x, const auto& y) { return std::stoi(x) < std::stoi(y); });
  CHECK(cluster.c.heard() == sorted);
}

TEST_CASE("when the delay ends, new copies wait behind those on their way") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.a.publish("1");
  cluster.hub.delay(0ms, 0ms);
  cluster.a.publish("2");
  CHECK(cluster.b.heard().empty());
  cluster.hub.advance(5ms);
  cluster.a.publish("3");
  CHECK(cluster.b.heard() == Lines{"1", "2", "3"});
}

TEST_CASE("a delayed copy can be overtaken by reorder alone") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.hub.reorder(1);
  cluster.a.publish("1");
  cluster.a.publish("2");
  cluster.a.publish("3");
  cluster.hub.advance(5ms);
  CHECK(cluster.b.heard() == Lines{"2", "1", "3"});
}

TEST_CASE("nodes of a partition hear only each other, the rest hear each other, and it takes no time") {
  Cluster cluster;
  Node d{cluster.hub, cluster.trace, 'd'};
  const TimePoint start = cluster.hub.now();
  cluster.hub.partition({cluster.a.id(), cluster.b.id()});
  cluster.a.publish("a");
  cluster.c.publish("c");
  cluster.c.send(cluster.a, "lost");
  cluster.hub.advance(0s);
  CHECK(cluster.a.heard() == Lines{"a"});
  CHECK(cluster.b.heard() == Lines{"a"});
  CHECK(cluster.c.heard() == Lines{"c"});
  CHECK(d.heard() == Lines{"c"});
  CHECK(cluster.a.confirmed() == 1);
  cluster.hub.heal();
  cluster.a.publish("healed");
  CHECK(cluster.c.heard() == Lines{"c", "healed"});
  CHECK(cluster.hub.now() == start);
}

TEST_CASE("further partitions make further groups, and a node is in the last one that named it") {
  Cluster cluster;
  const std::vector<NodeId> group{cluster.a.id(), cluster.b.id()};
  cluster.hub.partition(group);
  cluster.hub.partition({cluster.b.id()});
  for (Node* const node : {&cluster.a, &cluster.b, &cluster.c}) node->publish("alone");
  for (const Node* const node : {&cluster.a, &cluster.b, &cluster.c}) CHECK(node->heard().size() == 1);
  cluster.hub.partition({cluster.b.id(), cluster.c.id()});
  cluster.b.publish("together");
  CHECK(cluster.a.heard().size() == 1);
  CHECK(cluster.c.heard().back() == "together");
}

TEST_CASE("a partition cuts what is on its way, even if it heals before that would arrive") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.a.publish("x");
  cluster.hub.partition({cluster.b.id()});
  cluster.hub.heal();
  cluster.hub.advance(5ms);
  CHECK(cluster.b.heard().empty());
  CHECK(cluster.c.heard() == Lines{"x"});

  cluster.hub.delay(0ms, 0ms);
  cluster.hub.reorder(1);
  cluster.a.publish("y");
  cluster.hub.partition({cluster.b.id()});
  cluster.hub.heal();
  cluster.hub.advance(0s);
  CHECK(cluster.b.heard().empty());
  CHECK(cluster.c.heard() == Lines{"x", "y"});
}

TEST_CASE("healing ends partitions and no other fault") {
  Cluster cluster;
  cluster.hub.drop(1);
  cluster.hub.partition({cluster.b.id()});
  cluster.hub.heal();
  cluster.a.publish("x");
  CHECK(cluster.b.heard().empty());
}

TEST_CASE("a crashed node is gone: nothing that it sends arrives, and it hears nothing") {
  Cluster cluster;
  cluster.hub.crash(cluster.b.id());
  cluster.b.publish("lost");
  cluster.b.send(cluster.a, "lost");
  cluster.a.publish("x");
  cluster.hub.advance(0s);
  CHECK(cluster.a.heard() == Lines{"x"});
  CHECK(cluster.b.heard().empty());
}

TEST_CASE("a crashed node's object is confirmed, wakes, and can be closed without a word to anybody") {
  Cluster cluster;
  cluster.hub.crash(cluster.b.id());
  cluster.hub.crash(cluster.b.id());
  cluster.b.wake_in(1ms);
  cluster.b.publish("goodbye");
  cluster.b.reopen();
  cluster.hub.advance(1ms);
  cluster.b.close();
  CHECK(cluster.trace.all() == Lines{"b is confirmed 1", "b wakes at 1ms"});
}

TEST_CASE("what a node sent before it crashed arrives, what was on its way to it does not") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.b.publish("last words");
  cluster.a.publish("x");
  cluster.hub.crash(cluster.b.id());
  cluster.hub.advance(5ms);
  CHECK(cluster.a.heard() == Lines{"last words", "x"});
  CHECK(cluster.b.heard() == Lines{"last words"});
}

TEST_CASE("a node that crashes while a frame is delivered does not hear it any more") {
  Cluster cluster;
  cluster.a.on_text = [&](std::string_view) { cluster.hub.crash(cluster.b.id()); };
  cluster.c.publish("x");
  CHECK(cluster.b.heard().empty());
  CHECK(cluster.c.heard() == Lines{"x"});
}

TEST_CASE("arguments out of their range are refused with a sentence, and change nothing") {
  Cluster cluster;
  InMemoryHub& hub = cluster.hub;
  for (const double wrong : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK(error_of([&] { hub.drop(wrong); }) == Errc::invalid_argument);
    CHECK(error_of([&] { hub.duplicate(wrong); }) == Errc::invalid_argument);
    CHECK(error_of([&] { hub.reorder(wrong); }) == Errc::invalid_argument);
  }
  CHECK(error_of([&] { hub.delay(-1ms, 1ms); }) == Errc::invalid_argument);
  CHECK(error_of([&] { hub.delay(2ms, 1ms); }) == Errc::invalid_argument);
  CHECK(error_of([&] { hub.partition({cluster.a.id(), NodeId{}}); }) == Errc::invalid_argument);
  CHECK(error_of([&] { hub.crash(NodeId{12345}); }) == Errc::invalid_argument);
  CHECK(error_of([&] { hub.advance(-1ns); }) == Errc::invalid_argument);
  cluster.a.publish("x");
  CHECK(cluster.b.heard() == Lines{"x"});
}

// --- sessions

TEST_CASE("a session that is given up ends and begins anew from the queue, never inside the call") {
  Cluster cluster;
  cluster.a.reopen();
  CHECK(cluster.trace.take().empty());
  cluster.hub.advance(0s);
  CHECK(cluster.trace.take() == Lines{"a is interrupted", "a is ready 2"});
  cluster.a.transport().reopen(1);  // not the current one any more
  cluster.hub.advance(0s);
  CHECK(cluster.trace.take().empty());
  cluster.a.publish("x");
  CHECK(cluster.b.heard() == Lines{"x"});
}

TEST_CASE("a new session loses what was on its way to the node, and broadcasts of the old one") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.b.publish("x");
  cluster.a.broadcast("before");
  cluster.a.reopen();
  cluster.a.broadcast("between");  // behind the end of its session
  cluster.hub.advance(0s);
  CHECK(cluster.trace.take() == Lines{"b hears x", "b is confirmed 1", "a is confirmed 1", "a is interrupted",
                                      "a is ready 2"});
  cluster.hub.advance(5ms);
  CHECK(cluster.a.heard().empty());
  CHECK(cluster.b.heard() == Lines{"x", "before"});
}

// --- virtual time

TEST_CASE("time begins at a fixed point and moves only when it is told to") {
  InMemoryHub one, other;
  CHECK(one.now() == other.now());
  one.advance(3s);
  CHECK(one.now() == other.now() + 3s);
  other.advance(0s);
  CHECK(one.now() == other.now() + 3s);
}

TEST_CASE("time moves through the wakes in order, and each is told its own time") {
  Cluster cluster;
  cluster.a.wake_in(3ms);
  cluster.b.wake_in(1ms);
  cluster.c.wake_in(4ms);
  cluster.hub.advance(3ms);
  CHECK(cluster.trace.take() == Lines{"b wakes at 1ms", "a wakes at 3ms"});
  cluster.hub.advance(10ms);
  CHECK(cluster.trace.take() == Lines{"c wakes at 4ms"});
}

TEST_CASE("at one time copies come before wakes, and wakes in the order of joining") {
  Cluster cluster;
  cluster.hub.delay(2ms, 2ms);
  for (Node* const node : {&cluster.c, &cluster.b, &cluster.a}) node->wake_in(2ms);
  cluster.b.publish("x");
  static_cast<void>(cluster.trace.take());
  cluster.hub.advance(2ms);
  CHECK(cluster.trace.take() ==
        Lines{"a hears x at 2ms", "c hears x at 2ms", "a wakes at 2ms", "b wakes at 2ms", "c wakes at 2ms"});
}

TEST_CASE("a later wake_at replaces an earlier one") {
  Cluster cluster;
  cluster.a.wake_in(1ms);
  cluster.a.wake_in(5ms);
  cluster.b.wake_in(5ms);
  cluster.b.wake_in(1ms);
  cluster.c.wake_in(1ms);
  cluster.c.transport().wake_at((TimePoint::max)());
  cluster.hub.advance(10ms);
  CHECK(cluster.trace.all() == Lines{"b wakes at 1ms", "a wakes at 5ms"});
}

TEST_CASE("a wake that was asked for a time that has passed comes once, as soon as time may move") {
  Cluster cluster;
  cluster.hub.advance(5ms);
  cluster.a.wake_in(-3ms);
  CHECK(cluster.a.wakes() == 0);
  cluster.hub.advance(0s);
  cluster.hub.advance(5ms);
  CHECK(cluster.trace.all() == Lines{"a wakes at 5ms"});
}

TEST_CASE("what a wake brings about is delivered before time moves on") {
  Cluster cluster;
  cluster.a.on_alarm = [&] {
    if (cluster.a.wakes() == 3) return;
    cluster.a.broadcast("tick");
    cluster.a.wake_in(0ms);
  };
  cluster.c.on_text = [&](std::string_view text) {
    if (text == "tick") cluster.c.broadcast("tock");
  };
  cluster.a.wake_in(1ms);
  cluster.b.wake_in(2ms);
  cluster.hub.advance(2ms);
  CHECK(cluster.b.heard() == Lines{"tick", "tock", "tick", "tock"});
  CHECK(cluster.trace.all().back() == "b wakes at 2ms");
  const Lines all = cluster.trace.all();
  CHECK(std::count_if(all.begin(), all.end(), [](const auto& line) { return line.ends_with(" at 2ms"); }) == 1);
}

TEST_CASE("a waiting call moves time to what makes it done, and no further") {
  Cluster cluster;
  cluster.hub.delay(5ms, 5ms);
  cluster.b.wake_in(6ms);
  const TimePoint start = cluster.hub.now();
  cluster.a.publish("x");
  CHECK(settles(cluster.a.hub(), start + 1h, [&] { return !cluster.b.heard().empty(); }));
  CHECK(cluster.hub.now() == start + 5ms);
  CHECK(cluster.b.wakes() == 0);
}

TEST_CASE("a waiting call that is not done ends at its deadline, when what is due then has happened") {
  Cluster cluster;
  const TimePoint start = cluster.hub.now();
  cluster.a.wake_in(5ms);
  cluster.a.on_alarm = [&] { cluster.a.broadcast("x"); };
  cluster.b.wake_in(6ms);
  CHECK_FALSE(settles(cluster.a.hub(), start + 5ms, never_done));
  CHECK(cluster.hub.now() == start + 5ms);
  CHECK(cluster.c.heard() == Lines{"x"});
  CHECK(cluster.b.wakes() == 0);
  CHECK_FALSE(settles(cluster.a.hub(), start, never_done));  // a deadline that has passed
  CHECK(settles(cluster.a.hub(), start + 9ms, [&] { return cluster.b.wakes() == 1; }));
  CHECK(cluster.hub.now() == start + 6ms);
}

TEST_CASE("what a wake that ends a waiting call broadcast is delivered before the call returns") {
  Cluster cluster;
  cluster.a.on_alarm = [&] { cluster.a.broadcast("x"); };
  cluster.a.wake_in(1ms);
  CHECK(settles(cluster.a.hub(), cluster.hub.now() + 1s, [&] { return cluster.a.wakes() == 1; }));
  CHECK(cluster.c.heard() == Lines{"x"});
}

TEST_CASE("inside a handler or a sink time does not move") {
  Cluster cluster;
  const TimePoint start = cluster.hub.now();
  const auto try_it = [&] {
    CHECK(error_of([&] { cluster.hub.advance(1ms); }) == Errc::would_deadlock);
    CHECK_FALSE(settles(cluster.a.hub(), start + 1ms, never_done));
    CHECK(settles(cluster.a.hub(), start + 1ms, [] { return true; }));
  };
  {
    const detail::HandlerScope scope{detail::HazardRecords::home().mine()};
    try_it();
  }
  cluster.b.on_text = [&](std::string_view) { try_it(); };
  cluster.a.publish("x");
  CHECK(cluster.b.heard() == Lines{"x"});
  CHECK(cluster.hub.now() == start);
}

namespace {

/// A few hundred calls under every fault at once.
[[nodiscard]] Lines eventful_run(std::uint64_t seed) {
  Cluster cluster{HubOptions{.seed = seed}};
  cluster.hub.drop(0.2);
  cluster.hub.duplicate(0.2);
  cluster.hub.reorder(0.2);
  cluster.hub.delay(0ms, 10ms);
  const std::vector<Node*> nodes{&cluster.a, &cluster.b, &cluster.c};
  cluster.b.on_alarm = [&] {
    cluster.b.broadcast("tick");
    cluster.b.wake_in(7ms);
  };
  cluster.b.wake_in(7ms);
  for (int i = 0; i != 100; ++i) {
    if (i == 40) cluster.hub.partition({cluster.c.id()});
    if (i == 60) cluster.hub.heal();
    nodes[static_cast<std::size_t>(i % 3)]->publish(std::to_string(i));
    nodes[static_cast<std::size_t>(i % 2)]->send(cluster.c, "to c");
    cluster.hub.advance(2ms);
  }
  cluster.hub.advance(20ms);
  return cluster.trace.all();
}

}  // namespace

TEST_CASE("one thread with one seed sees the same calls in the same order every time") {
  const Lines first = eventful_run(7);
  CHECK(first.size() > 300);
  CHECK(first == eventful_run(7));
  CHECK(first != eventful_run(8));
}

// --- threads

namespace {

/// One waiting call on a thread of its own.
class Waiter {
 public:
  Waiter(detail::HubState& hub, TimePoint deadline)
      : thread_{[this, &hub, deadline] {
          done_ = settles(hub, deadline, [this, &hub] {
            latest_ = hub.now();
            asked_ = true;
            return stop_.load();
          });
          ended_ = true;
        }} {}

  [[nodiscard]] bool asked() const { return asked_; }
  [[nodiscard]] bool ended() const { return ended_; }
  void stop() { stop_ = true; }

  /// What the call returned.
  [[nodiscard]] bool join() {
    thread_.join();
    return done_;
  }

  /// The latest time that the call saw.
  [[nodiscard]] TimePoint latest() const { return latest_; }

 private:
  std::atomic<bool> asked_ = false, ended_ = false, stop_ = false, done_ = false;
  std::atomic<TimePoint> latest_{};
  std::jthread thread_;
};

}  // namespace

TEST_CASE("of several waiting calls each ends at its own deadline, and time does not pass one before") {
  for (int round = 0; round != 20; ++round) {
    Cluster cluster;
    detail::HubState& hub = cluster.a.hub();
    const TimePoint start = cluster.hub.now();
    cluster.a.wake_in(15ms);
    hub.task_began();  // until all of them wait
    hub.task_runs();
    Waiter late{hub, start + 20ms}, early{hub, start + 10ms}, middle{hub, start + 15ms};
    REQUIRE(eventually([&] { return late.asked() && early.asked() && middle.asked(); }));
    hub.task_ended();
    CHECK_FALSE(early.join());
    CHECK_FALSE(middle.join());
    CHECK_FALSE(late.join());
    CHECK(early.latest() == start + 10ms);
    CHECK(middle.latest() == start + 15ms);
    CHECK(late.latest() == start + 20ms);
    CHECK(cluster.hub.now() == start + 20ms);
    CHECK(cluster.a.wakes() == 1);
  }
}

TEST_CASE("an unfinished task of an executor holds time back") {
  Cluster cluster;
  detail::HubState& hub = cluster.a.hub();
  std::atomic<bool> finished = false, early = false;
  cluster.a.on_alarm = [&] { early = !finished; };
  cluster.a.wake_in(1ms);
  hub.task_began();
  hub.task_runs();
  hub.task_began();
  hub.task_runs();
  Waiter waiter{hub, cluster.hub.now() + 2ms};
  REQUIRE(eventually([&] { return waiter.asked(); }));
  hub.task_ended();
  cluster.b.publish("x");  // frames go on
  CHECK(cluster.c.heard() == Lines{"x"});
  finished = true;
  hub.task_ended();
  CHECK_FALSE(waiter.join());
  CHECK_FALSE(early);
  CHECK(cluster.a.wakes() == 1);
}

TEST_CASE("what an executor's task broadcast is delivered when the task has ended") {
  Cluster cluster;
  detail::HubState& hub = cluster.a.hub();
  hub.task_began();
  hub.task_runs();
  cluster.a.broadcast("x");
  CHECK(cluster.b.heard().empty());
  hub.task_ended();
  CHECK(cluster.b.heard() == Lines{"x"});
}

TEST_CASE("a waiting call ends when it is done, also while a task holds time back") {
  Cluster cluster;
  detail::HubState& hub = cluster.a.hub();
  const TimePoint start = cluster.hub.now();
  hub.task_began();
  hub.task_runs();
  Waiter waiter{hub, start + 1h};
  REQUIRE(eventually([&] { return waiter.asked(); }));
  waiter.stop();
  hub.recheck();
  CHECK(waiter.join());
  hub.task_ended();
  CHECK(cluster.hub.now() == start);
}

TEST_CASE("a waiting call without a deadline waits for other threads when nothing is due") {
  Cluster cluster;
  cluster.hub.delay(1ms, 1ms);
  std::atomic<bool> asked = false, done = false;
  std::jthread waiting{[&] {
    done = settles(cluster.a.hub(), (TimePoint::max)(), [&] {
      asked = true;
      return !cluster.c.heard().empty();
    });
  }};
  REQUIRE(eventually([&] { return asked.load(); }));
  cluster.b.publish("x");
  waiting.join();
  CHECK(done);
  CHECK(cluster.c.heard() == Lines{"x"});
}

TEST_CASE("threads that publish, wait and change faults at once all come to an end") {
  Cluster cluster;
  std::atomic<bool> stop = false;
  {
    std::vector<std::jthread> threads;
    for (Node* const node : {&cluster.a, &cluster.b, &cluster.c}) {
      threads.emplace_back([node] {
        for (int i = 0; i != 300; ++i) {
          node->publish(std::to_string(i));
          if (i % 10 == 0) {
            node->wake_in(1ms);
            static_cast<void>(settles(node->hub(), node->now() + 2ms, never_done));
          }
        }
      });
    }
    threads.emplace_back([&] {
      while (!stop) cluster.hub.advance(1ms);
    });
    for (int i = 0; i != 100; ++i) {
      cluster.hub.delay(0ms, (i % 3) * 1ms);
      cluster.hub.partition({cluster.b.id()});
      cluster.hub.heal();
      Node guest{cluster.hub, cluster.trace, 'g'};
      guest.publish("guest");
    }
    for (std::size_t i = 0; i != 3; ++i) threads[i].join();
    stop = true;
  }
  for (const Node* const node : {&cluster.a, &cluster.b, &cluster.c}) CHECK(node->confirmed() == 300);
}

// --- real time

TEST_CASE("in real time a thread of the hub's own brings delayed copies and wakes") {
  Cluster cluster{HubOptions{.real_time = true}};
  const TimePoint start = cluster.hub.now();
  cluster.hub.delay(2ms, 4ms);
  cluster.b.wake_in(3ms);
  cluster.a.publish("x");
  CHECK(eventually([&] { return cluster.c.heard() == Lines{"x"} && cluster.b.wakes() == 1; }));
  CHECK(cluster.hub.now() >= start + 3ms);
  CHECK(cluster.a.heard() == Lines{"x"});
}

TEST_CASE("in real time a copy that is held back does not wait for ever") {
  Cluster cluster{HubOptions{.real_time = true}};
  cluster.hub.reorder(1);
  cluster.a.publish("x");
  CHECK(eventually([&] { return cluster.b.heard() == Lines{"x"}; }));
}

TEST_CASE("in real time broadcasts are delivered though nobody settles the hub") {
  Cluster cluster{HubOptions{.real_time = true}};
  cluster.a.broadcast("x");
  cluster.a.reopen();
  CHECK(eventually([&] { return cluster.trace.all().size() == 6; }));
  CHECK(cluster.trace.all().back().starts_with("a is ready 2"));
}

TEST_CASE("in real time a waiting call waits, at most until its deadline") {
  Cluster cluster{HubOptions{.real_time = true}};
  const TimePoint start = cluster.hub.now();
  CHECK_FALSE(settles(cluster.a.hub(), start + 2ms, never_done));
  CHECK(cluster.hub.now() >= start + 2ms);
  cluster.hub.delay(1ms, 1ms);
  cluster.a.publish("x");
  CHECK(settles(cluster.a.hub(), start + 1h, [&] { return !cluster.c.heard().empty(); }));
}

TEST_CASE("in real time nobody moves time by hand") {
  InMemoryHub hub{HubOptions{.real_time = true}};
  CHECK(error_of([&] { hub.advance(1ms); }) == Errc::invalid_argument);
}
