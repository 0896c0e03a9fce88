// The engine over a transport of the test's own: what it does when the broker is slow, changes, or answers at once.
#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <semaphore>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/basic_bus.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/frame_text.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using support::eventually;

namespace {

/// A broker of one node: what is broadcast comes back and is confirmed, in order, on a thread of its own, unless it is
/// told otherwise.
class Broker {
 public:
  ~Broker() { close(); }

  void open(TransportSink& sink) {
    sink_ = &sink;
    sink.on_ready(session_, std::size_t{1} << 20U);
    thread_ = std::thread{[this] { serve(); }};
  }

  void take(Bytes bytes, BroadcastToken token) {
    const std::lock_guard lock{mutex_};
    if (token.session != session_) return;
    queue_.push_back({{bytes.begin(), bytes.end()}, token});
    changed_.notify_all();
  }

  void close() noexcept {
    {
      const std::lock_guard lock{mutex_};
      closed_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

  /// It answers nothing meanwhile.
  void stall(bool stalled) {
    const std::lock_guard lock{mutex_};
    stalled_ = stalled;
    changed_.notify_all();
  }

  void interrupt() { sink_->on_interrupted(); }

  /// So many problems: the name, and a number from 0.
  void have_problems(const std::string& name, int count) {
    for (int i = 0; i != count; ++i) {
      sink_->on_problem(make_error_code(Errc::transport_failure), name + " " + std::to_string(i));
    }
  }

  void have_problems(Errc code, int count) {
    for (int i = 0; i != count; ++i) sink_->on_problem(make_error_code(code), "again " + std::to_string(i));
  }

  /// Another session, with frames of this size.
  void reconnect(std::size_t max_frame_bytes) {
    sink_->on_interrupted();
    {
      const std::lock_guard lock{mutex_};
      queue_.clear();
      ++session_;
    }
    sink_->on_ready(session_, max_frame_bytes);
  }

  /// What came back, as text.
  [[nodiscard]] std::string heard() const {
    const std::lock_guard lock{mutex_};
    return heard_;
  }

 private:
  struct Frame {
    std::vector<std::byte> bytes;
    BroadcastToken token;
  };

  void serve() {
    std::unique_lock lock{mutex_};
    while (true) {
      changed_.wait(lock, [this] { return closed_ || (!stalled_ && !queue_.empty()); });
      if (closed_) return;
      const Frame frame = std::move(queue_.front());
      queue_.pop_front();
      heard_ += support::text_of(frame.bytes);
      lock.unlock();
      sink_->on_frame(frame.bytes);
      sink_->on_confirmed(frame.token);
      lock.lock();
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Frame> queue_;
  std::string heard_;
  std::uint64_t session_ = 1;
  bool stalled_ = false;
  bool closed_ = false;
  TransportSink* sink_ = nullptr;
  std::thread thread_;
};

class BrokerTransport {
 public:
  static constexpr bool lossless_sessions = false;

  explicit BrokerTransport(Broker& broker) noexcept : broker_{broker} {}

  void open(TransportSink& sink, const TransportSettings&) { broker_.open(sink); }
  void broadcast(Bytes bytes, BroadcastToken token) noexcept { broker_.take(bytes, token); }
  void send(NodeId, Bytes) noexcept {}
  void reopen(std::uint64_t) noexcept {}
  void close() noexcept { broker_.close(); }

 private:
  Broker& broker_;
};
static_assert(Transport<BrokerTransport>);

class BrokerBus : public BasicBus<BrokerTransport> {
 public:
  explicit BrokerBus(Broker& broker, BusOptions options = {}) : BasicBus{std::move(options), std::in_place, broker} {}
};
static_assert(Bus<BrokerBus>);

}  // namespace

TEST_CASE("an event that a broker with smaller frames no longer takes is a resync: accepted is never lost") {
  constexpr std::size_t key_bytes = 60'000;
  constexpr std::size_t smaller = 40'000;
  Broker broker;
  BrokerBus bus{broker, {.max_key_bytes = key_bytes, .send_wait = 1h, .history_bytes = 256 << 10U}};
  broker.stall(true);
  std::vector<std::string> keys;
  for (char c = 'a'; c != 'g'; ++c) keys.emplace_back(key_bytes, c);

  std::error_code error{Errc::timed_out};
  {
    const std::jthread publisher{[&] { error = bus.publish(keys); }};  // fills the ring and waits for room
    CHECK(eventually([&] { return bus.metrics().history_bytes > 2 * key_bytes; }));
    broker.reconnect(smaller);
    broker.stall(false);
  }
  CHECK_FALSE(error);
  CHECK_FALSE(bus.flush(10s));
  const std::string heard = broker.heard();
  CHECK(heard.find("resync overflow") != std::string::npos);
  CHECK(heard.find("invalidate") == std::string::npos);
}

TEST_CASE("a publish that fills the ring goes on as soon as there is room, also when that came before it could wait") {
  Broker broker;
  BrokerBus bus{broker, {.send_wait = 1h, .history_bytes = 256 << 10U}};
  const std::vector<std::string> keys(2'000, "a key of some thirty-two bytes, x");
  for (int i = 0; i != 50; ++i) {
    std::vector<std::string> different;
    for (std::size_t at = 0; at != keys.size(); ++at) different.push_back(keys[at] + std::to_string(at));
    CHECK_FALSE(bus.publish(different));  // with a lost wake-up it would take an hour
  }
  CHECK_FALSE(bus.flush(10s));
  CHECK(bus.metrics().joined == 0);
}

TEST_CASE("a flush that another thread's close cuts short answers closed") {
  Broker broker;
  BrokerBus bus{broker};
  broker.stall(true);
  CHECK_FALSE(bus.publish("k"));
  std::error_code flushed;
  {
    const std::jthread flusher{[&] { flushed = bus.flush(1h); }};
    CHECK(bus.close(20ms) == Errc::timed_out);
  }
  CHECK(flushed == Errc::closed);
}

TEST_CASE("who awaits hears of a close before its flush") {
  Broker broker;
  BrokerBus bus{broker};
  broker.stall(true);
  std::atomic<bool> ended = false;
  bus.async_publish_and_await("k", 3, {.timeout = 1h}, [&](const AwaitOutcome& outcome) {
    CHECK(outcome.error == Errc::closed);
    ended = true;
  });
  const std::jthread closer{[&] { static_cast<void>(bus.close(1h)); }};
  CHECK(eventually([&] { return ended.load(); }));
  broker.stall(false);
}

TEST_CASE("an executor that blocks stops neither what is sent nor the end of a bus") {
  static thread_local bool blocks = false;
  Broker broker;
  std::binary_semaphore blocked{0}, go_on{0};
  std::atomic<int> tasks = 0;
  std::atomic<bool> connected = false;
  BrokerBus bus{broker,
                {.executor =
                     [&](const std::function<void()>& task) {
                       ++tasks;
                       if (std::exchange(blocks, false)) {
                         blocked.release();
                         go_on.acquire();
                       }
                       task();
                       --tasks;
                     },
                 .on_health = [&](const Health& health) { connected = health.connected; }}};
  REQUIRE(eventually([&] { return connected && tasks == 0; }));  // nothing else keeps the executor busy
  std::jthread health{[&] {
    blocks = true;
    broker.interrupt();
  }};
  blocked.acquire();
  broker.reconnect(std::size_t{1} << 20U);
  CHECK_FALSE(bus.publish("k"));
  CHECK_FALSE(bus.flush(10s));
  go_on.release();
}

TEST_CASE("problems that go on are a few lines, and the last is told when none follows, or as the bus closes") {
  Broker broker;
  std::mutex mutex;
  std::vector<std::string> lines;
  BrokerBus bus{broker, {.on_log = [&](std::string_view line) {
                  const std::lock_guard lock{mutex};
                  lines.emplace_back(line);
                }}};
  const auto told = [&](const std::string& beginning) {
    const std::lock_guard lock{mutex};
    return !lines.empty() && lines.back().starts_with(beginning);
  };
  broker.have_problems("early", 1'000);
  CHECK(eventually([&] { return told("early 999"); }));
  broker.have_problems("late", 1'000);
  CHECK_FALSE(bus.close(10s));
  CHECK(told("late 999"));
  CHECK(lines.size() < 20);
}

TEST_CASE("user code that changes the signals of a thread of the library changes them for itself alone") {
  Broker broker;
  std::atomic<int> blocked_again = 0;
  bool changed = false;
  BrokerBus bus{broker, {.on_health = [&](const Health&) {
                  sigset_t signals{};
                  ::sigemptyset(&signals);
                  ::sigaddset(&signals, SIGUSR1);
                  sigset_t before{};
                  ::pthread_sigmask(SIG_UNBLOCK, &signals, &before);
                  if (std::exchange(changed, true) && ::sigismember(&before, SIGUSR1) == 1) ++blocked_again;
                }}};
  CHECK(eventually([&] {  // what is told in one go may be told under one mask
    broker.reconnect(std::size_t{1} << 20U);
    return blocked_again > 0;
  }));
}

TEST_CASE("what is left to tell as a bus closes is told on the dispatch thread, and close waits for it by its time") {
  const int kinds = GENERATE(2, 12);  // of problems, of each of which one line is left out
  Broker broker;
  std::atomic<int> told = 0;
  std::atomic<bool> slow = false, by_closer = false;
  const auto closer = std::this_thread::get_id();
  BrokerBus bus{broker, {.on_log = [&](std::string_view) {
                  if (slow) std::this_thread::sleep_for(200ms);
                  if (std::this_thread::get_id() == closer) by_closer = true;
                  ++told;
                }}};
  for (int kind = 1; kind <= kinds; ++kind) {
    broker.have_problems(static_cast<Errc>(kind), 9);
    CHECK(eventually([&] { return told == 8 * kind; }));
  }
  slow = true;
  const bool all_in_time = kinds == 2;
  const auto error = bus.close(all_in_time ? 20s : 300ms);
  const int left = 9 * kinds - told;
  CHECK(left >= 0);
  CHECK((left == 0) == all_in_time);
  if (all_in_time) CHECK_FALSE(error);
  CHECK_FALSE(by_closer);
}
