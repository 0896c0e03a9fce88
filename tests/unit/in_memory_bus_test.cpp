// What InMemoryBus promises beyond the contract of every bus: inline delivery on a hub, and who runs handlers on whose
// thread.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/eventually.hpp"
#include "support/lines.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using support::eventually, support::line_of, support::Lines;

TEST_CASE("when publish returns, every node on the hub has heard, in the order of publishing") {
  InMemoryHub hub;
  InMemoryBus a{hub}, b{hub}, c{hub};
  Lines at_b, at_c;
  const auto x = b.subscribe_all([&](const Event& event) { at_b.push_back(line_of(event)); },
                                 [&](const Resync& resync) { at_b.push_back(line_of(resync)); });
  const auto y = c.subscribe("k2", [&](const Event& event) { at_c.push_back(line_of(event)); });
  CHECK_FALSE(a.publish({"k1", "k2"}));
  CHECK(at_b == Lines{"invalidate k1", "invalidate k2"});
  CHECK(at_c == Lines{"invalidate k2"});
  CHECK_FALSE(c.publish("k3", {.type = EventType::remove}));
  CHECK(at_b.back() == "remove k3");
  CHECK_FALSE(a.publish_all());
  CHECK(at_b.back() == "resync: requested");
  CHECK(at_c.back() == "resync k2");
}

TEST_CASE("a submission of everything that names keys, and one of a type that there is not, is refused by every bus") {
  InMemoryHub hub;
  InMemoryBus on_hub{hub}, listener{hub}, alone;
  Lines heard;
  const auto subscription = listener.subscribe_all([&](const Event& event) { heard.push_back(line_of(event)); },
                                                   [&](const Resync& resync) { heard.push_back(line_of(resync)); });
  const std::array<std::string_view, 1> keys{"k"};
  for (const auto type : {EventType::resync, EventType{7}}) {
    for (InMemoryBus* const bus : {&on_hub, &alone}) {
      CHECK(bus->submit({.type = type, .keys = keys}) == Errc::invalid_argument);
      CHECK(bus->await({.type = type, .keys = keys}, 1, {}).error == Errc::invalid_argument);
    }
  }
  CHECK(heard.empty());
}

TEST_CASE("hubs do not hear each other") {
  InMemoryHub left, right;
  InMemoryBus a{left}, b{right}, alone;
  int calls = 0;
  const auto x = b.subscribe("k", [&](const Event&) { ++calls; });
  const auto y = alone.subscribe("k", [&](const Event&) { ++calls; });
  CHECK_FALSE(a.publish("k"));
  CHECK(calls == 0);
}

TEST_CASE("a hub may end before its nodes, and nodes may come and go") {
  auto hub = std::make_unique<InMemoryHub>();
  InMemoryBus a{*hub};
  std::optional<InMemoryBus> b;
  b.emplace(*hub);
  int calls = 0;
  const auto x = a.subscribe("k", [&](const Event&) { ++calls; });
  hub.reset();
  CHECK_FALSE(b->publish("k"));
  CHECK(calls == 1);
  b.reset();
  CHECK_FALSE(a.publish("k"));
  CHECK(calls == 2);
}

TEST_CASE("a publish inside a handler is heard everywhere when the outer publish returns") {
  InMemoryHub hub;
  InMemoryBus a{hub}, b{hub}, c{hub};
  Lines log;
  const auto note = [&](std::string_view node) {
    return [&log, node](const Event& event) { log.push_back(std::string{node} + " " + line_of(event)); };
  };
  bool inside = false;
  const auto at_b = b.subscribe("1", [&](const Event&) {
    inside = true;
    if (b.publish({"2", "3"})) log.push_back("error");
    inside = false;
  });
  const auto c1 = c.subscribe("1", note("c")), c2 = c.subscribe("2", note("c")), b3 = b.subscribe("3", note("b"));
  const auto a2 = a.subscribe("2", [&](const Event&) { log.push_back(inside ? "a hears inside" : "a hears 2"); });
  CHECK_FALSE(a.publish("1"));
  CHECK(log.size() == 4);
  CHECK(std::ranges::count(log, "a hears 2") == 1);
  CHECK(std::ranges::count(log, "b invalidate 3") == 1);
  CHECK(std::ranges::count(log, "c invalidate 1") == 1);
  CHECK(std::ranges::count(log, "c invalidate 2") == 1);
}

TEST_CASE("a conversation of handlers ends before the publish that began it returns") {
  InMemoryHub hub;
  InMemoryBus left{hub}, right{hub};
  int said = 0;
  const auto answer = [&said](InMemoryBus& bus, const char* key) {
    return [&said, &bus, key](const Event& event) {
      ++said;
      if (event.version < 100 && bus.publish(key, {.version = event.version + 1})) said = -1'000;
    };
  };
  const auto ping = right.subscribe("ping", answer(right, "pong"), Scope::remote);
  const auto pong = left.subscribe("pong", answer(left, "ping"), Scope::remote);
  CHECK_FALSE(left.publish("ping", {.version = 1}));
  CHECK(said == 100);
}

TEST_CASE("a publish on another thread returns when its delivery has ended, though a third thread delivers") {
  InMemoryHub hub;
  InMemoryBus a{hub}, b{hub}, listener{hub};
  std::binary_semaphore entered{0}, leave{0};
  std::atomic<bool> heard_second = false, second_returned = false, early = false;
  const auto first = listener.subscribe("first", [&](const Event&) {
    entered.release();
    leave.acquire();
  });
  const auto second = listener.subscribe("second", [&](const Event&) {
    if (second_returned) early = true;
    heard_second = true;
  });
  std::jthread draining{[&] { static_cast<void>(a.publish("first")); }};
  entered.acquire();  // that thread is draining the hub now, inside a handler
  bool heard_at_return = false;
  std::jthread waiting{[&] {
    static_cast<void>(b.publish("second"));
    second_returned = true;
    heard_at_return = heard_second;
  }};
  leave.release();
  waiting.join();
  draining.join();
  CHECK(heard_at_return);
  CHECK_FALSE(early);
}

TEST_CASE("a publish inside a handler returns at once, though another thread delivers") {
  InMemoryHub hub;
  InMemoryBus a{hub}, b{hub}, listener{hub};
  std::binary_semaphore entered{0}, leave{0};
  const auto slow = listener.subscribe("slow", [&](const Event&) {
    entered.release();
    leave.acquire();
  });
  std::atomic<bool> published_inside = false, heard = false;
  const auto local = b.subscribe("local", [&](const Event&) {
    if (!b.publish("later")) published_inside = true;
    leave.release();  // only now can the other thread go on: a publish that waited for it would never end
  });
  const auto later = listener.subscribe("later", [&](const Event&) { heard = true; });
  std::jthread draining{[&] { static_cast<void>(a.publish("slow")); }};
  entered.acquire();
  CHECK_FALSE(b.publish("local", {.scope = Scope::local}));
  draining.join();
  CHECK(published_inside);
  CHECK(heard);
}

TEST_CASE("many threads publish on one hub: each node hears all, each publisher's in order") {
  InMemoryHub hub;
  std::vector<std::unique_ptr<InMemoryBus>> nodes;
  for (int i = 0; i != 4; ++i) nodes.push_back(std::make_unique<InMemoryBus>(hub));
  constexpr std::uint64_t rounds = 200;
  struct Seen {
    std::atomic<std::uint64_t> last[4]{};
    std::atomic<bool> disorder = false;
  };
  std::vector<Seen> seen(nodes.size());
  std::vector<Subscription> subscriptions;
  for (std::size_t i = 0; i != nodes.size(); ++i) {
    subscriptions.push_back(nodes[i]->subscribe_all(
        [&mine = seen[i]](const Event& event) {
          auto& last = mine.last[static_cast<std::size_t>(event.key[0] - '0')];
          if (event.version != ++last) mine.disorder = true;
        },
        [&mine = seen[i]](const Resync&) { mine.disorder = true; }));
  }
  std::atomic<int> late = 0;
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i != nodes.size(); ++i) {
      threads.emplace_back([&, i] {
        for (std::uint64_t version = 1; version <= rounds; ++version) {
          static_cast<void>(nodes[i]->publish(std::to_string(i), {.version = version}));
          for (const Seen& each : seen) late += each.last[i] < version ? 1 : 0;  // all have heard when it returns
        }
      });
    }
  }
  CHECK(late == 0);
  for (const Seen& each : seen) {
    CHECK_FALSE(each.disorder);
    for (const auto& last : each.last) CHECK(last == rounds);
  }
}

TEST_CASE("a node may be destroyed while others publish to it") {
  InMemoryHub hub;
  InMemoryBus publisher{hub};
  std::atomic<bool> done = false;
  std::atomic<int> calls = 0;
  std::jthread publishing{[&] {
    while (!done) static_cast<void>(publisher.publish("k"));
  }};
  const std::size_t small = std::size_t{64} << 10U;  // so that guests come and go fast, under sanitizers too
  for (int i = 0; i != 200; ++i) {
    InMemoryBus guest{hub, {.history_bytes = small, .queue_bytes = small, .pending_bytes = small}};
    const auto subscription = guest.subscribe("k", [&](const Event&) { ++calls; });
    CHECK_FALSE(guest.publish("guest"));
  }
  done = true;
}

TEST_CASE("another node may be closed inside no handler only, its own publishes go on inside them") {
  InMemoryHub hub;
  InMemoryBus a{hub}, b{hub};
  std::error_code closing, flushing;
  const auto subscription = b.subscribe("k", [&](const Event&) {
    closing = a.close(1s);
    flushing = a.flush(1s);
  });
  CHECK_FALSE(a.publish("k"));
  CHECK(closing == Errc::would_deadlock);
  CHECK(flushing == Errc::would_deadlock);
  CHECK(a.is_healthy());
}

TEST_CASE("alone, a bus sends nothing and counts what it delivers") {
  InMemoryBus bus{{.name = "alone", .max_key_bytes = 3}};
  int calls = 0;
  const auto subscription = bus.subscribe("k", [&](const Event& event) { calls += event.origin == bus.id() ? 1 : 0; });
  CHECK_FALSE(bus.publish("k"));
  CHECK_FALSE(bus.publish("k", {.scope = Scope::remote}));
  CHECK(bus.publish("long") == Errc::invalid_key);
  CHECK_FALSE(bus.flush(0s));
  const Metrics metrics = bus.metrics();
  CHECK(calls == 1);
  CHECK(metrics.published == 2);
  CHECK(metrics.delivered == 1);
  CHECK(metrics.frames_sent == 0);
  CHECK(metrics.history_bytes == 0);
}

TEST_CASE("on a hub without time a publish is one frame, and heartbeats come with time only") {
  InMemoryHub hub;
  InMemoryBus a{hub}, b{hub};
  const auto before = a.metrics(), before_there = b.metrics();
  for (int i = 0; i != 10; ++i) CHECK_FALSE(a.publish("k"));
  CHECK_FALSE(a.publish({"k1", "k2", "k3"}));
  CHECK(a.metrics().frames_sent - before.frames_sent == 11);
  CHECK(a.metrics().frames_received - before.frames_received == 11);  // its own come back
  CHECK(b.metrics().frames_received - before_there.frames_received == 11);
  CHECK(b.metrics().bytes_received - before_there.bytes_received == a.metrics().bytes_sent - before.bytes_sent);
  CHECK(b.metrics().frames_sent == before_there.frames_sent);
  hub.advance(25ms);
  CHECK(a.metrics().frames_sent - before.frames_sent == 12);
}

TEST_CASE("an executor that is cranked by hand lets its node be made, and time stands still while a task waits") {
  InMemoryHub hub;
  std::vector<std::function<void()>> tasks;
  InMemoryBus publisher{hub};
  InMemoryBus listener{hub, {.executor = [&](std::function<void()> task) { tasks.push_back(std::move(task)); }}};
  CHECK(tasks.empty());
  int calls = 0;
  const auto subscription = listener.subscribe("k", [&](const Event&) { ++calls; });
  std::optional<AwaitOutcome> outcome;
  publisher.async_publish_and_await("k", 1, {.timeout = 1s}, [&](AwaitOutcome ended) { outcome = std::move(ended); });
  CHECK(tasks.size() == 1);
  CHECK(calls == 0);
  CHECK_FALSE(outcome);
  std::exchange(tasks, {}).front()();
  CHECK(calls == 1);
  REQUIRE(outcome);
  CHECK_FALSE(outcome->error);
  CHECK(outcome->replicas == std::vector{listener.id()});
}

namespace {

/// A hub with a node whose executor has a task that nobody runs.
struct Stuck {
  Stuck() { static_cast<void>(publisher.publish("k")); }

  void run_tasks() {
    while (!tasks.empty()) std::exchange(tasks, {}).front()();
  }

  InMemoryHub hub;
  std::vector<std::function<void()>> tasks;
  InMemoryBus publisher{hub};
  InMemoryBus listener{hub, {.executor = [this](std::function<void()> task) { tasks.push_back(std::move(task)); }}};
  Subscription subscription = listener.subscribe("k", [](const Event&) {});
  Mailbox mailbox = publisher.subscribe("other");
};

/// With a sentence that says what to do.
template <class Call>
std::error_code thrown_by(const Call& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    const bool says_it = std::string_view{error.what()}.find("have another thread") != std::string_view::npos;
    return says_it ? error.code() : std::error_code{};
  }
  return {};
}

}  // namespace

TEST_CASE("a call that the executor's tasks wait for ends by its time, and says why") {
  using Call = std::error_code (*)(Stuck&);
  const std::array<Call, 5> calls{
      [](Stuck& stuck) { return thrown_by([&] { InMemoryBus late{stuck.hub, {.connect_timeout = 1ms}}; }); },
      [](Stuck& stuck) { return thrown_by([&] { static_cast<void>(stuck.mailbox.receive(1s)); }); },
      [](Stuck& stuck) { return thrown_by([&] { stuck.hub.advance(1s); }); },
      [](Stuck& stuck) {
        const auto outcome = stuck.publisher.publish_and_await("k", 1, {.timeout = 1s});
        return outcome.published ? outcome.error : std::error_code{};
      },
      [](Stuck& stuck) { return stuck.publisher.revoke_lease_and_await("l", 2, {.timeout = 1s}).error; }};
  std::array<std::error_code, calls.size()> ended;
  std::atomic<int> went_on = 0;
  {
    std::vector<std::jthread> waiting;  // side by side: each waits for a second of real time
    for (std::size_t i = 0; i != calls.size(); ++i) {
      waiting.emplace_back([&, i] {
        Stuck stuck;
        ended[i] = calls[i](stuck);
        stuck.run_tasks();
        const TimePoint start = stuck.hub.now();
        went_on += !stuck.mailbox.receive(1ms) && stuck.hub.now() == start + 1ms ? 1 : 0;
      });
    }
  }
  for (const auto& error : ended) CHECK(error == Errc::would_deadlock);
  CHECK(went_on == static_cast<int>(calls.size()));
}

TEST_CASE("an executor that is slow, but at it, holds a call up beyond its time and does not end it") {
  InMemoryHub hub;
  std::vector<std::jthread> workers;
  InMemoryBus publisher{hub};
  InMemoryBus listener{hub, {.executor = [&](std::function<void()> task) { workers.emplace_back(std::move(task)); }}};
  const auto subscription = listener.subscribe("k", [](const Event&) { std::this_thread::sleep_for(1'200ms); });
  CHECK_FALSE(publisher.publish_and_await("k", 1, {.timeout = 1ms}).error);
  workers.clear();
}

TEST_CASE("to advance to the end of time is to advance a day") {
  InMemoryHub hub;
  InMemoryBus bus{hub};
  const TimePoint start = hub.now();
  hub.advance((Duration::max)());
  CHECK(hub.now() == start + 24h);
}

TEST_CASE("awaits of many threads on one hub each end when they are satisfied or at their own deadline") {
  InMemoryHub hub;
  InMemoryBus publisher{hub}, listener{hub};
  const auto subscription = listener.subscribe("heard", [](const Event&) {});
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i != 8; ++i) {
      threads.emplace_back([&, i] {
        for (int round = 0; round != 20; ++round) {
          const bool heard = (i + round) % 2 == 0;
          const auto outcome = publisher.publish_and_await(heard ? "heard" : "unheard", 1, {.timeout = 1h});
          wrong += (heard ? std::error_code{} : make_error_code(Errc::quorum_not_satisfied)) == outcome.error ? 0 : 1;
        }
      });
    }
  }
  CHECK(wrong == 0);
}

namespace {

/// What three nodes hear of each other on a bad link, and what it took.
Lines bad_day(std::uint64_t seed) {
  InMemoryHub hub{{.seed = seed}};
  Lines lines;
  std::vector<std::unique_ptr<InMemoryBus>> nodes;
  std::vector<Subscription> subscriptions;
  for (int i = 0; i != 3; ++i) {
    InMemoryBus& node = *nodes.emplace_back(std::make_unique<InMemoryBus>(hub));
    subscriptions.push_back(node.subscribe_all(
        [&lines, i](const Event& event) { lines.push_back(std::to_string(i) + ": " + line_of(event)); },
        [&lines, i](const Resync& resync) { lines.push_back(std::to_string(i) + ": " + line_of(resync)); }));
  }
  hub.drop(0.3);
  hub.reorder(0.1);
  for (std::size_t i = 0; i != 60; ++i) {
    CHECK_FALSE(nodes[i % 3]->publish("k" + std::to_string(i)));
    hub.advance(3ms);
  }
  hub.advance(1s);
  for (const auto& node : nodes) {
    lines.push_back(to_string(node->id()));
    lines.push_back(std::to_string(node->metrics().frames_received));
  }
  return lines;
}

}  // namespace

TEST_CASE("the seed of a hub decides everything that its nodes do: what a test saw once it sees again") {
  const auto first = bad_day(3);
  CHECK(first == bad_day(3));
  CHECK(first != bad_day(4));
}

namespace {

/// What a handler captured, at its end.
class AtEnd {
 public:
  explicit AtEnd(std::function<void()> call) : call_{std::move(call)} {}
  AtEnd(AtEnd&& other) noexcept : call_{std::exchange(other.call_, nullptr)} {}
  AtEnd& operator=(AtEnd&&) = delete;
  ~AtEnd() {
    if (call_) call_();
  }

 private:
  std::function<void()> call_;
};

}  // namespace

TEST_CASE("a cancel whose completion lets the bus be destroyed touches neither bus nor hub after it") {
  for (int round = 0; round != 50; ++round) {
    InMemoryHub hub;
    auto bus = std::make_unique<InMemoryBus>(hub);
    const InMemoryBus peer{hub};
    std::stop_source stop;
    std::atomic<bool> ended = false;
    bus->async_publish_and_await("k", 5, {.timeout = 1h, .stop_token = stop.get_token()},
                                 [&](const AwaitOutcome&) { ended = true; });
    const std::jthread canceler{[&] { stop.request_stop(); }};
    while (!ended) std::this_thread::yield();
    bus.reset();
  }
}

TEST_CASE("a bus that is alone ends an await that a handler put off when it is closed, and can be canceled after") {
  InMemoryBus outer;
  auto inner = std::make_unique<InMemoryBus>(BusOptions{.zone = "a zone whose name does not fit into a string"});
  const auto listener = inner->subscribe("k", [](const Event&) {});
  std::stop_source stop;
  std::vector<std::error_code> outcomes;
  std::size_t ended_with_the_bus = 0;
  const auto subscription = outer.subscribe("x", [&](const Event&) {
    inner->async_publish_and_await("k", Quorum::zones(1), {.stop_token = stop.get_token()},
                                   [&](const AwaitOutcome& outcome) { outcomes.push_back(outcome.error); });
    inner.reset();
    ended_with_the_bus = outcomes.size();
    stop.request_stop();
  });

  CHECK_FALSE(outer.publish("x"));
  CHECK(ended_with_the_bus == 1);
  CHECK(outcomes == std::vector{make_error_code(Errc::closed)});
}

TEST_CASE("a bus that is alone closes only when completions that other threads call have returned, or it is too late") {
  InMemoryBus bus;
  std::binary_semaphore called{0}, go_on{0};
  std::jthread other{[&] {
    bus.async_publish_and_await("k", 1, {}, [&](const AwaitOutcome&) {
      called.release();
      go_on.acquire();
    });
  }};
  called.acquire();
  CHECK(bus.close(0s) == Errc::timed_out);
  go_on.release();
  CHECK_FALSE(bus.close(1h));
}

TEST_CASE("two hubs that are bridged both ways do not wait for each other") {
  InMemoryHub one, two;
  InMemoryBus from_one{one}, bridge_to_two{one}, on_one{one};
  InMemoryBus from_two{two}, bridge_to_one{two}, on_two{two};
  std::atomic<int> heard = 0, refused = 0;
  std::barrier both{2};
  const auto publish_across = [&](InMemoryBus& other) {
    return [&](const Event&) {
      both.arrive_and_wait();
      refused += other.publish("y") ? 1 : 0;
      both.arrive_and_wait();  // each now drains its hub, and has put off that of the other
    };
  };
  const auto a = bridge_to_two.subscribe("x", publish_across(on_two), Scope::remote);
  const auto b = bridge_to_one.subscribe("x", publish_across(on_one), Scope::remote);
  const auto c = from_one.subscribe("y", [&](const Event&) { ++heard; });
  const auto d = from_two.subscribe("y", [&](const Event&) { ++heard; });
  {
    const std::jthread first{[&] { refused += from_one.publish("x") ? 1 : 0; }};
    const std::jthread second{[&] { refused += from_two.publish("x") ? 1 : 0; }};
  }
  CHECK(heard == 2);
  CHECK(refused == 0);
}

TEST_CASE("what a handler captured may wait for nothing when it ends, wherever that is") {
  std::vector<std::error_code> said;
  const auto ending = [&said](InMemoryBus& bus) {
    return AtEnd{[&said, &bus] {
      said.push_back(bus.publish_and_await("z", 1, {.timeout = 1s}).error);
      said.push_back(bus.flush(1s));
    }};
  };
  Subscription subscription;
  SECTION("alone") {
    InMemoryBus bus;
    const auto listener = bus.subscribe("z", [](const Event&) {});
    subscription = bus.subscribe(
        "k", [&subscription, end = ending(bus)](const Event&) { subscription.request_unsubscribe(); });
    CHECK_FALSE(bus.publish("k"));
  }
  SECTION("on a hub") {
    InMemoryHub hub;
    InMemoryBus publisher{hub}, bus{hub};
    subscription = bus.subscribe(
        "k", [&subscription, end = ending(bus)](const Event&) { subscription.request_unsubscribe(); });
    CHECK_FALSE(publisher.publish("k"));
  }
  SECTION("captured by a completion") {
    InMemoryHub hub;
    InMemoryBus bus{hub};
    const auto listener = bus.subscribe("k", [](const Event&) {});
    bus.async_publish_and_await("k", 1, {}, [end = ending(bus)](const AwaitOutcome&) {});
  }
  CHECK(said == std::vector<std::error_code>{Errc::would_deadlock, Errc::would_deadlock});
}

TEST_CASE("completions that wait for a slow dispatcher count as open awaits") {
  InMemoryHub hub;
  std::vector<std::function<void()>> tasks;
  InMemoryBus bus{
      hub, {.max_awaits = 10, .executor = [&](std::function<void()> task) { tasks.push_back(std::move(task)); }}};
  const auto subscription = bus.subscribe("k", [](const Event&) {}, Scope::local);
  int refused = 0, satisfied = 0;
  for (int i = 0; i != 15; ++i) {
    bus.async_publish_and_await("k", 1, {.publish = {.scope = Scope::local}}, [&](const AwaitOutcome& outcome) {
      ++(outcome.error == Errc::too_many_awaits ? refused : satisfied);
    });
  }
  CHECK(refused == 5);
  CHECK(satisfied == 0);
  for (auto& task : std::exchange(tasks, {})) task();
  CHECK(satisfied == 10);
}

TEST_CASE("what a completion throws is counted, also when its await was refused") {
  const auto refuse = [](auto& bus) {
    bus.async_publish_and_await("", 1, {}, [&](const AwaitOutcome&) {
      CHECK(bus.close(1s) == Errc::would_deadlock);
      throw 42;
    });
    CHECK(bus.metrics().handler_errors == 1);
  };
  InMemoryBus alone;
  refuse(alone);
  InMemoryHub hub;
  InMemoryBus node{hub};
  refuse(node);
}

TEST_CASE("an executor that throws is given the work again when time has passed") {
  InMemoryHub hub;
  InMemoryBus publisher{hub};
  std::vector<std::jthread> threads;
  std::atomic<int> heard = 0, left_to_throw = 1;
  InMemoryBus listener{hub, {.executor = [&](std::function<void()> task) {
                               if (left_to_throw != 0) {
                                 --left_to_throw;
                                 throw std::system_error{Errc::timed_out, "no threads"};
                               }
                               threads.emplace_back(std::move(task));
                             }}};
  const auto subscription = listener.subscribe("k", [&](const Event&) { ++heard; });
  CHECK_FALSE(publisher.publish("k"));
  CHECK(left_to_throw == 0);
  CHECK(heard == 0);
  hub.advance(5s);
  CHECK(heard == 1);
}

TEST_CASE("an executor that throws when it has taken the task, or drops it, does not stop time") {
  InMemoryHub hub;
  InMemoryBus publisher{hub};
  std::vector<std::function<void()>> tasks;
  int heard = 0;
  SECTION("throws") {
    InMemoryBus listener{hub, {.executor = [&](std::function<void()> task) {
                                 tasks.push_back(std::move(task));
                                 throw 1;
                               }}};
    const auto subscription = listener.subscribe("k", [&](const Event&) { ++heard; });
    CHECK_FALSE(publisher.publish("k"));
    CHECK(tasks.size() == 1);
    for (auto& task : std::exchange(tasks, {})) task();
    CHECK(heard == 1);
    hub.advance(1s);
  }
  SECTION("drops") {
    InMemoryBus listener{hub, {.executor = [](const std::function<void()>&) {}}};
    const auto subscription = listener.subscribe("k", [&](const Event&) { ++heard; });
    CHECK_FALSE(publisher.publish("k"));
    hub.advance(1s);
    CHECK(heard == 0);
  }
}

TEST_CASE("nobody waits inside a handler for time that stands still: neither a new node nor one that ends") {
  const bool real_time = GENERATE(false, true);
  InMemoryHub hub{{.real_time = real_time}};
  InMemoryBus publisher{hub}, listener{hub};
  const BusOptions patient{.connect_timeout = 1h, .close_timeout = 1h};
  std::unique_ptr<InMemoryBus> node;
  std::atomic<int> heard = 0, refused = 0;
  const auto subscription = listener.subscribe("k", [&](const Event&) {
    node = std::make_unique<InMemoryBus>(hub, patient);
    refused += node->publish("last word") ? 1 : 0;
    node.reset();
  }, Scope::remote);
  const auto other = publisher.subscribe("last word", [&](const Event&) { ++heard; });
  CHECK_FALSE(publisher.publish("k"));
  CHECK_FALSE(publisher.flush(1h));
  CHECK(eventually([&] { return heard == 1; }));  // in real time the hub's own thread may bring it
  CHECK(refused == 0);
}

TEST_CASE("a publish that a close overtakes does not wait for ever") {
  for (int round = 0; round != 50; ++round) {
    InMemoryHub hub;
    InMemoryBus bus{hub};
    const InMemoryBus peer{hub};
    bus.async_publish_and_await("k", 5, {.timeout = 1h}, [](const AwaitOutcome&) { std::this_thread::yield(); });
    std::vector<std::jthread> publishers;
    for (int i = 0; i != 3; ++i) {
      publishers.emplace_back([&] {
        while (!bus.publish("k")) {
        }
      });
    }
    static_cast<void>(bus.close(0s));
  }
}

TEST_CASE("a bus over a broker needs a history that holds a frame; one that is alone has no use for it") {
  InMemoryHub hub;
  CHECK_THROWS_AS((InMemoryBus{hub, {.history_bytes = 100}}), std::system_error);
  CHECK_FALSE(InMemoryBus{BusOptions{.history_bytes = 0}}.publish("k"));
}

// --- errors

TEST_CASE("a code compares with Errc whichever shared object made it, and with std::errc where that has a word for it") {
  const ErrorCategory of_another_object;
  const std::error_code code{static_cast<int>(Errc::would_deadlock), of_another_object};
  CHECK(code == Errc::would_deadlock);
  CHECK(Errc::would_deadlock == code);
  CHECK(code != Errc::closed);
  CHECK(code == make_error_code(Errc::would_deadlock).default_error_condition());
  CHECK(code == std::errc::resource_deadlock_would_occur);
  CHECK(code.category() == error_category());
  CHECK(error_category() == code.category());
  CHECK(error_category() == error_category());
  CHECK(std::generic_category() != error_category());

  const std::error_code closed{static_cast<int>(Errc::closed), of_another_object};
  CHECK(closed == make_error_code(Errc::closed).default_error_condition());
  CHECK(closed != make_error_code(Errc::quorum_not_satisfied).default_error_condition());
  CHECK(std::error_code{EINVAL, std::generic_category()} != Errc::closed);
  CHECK(make_error_code(Errc::timed_out) == std::errc::timed_out);
  CHECK(make_error_code(Errc::canceled) == std::errc::operation_canceled);
  CHECK(make_error_code(Errc::invalid_key) == std::errc::invalid_argument);
  CHECK(make_error_code(Errc::frame_too_large) == std::errc::message_size);
}

// --- destroyed where it may not be

namespace {

/// What a child writes to standard error before it aborts.
template <class Body>
std::string last_words(const Body& body) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  support::ChildProcess child{[&] {
    ::signal(SIGABRT, SIG_DFL);
    ::dup2(ends[1], STDERR_FILENO);
    body();
    return 0;
  }};
  CHECK(child.ends() == -SIGABRT);
  ::close(ends[1]);
  std::string words(1'000, '\0');
  const auto size = ::read(ends[0], words.data(), words.size());
  ::close(ends[0]);
  words.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return words;
}

}  // namespace

TEST_CASE("a bus that is destroyed in its own handler says so and ends the process") {
  const bool alone = GENERATE(true, false);
  const bool unsubscribes = GENERATE(false, true);
  const std::string words = last_words([&] {
    InMemoryHub hub;
    auto bus = alone ? std::make_unique<InMemoryBus>() : std::make_unique<InMemoryBus>(hub);
    Subscription subscription;
    subscription = bus->subscribe("k", [&](const Event&) {
      if (unsubscribes) subscription.unsubscribe();
      bus.reset();
    });
    static_cast<void>(bus->publish("k"));
  });
  CHECK(words.find("a bus was destroyed inside one of its own handlers") != std::string::npos);
}

TEST_CASE("so does one that is destroyed where its handler runs inside another's, on a hub whose executor runs there") {
  const std::string words = last_words([&] {
    InMemoryHub hub;
    InMemoryBus publisher{hub}, outer;
    std::vector<std::function<void()>> tasks;
    auto bus = std::make_unique<InMemoryBus>(
        hub, BusOptions{.executor = [&](std::function<void()> task) { tasks.push_back(std::move(task)); }});
    const auto mine = bus->subscribe("k", [&](const Event&) { bus.reset(); });
    const auto runs = outer.subscribe("run", [&](const Event&) {
      while (!tasks.empty()) std::exchange(tasks, {}).front()();
    });
    static_cast<void>(publisher.publish("k"));
    static_cast<void>(outer.publish("run"));
  });
  CHECK(words.find("a bus was destroyed inside one of its own handlers") != std::string::npos);
}

TEST_CASE("a bus that is alone may be destroyed by the completion of an await that ends while it is made") {
  std::stop_source stop;
  auto bus = std::make_unique<InMemoryBus>();
  std::error_code error{Errc::timed_out};
  bus->async_publish_and_await("k", 0, {.stop_token = stop.get_token()}, [&](const AwaitOutcome& outcome) {
    error = outcome.error;
    bus.reset();
  });
  CHECK(error == Errc::quorum_not_satisfied);
  CHECK(bus == nullptr);
}

TEST_CASE("a null completion is refused by the primitive, too") {
  InMemoryHub hub;
  InMemoryBus alone, node{hub};
  const std::string_view key = "k";
  for (InMemoryBus* bus : {&alone, &node}) {
    std::error_code thrown;
    try {
      bus->async_await({.keys = {&key, 1}}, 1, {}, Completion{});
    } catch (const std::system_error& error) {
      thrown = error.code();
    }
    CHECK(thrown == Errc::invalid_argument);
    CHECK(bus->metrics().published == 0);
  }
}

TEST_CASE("a bus may be destroyed in the handler of another one") {
  InMemoryBus outer;
  auto inner = std::make_unique<InMemoryBus>();
  Subscription mine = inner->subscribe("k", [](const Event&) {});
  const auto subscription = outer.subscribe("k", [&](const Event&) { inner.reset(); });
  CHECK_FALSE(outer.publish("k"));
  CHECK(inner == nullptr);
}

// --- forked children

namespace {

/// Whether a thread of this process waits for something.
[[nodiscard]] bool sleeps(pid_t thread) {
  std::ifstream file{"/proc/self/task/" + std::to_string(thread) + "/stat"};
  std::string number, name, state;
  file >> number >> name >> state;
  return state == "S";
}

}  // namespace

TEST_CASE("a child that was forked while static buses live leaves by exit") {
  static InMemoryHub hub{{.real_time = true}};
  static InMemoryBus alone, node{hub, {.name = std::string(100, 'n')}};
  static const auto subscription = node.subscribe("k", [](const Event&) {});
  static Mailbox mailbox = alone.subscribe_all();
  CHECK_FALSE(alone.publish("k"));
  support::ChildProcess child{[]() -> int { std::exit(alone.publish("k") == Errc::forked ? 7 : 8); }};
  CHECK(child.ends() == 7);
  CHECK_FALSE(node.publish("k"));
  CHECK(mailbox.try_receive());
}

TEST_CASE("a hub of the parent's refuses a forked child, and ends there") {
  auto hub = std::make_unique<InMemoryHub>(HubOptions{.real_time = true});
  support::ChildProcess child{[&] {
    int refused = 0;
    const auto count = [&refused](const auto& call) {
      try {
        call();
      } catch (const std::system_error& error) {
        if (error.code() == Errc::forked) ++refused;
      }
    };
    count([&] { const InMemoryBus bus{*hub}; });
    count([&] { hub->drop(0.5); });
    count([&] { hub->partition({NodeId{1}}); });
    count([&] { hub->crash(NodeId{1}); });
    count([&] { hub->advance(1s); });
    hub.reset();
    return refused;
  }};
  CHECK(child.ends() == 5);
}

TEST_CASE("a forked child may let go of a mailbox that a thread of its parent waits on, and of the last of a hub") {
  const bool alone = GENERATE(true, false);
  auto hub = std::make_unique<InMemoryHub>(HubOptions{.real_time = true});
  auto bus = alone ? std::make_unique<InMemoryBus>() : std::make_unique<InMemoryBus>(*hub);
  Mailbox mailbox = bus->subscribe("k");
  Mailbox outlives = bus->subscribe("k");
  std::atomic<pid_t> thread = 0;
  std::optional<OwnedEvent> received;
  {
    const std::jthread receiver{[&] {
      thread = ::gettid();
      received = mailbox.receive(1h);
    }};
    CHECK(eventually([&] { return thread != 0 && sleeps(thread); }));
    support::ChildProcess child{[&] {
      mailbox = Mailbox{};
      return 0;
    }};
    CHECK(child.ends() == 0);
    CHECK_FALSE(bus->publish("k"));
  }
  CHECK(received);
  mailbox = Mailbox{};
  bus.reset();
  hub.reset();
  support::ChildProcess child{[&] {
    outlives = Mailbox{};
    return 0;
  }};
  CHECK(child.ends() == 0);
}

TEST_CASE("a forked child makes buses of its own") {
  InMemoryBus parents;
  support::ChildProcess child{[] {
    InMemoryHub hub;
    InMemoryBus a{hub}, b{hub};
    int heard = 0;
    auto subscription = b.subscribe("k", [&](const Event&) { ++heard; });
    if (a.publish("k")) return 1;
    subscription.unsubscribe();
    return a.close(1s) || heard != 1 ? 2 : 0;
  }};
  CHECK(child.ends() == 0);
}
