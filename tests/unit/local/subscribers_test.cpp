// The subscribers of one node: who hears what on which thread, what unsubscribe waits for, when a callable is
// destroyed.
#include <syncbus/local/subscribers.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace syncbus;
using syncbus::KeySpace;
using detail::Subscribers;
using detail::Subscriber;
using detail::HazardRecord;
using detail::HazardRecords;
using support::eventually;

namespace {

using Bus = std::shared_ptr<Subscribers>;
constexpr NodeId self{42};

Bus make_bus() { return std::make_shared<Subscribers>(nullptr); }

void publish(const Bus& bus, const Event& event) { bus->publish_counted(event, [](const detail::DispatchTally&) {}); }
void publish(const Bus& bus, std::string_view key) { publish(bus, Event{.key = key, .origin = self}); }

template <class H>
[[nodiscard]] Subscription subscribe(const Bus& bus, std::string_view key, H handler, Scope from = Scope::all) {
  return bus->attach(KeySpace::key, key, Subscriber{std::move(handler)}, from);
}

template <class H>
[[nodiscard]] Subscription subscribe_prefix(const Bus& bus, std::string_view prefix, H handler) {
  return bus->attach(KeySpace::prefix, prefix, Subscriber{std::move(handler), [](const Resync&) {}}, Scope::all);
}

[[nodiscard]] Metrics metrics(const Bus& bus) {
  Metrics result;
  bus->add_to(result);
  return result;
}

/// What a handler captures to show how often, and when, its callable is destroyed.
struct Destroyed {
  explicit Destroyed(std::atomic<int>& its_count) : count{&its_count} {}
  Destroyed(Destroyed&& other) noexcept : count{std::exchange(other.count, nullptr)} {}
  ~Destroyed() {
    if (count != nullptr) ++*count;
  }
  std::atomic<int>* count;
};

std::size_t records() {
  std::size_t count = 0;
  for (const auto* mark = HazardRecords::home().first(); mark != nullptr; mark = mark->next()) ++count;
  return count;
}

/// A handler that stays where it is until it is let go.
class Gate {
 public:
  void pass() {
    entered_ = true;
    static_cast<void>(eventually([&] { return open_.load(); }));
    left_ = true;
  }
  [[nodiscard]] bool wait_until_entered() const {
    return eventually([&] { return entered_.load(); });
  }
  void open() { open_ = true; }
  [[nodiscard]] bool left() const { return left_; }

 private:
  std::atomic<bool> entered_ = false;
  std::atomic<bool> open_ = false;
  std::atomic<bool> left_ = false;
};

struct Box final : detail::MailboxSink {
  detail::PutResult put(const Event& event) noexcept override {
    text += event.key;
    return answer;
  }
  detail::PutResult put_resync(const Resync&) noexcept override {
    text += '!';
    return answer;
  }
  void attached_to(std::shared_ptr<detail::Waiting>, const detail::ForkMark&) noexcept override {}
  void close() noexcept override { text += '.'; }

  std::string text;
  detail::PutResult answer{};
};

}  // namespace

// --- who hears

TEST_CASE("the handlers of a key hear its events in the order of their subscription, and nobody else's do") {
  const Bus bus = make_bus();
  std::string heard;
  const auto a = subscribe(bus, "k", [&](const Event&) { heard += 'a'; });
  const auto other = subscribe(bus, "other", [&](const Event&) { heard += '?'; });
  const auto b = subscribe(bus, "k", [&](const Event&) { heard += 'b'; });
  const auto c = subscribe(bus, "k", [&](const Event&) { heard += 'c'; });
  publish(bus, "k");
  publish(bus, "nobody's");
  CHECK(heard == "abc");
}

TEST_CASE("every node hashes with odd numbers of its own") {
  const auto one = make_bus()->hash_secret();
  const auto other = make_bus()->hash_secret();
  CHECK(one.odd1 % 2 == 1);
  CHECK(one.odd2 % 2 == 1);
  CHECK(one.odd1 != one.odd2);
  CHECK(one.odd1 != other.odd1);
  CHECK(one.odd2 != other.odd2);
  CHECK(one.odd2 != detail::HashSecret{}.odd2);
}

TEST_CASE("an event arrives as it was published") {
  const Bus bus = make_bus();
  Event heard;
  const auto subscription = subscribe(bus, "k", [&](const Event& event) { heard = event; });
  const std::string_view key = "k";
  publish(bus, Event{EventType::set, key, 17, self});
  CHECK(heard.type == EventType::set);
  CHECK(heard.key.data() == key.data());  // no copy
  CHECK(heard.version == 17);
  CHECK(heard.origin == self);
}

TEST_CASE("prefixes hear the keys that begin with them, the empty one all, and leases none") {
  const Bus bus = make_bus();
  std::vector<std::string> heard(4);
  const auto all = subscribe_prefix(bus, "", [&](const Event& e) { heard[0] += e.key; });
  const auto user = subscribe_prefix(bus, "user:", [&](const Event& e) { heard[1] += e.key; });
  const auto one = subscribe_prefix(bus, "user:1", [&](const Event& e) { heard[2] += e.key; });
  const auto lease =
      bus->attach(KeySpace::lease, "user:1", Subscriber{[&](const Event& e) { heard[3] += e.key; }}, Scope::all);
  for (const auto* key : {"user:1", "user:22", "use", "x"}) publish(bus, key);
  publish(bus, Event{.type = EventType::lease_revoked, .key = "user:1"});
  CHECK(heard == std::vector<std::string>{"user:1user:22usex", "user:1user:22", "user:1", "user:1"});
}

TEST_CASE("a prefix that is not subscribed to any more hears nothing, one subscribed to again does") {
  const Bus bus = make_bus();
  int heard = 0;
  const auto count = [&](const Event&) { ++heard; };
  auto first = subscribe_prefix(bus, "us", count);
  auto second = subscribe_prefix(bus, "xy", count);
  publish(bus, "user");
  first.unsubscribe();
  publish(bus, "user");
  CHECK(heard == 1);
  publish(bus, "xylem");
  CHECK(heard == 2);
  const auto third = subscribe_prefix(bus, "us", count);
  publish(bus, "user");
  CHECK(heard == 3);
}

TEST_CASE("a subscriber hears the publishes of its scope") {
  const Bus bus = make_bus();
  std::string heard;
  const auto all = subscribe(
      bus, "k", [&](const Event&) { heard += 'a'; }, Scope::all);
  const auto remote = subscribe(
      bus, "k", [&](const Event&) { heard += 'r'; }, Scope::remote);
  const auto local = subscribe(
      bus, "k", [&](const Event&) { heard += 'l'; }, Scope::local);
  bus->dispatch({.key = "k"}, true);
  CHECK(heard == "al");
  heard.clear();
  bus->dispatch({.key = "k"}, false);
  CHECK(heard == "ar");
  heard.clear();
  bus->dispatch_resync({ResyncCause::requested, self}, true);
  CHECK(heard.size() == 2);
  CHECK(heard.find('r') == std::string::npos);
}

TEST_CASE("handlers may be move-only and of any size, and null ones are known") {
  const Bus bus = make_bus();
  std::size_t heard = 0;
  std::array<std::size_t, 40> large{};
  large.back() = 7;
  const auto a = subscribe(bus, "k", [&heard, large](const Event&) { heard += large.back(); });
  const auto b = subscribe(bus, "k", [&heard, one = std::make_unique<std::size_t>(1)](const Event&) { heard += *one; });
  publish(bus, "k");
  CHECK(heard == 8);
  CHECK(Subscriber{std::function<void(const Event&)>{}}.null());
  CHECK(Subscriber{static_cast<void (*)(const Event&)>(nullptr)}.null());
  CHECK(Subscriber{[](const Event&) {}, std::function<void(const Resync&)>{}}.null());
  CHECK_FALSE(Subscriber{[](const Event&) {}}.null());
}

// --- resyncs

TEST_CASE("everybody hears a resync once: handlers of a key or lease as an event of it, of prefixes as what it is") {
  const Bus bus = make_bus();
  std::string heard;
  const auto name = [&](const Event& event) {
    CHECK(event.type == EventType::resync);
    CHECK(event.version == 0);
    CHECK(event.origin == self);
    heard += std::string{event.key} + ' ';
  };
  const auto key = subscribe(bus, "key", name);
  const auto lease = bus->attach(KeySpace::lease, "lease", Subscriber{name}, Scope::all);
  const auto prefix = bus->attach(KeySpace::prefix, "prefix",
                                  Subscriber{name,
                                             [&](const Resync& resync) {
                                               CHECK(resync.cause == ResyncCause::joined);
                                               heard += "resync ";
                                             }},
                                  Scope::all);
  bus->dispatch_resync({ResyncCause::joined, self}, false);
  CHECK(heard.size() == std::string_view{"key lease resync "}.size());
  for (const auto* part : {"key ", "lease ", "resync "}) CHECK(heard.find(part) != std::string::npos);
  CHECK(metrics(bus).delivered == 0);
  CHECK(metrics(bus).resyncs_by(ResyncCause::joined) == 1);
}

TEST_CASE("a resync reaches all who stay, once, though handlers drop themselves and others and subscribe meanwhile") {
  const Bus bus = make_bus();
  constexpr std::size_t count = 300;
  std::vector<Subscription> subscriptions(count);
  std::vector<int> heard(count);
  std::vector<Subscription> added;
  for (std::size_t i = 0; i != count; ++i) {
    subscriptions[i] = subscribe(bus, "key" + std::to_string(i / 3), [&, i](const Event&) {
      ++heard[i];
      if (i % 3 == 0) subscriptions[i].unsubscribe();
      if (i % 3 == 1) subscriptions[(i + 100) / 3 * 3 % count].unsubscribe();
      added.push_back(subscribe(bus, "new" + std::to_string(i), [&](const Event&) { heard[0] = 1000; }));
    });
  }
  bus->dispatch_resync({}, false);
  for (std::size_t i = 0; i != count; ++i) {
    CHECK(heard[i] <= 1);
    if (i % 3 != 0) CHECK(heard[i] == 1);
  }
}

// --- subscriptions come and go inside handlers

TEST_CASE("a handler that ends its own subscription is destroyed once, after it has returned") {
  const Bus bus = make_bus();
  std::atomic<int> destroyed = 0;
  int heard = 0;
  bool behind = false;
  Subscription own;
  own = subscribe(bus, "k", [&, token = Destroyed{destroyed}](const Event&) {
    own.unsubscribe();
    CHECK_FALSE(own.active());
    CHECK(destroyed == 0);
    ++heard;
  });
  const auto next = subscribe(bus, "k", [&](const Event&) { behind = true; });
  publish(bus, "k");
  CHECK(destroyed == 1);
  CHECK(behind);
  publish(bus, "k");
  CHECK(heard == 1);
  CHECK(destroyed == 1);
}

TEST_CASE("a subscriber dropped inside a handler does not hear the event, whether it stands before or behind") {
  const Bus bus = make_bus();
  std::string heard;
  std::vector<Subscription> subscriptions(4);
  subscriptions[0] = subscribe(bus, "k", [&](const Event&) { heard += 'a'; });
  subscriptions[1] = subscribe(bus, "k", [&](const Event&) {
    heard += 'b';
    subscriptions[0].unsubscribe();
    subscriptions[1].unsubscribe();
    subscriptions[2].unsubscribe();
  });
  subscriptions[2] = subscribe(bus, "k", [&](const Event&) { heard += 'c'; });
  subscriptions[3] = subscribe(bus, "k", [&](const Event&) { heard += 'd'; });
  publish(bus, "k");
  CHECK(heard == "abd");
  publish(bus, "k");
  CHECK(heard == "abdd");
}

TEST_CASE("a subscriber added inside a handler does not hear the event that is being dispatched, but the next one") {
  const Bus bus = make_bus();
  int heard = 0;
  std::vector<Subscription> added;
  const auto count = [&](const Event&) { ++heard; };
  const auto adding = subscribe(bus, "k", [&](const Event&) {
    if (!added.empty()) return;
    added.push_back(subscribe(bus, "k", count));
    added.push_back(subscribe_prefix(bus, "", count));
  });
  publish(bus, "k");
  CHECK(heard == 0);
  publish(bus, "k");
  CHECK(heard == 2);
}

TEST_CASE("a handler that subscribes itself again and again ends") {
  const Bus bus = make_bus();
  std::vector<Subscription> added;
  int heard = 0;
  struct Again {
    const Bus& bus;
    std::vector<Subscription>& added;
    int& heard;
    void operator()(const Event&) const {
      ++heard;
      added.push_back(subscribe(bus, "k", Again{bus, added, heard}));
    }
  };
  const auto first = subscribe(bus, "k", Again{bus, added, heard});
  publish(bus, "k");
  publish(bus, "k");
  publish(bus, "k");
  CHECK(heard == 1 + 2 + 4);
}

TEST_CASE("what a handler of one bus drops on another is destroyed when the handler's dispatch has ended") {
  const Bus bus = make_bus();
  const Bus other = make_bus();
  std::atomic<int> destroyed = 0;
  auto dropped = subscribe(other, "k", [token = Destroyed{destroyed}](const Event&) {});
  const auto dropping = subscribe(bus, "k", [&](const Event&) {
    dropped.unsubscribe();
    CHECK(destroyed == 0);
  });
  publish(bus, "k");
  CHECK(destroyed == 1);
}

TEST_CASE("a handler that drops a thousand others leaves no garbage") {
  const Bus bus = make_bus();
  std::atomic<int> destroyed = 0;
  std::vector<Subscription> others;
  for (int i = 0; i != 1000; ++i) {
    others.push_back(subscribe(bus, std::to_string(i % 10), [token = Destroyed{destroyed}](const Event&) {}));
  }
  const auto dropping = subscribe(bus, "k", [&](const Event&) { others.clear(); });
  publish(bus, "k");
  CHECK(destroyed == 1000);
}

// --- what unsubscribe waits for

TEST_CASE("unsubscribe waits for the handler that runs on another thread, and then the callable is destroyed") {
  const Bus bus = make_bus();
  Gate gate;
  std::atomic<int> destroyed = 0;
  std::atomic<int> begun = 0;
  auto subscription = subscribe(bus, "k", [&, token = Destroyed{destroyed}](const Event&) {
    if (++begun == 1) gate.pass();
  });
  const std::jthread publishing{[&] { publish(bus, "k"); }};
  REQUIRE(gate.wait_until_entered());
  std::atomic<bool> returned = false;
  std::jthread unsubscribing{[&] {
    subscription.unsubscribe();
    returned = gate.left() && destroyed == 1;
  }};
  // As soon as a publish is not heard any more, it has taken the subscriber out and waits.
  CHECK(eventually([&] {
    const int before = begun;
    publish(bus, "k");
    return begun == before;
  }));
  CHECK_FALSE(returned);
  CHECK(destroyed == 0);
  gate.open();
  unsubscribing.join();
  CHECK(returned);
}

TEST_CASE("unsubscribe waits for nobody else's handler, and a blocked one delays no callable but its own") {
  const Bus bus = make_bus();
  Gate gate;
  std::atomic<int> destroyed = 0;
  const auto blocked = subscribe(bus, "k", [&](const Event&) { gate.pass(); });
  auto behind = subscribe(bus, "k", [token = Destroyed{destroyed}](const Event&) {});
  const std::jthread publishing{[&] { publish(bus, "k"); }};
  REQUIRE(gate.wait_until_entered());
  auto other = subscribe(bus, "other", [token = Destroyed{destroyed}](const Event&) {});
  other.unsubscribe();
  CHECK(destroyed == 1);
  behind.unsubscribe();
  CHECK(destroyed == 2);
  auto requested = subscribe(bus, "other", [token = Destroyed{destroyed}](const Event&) {});
  requested.request_unsubscribe();
  publish(bus, "nobody's");
  CHECK(destroyed == 3);
  CHECK_FALSE(gate.left());
  gate.open();
}

TEST_CASE("request_unsubscribe destroys nothing itself, the next publish, subscribe or unsubscribe does") {
  const Bus bus = make_bus();
  std::atomic<int> destroyed = 0;
  auto subscription = subscribe(bus, "k", [token = Destroyed{destroyed}](const Event&) {});
  auto other = subscribe(bus, "k", [](const Event&) {});
  subscription.request_unsubscribe();
  CHECK_FALSE(subscription.active());
  CHECK(destroyed == 0);
  SECTION("publish") { publish(bus, "nobody's"); }
  SECTION("subscribe") {
    const auto another = subscribe(bus, "k", [](const Event&) {});
  }
  SECTION("unsubscribe") { other.unsubscribe(); }
  CHECK(destroyed == 1);
}

TEST_CASE("request_unsubscribe returns while the handler runs, whose callable is destroyed when it has returned") {
  const Bus bus = make_bus();
  Gate gate;
  std::atomic<int> destroyed = 0;
  auto subscription = subscribe(bus, "k", [&, token = Destroyed{destroyed}](const Event&) { gate.pass(); });
  std::jthread publishing{[&] { publish(bus, "k"); }};
  REQUIRE(gate.wait_until_entered());
  subscription.request_unsubscribe();
  publish(bus, "k");  // is not heard, and frees nothing
  CHECK(destroyed == 0);
  CHECK_FALSE(gate.left());
  gate.open();
  publishing.join();
  CHECK(destroyed == 1);
}

TEST_CASE("two handlers on two threads may drop each other") {
  const Bus bus = make_bus();
  for (int round = 0; round != 20; ++round) {
    std::atomic<int> destroyed = 0;
    Subscription a;
    Subscription b;
    std::latch both{2};
    a = subscribe(bus, "a", [&, token = Destroyed{destroyed}](const Event&) {
      both.arrive_and_wait();
      b.unsubscribe();
    });
    b = subscribe(bus, "b", [&, token = Destroyed{destroyed}](const Event&) {
      both.arrive_and_wait();
      a.unsubscribe();
    });
    {
      const std::jthread first{[&] { publish(bus, "a"); }};
      const std::jthread second{[&] { publish(bus, "b"); }};
    }
    publish(bus, "nobody's");
    CHECK(destroyed == 2);
  }
}

TEST_CASE("two handlers on one thread may drop each other") {
  const Bus bus = make_bus();
  std::string heard;
  Subscription a;
  Subscription b;
  a = subscribe(bus, "k", [&](const Event&) {
    heard += 'a';
    b.unsubscribe();
  });
  b = subscribe(bus, "k", [&](const Event&) {
    heard += 'b';
    a.unsubscribe();
  });
  publish(bus, "k");
  publish(bus, "k");
  CHECK(heard == "aa");
}

TEST_CASE("a wait goes on when the walk that it began with finds the handler and runs it") {
  for (int round = 0; round != 20; ++round) {
    const int entry = 0;
    std::atomic<const HazardRecord*> mark = nullptr;
    std::atomic<bool> waiting = false;
    std::atomic<bool> passed = false;
    std::atomic<bool> too_early = false;
    std::jthread reading{[&] {
      HazardRecord& mine = HazardRecords::home().mine();
      mine.walk();
      mark = &mine;
      while (!waiting) std::this_thread::yield();
      for (int i = 0; i != 20; ++i) std::this_thread::yield();
      mine.hold(&entry);
      too_early = eventually([&] { return passed.load(); }, std::chrono::milliseconds{5});
      mine.walk();
      mine.leave();
    }};
    while (mark.load() == nullptr) std::this_thread::yield();
    waiting = true;
    mark.load()->wait_until_past(&entry);
    passed = true;
    reading.join();
    CHECK_FALSE(too_early);
  }
}

TEST_CASE("a wait ends though the thread begins one walk after the other") {
  std::atomic<const HazardRecord*> mark = nullptr;
  std::atomic<bool> done = false;
  const int entry = 0;
  const std::jthread walking{[&] {
    HazardRecord& mine = HazardRecords::home().mine();
    mine.walk();
    mark = &mine;
    while (!done) mine.walk();
    mine.leave();
  }};
  REQUIRE(eventually([&] { return mark.load() != nullptr; }));
  mark.load()->wait_until_past(&entry);
  CHECK(mark.load()->touch_after_walks(&entry) == HazardRecord::Touch::none);
  done = true;
}

TEST_CASE("after a fork nobody waits for a thread that only the parent has") {
  std::atomic<bool> walks = false;
  std::atomic<bool> done = false;
  std::jthread walking{[&] {
    HazardRecords::home().mine().walk();
    walks = true;
    while (!done) std::this_thread::yield();
    HazardRecords::home().mine().leave();
  }};
  while (!walks) std::this_thread::yield();
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    const Bus bus = make_bus();
    { const auto ended = subscribe(bus, "k", [](const Event&) {}); }
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  done = true;
  CHECK(status == 0);
}

TEST_CASE("what is dropped without a wait is freed though other threads never stop publishing") {
  const Bus bus = make_bus();
  std::atomic<bool> done = false;
  std::atomic<int> destroyed = 0;
  constexpr int rounds = 5'000;
  int most_waiting = 0;
  {
    std::vector<std::jthread> publishing;
    for (int i = 0; i != 3; ++i) {
      publishing.emplace_back([&] {
        while (!done) publish(bus, "k");
      });
    }
    for (int i = 0; i != rounds; ++i) {
      subscribe(bus, "k", [token = Destroyed{destroyed}](const Event&) {}).request_unsubscribe();
      most_waiting = (std::max)(most_waiting, i - destroyed);
    }
    done = true;
  }
  publish(bus, "k");
  CHECK(destroyed == rounds);
  CHECK(most_waiting < 1'000);
}

TEST_CASE("while four threads publish, subscribe and unsubscribe, no handler runs after its unsubscribe returned") {
  struct Poison {
    std::atomic<std::uint64_t> alive{0x600d};
    ~Poison() { alive = 0xbad; }
  };
  const Bus bus = make_bus();
  std::atomic<std::uint64_t> late = 0;
  std::atomic<std::uint64_t> heard = 0;
  const auto look_at = [&late, &heard](const Poison* poison) {
    return [&late, &heard, poison](const Event&) {
      ++heard;
      for (int i = 0; i != 20; ++i) {
        if (poison->alive != 0x600d) ++late;
      }
    };
  };
  constexpr std::size_t rounds = 300;
  std::atomic<std::uint64_t> steady = 0;
  const auto stays = subscribe(bus, "1", [&](const Event&) { ++steady; });
  {
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread != 4; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::size_t round = 0; round != rounds; ++round) {
          const auto poison = std::make_unique<Poison>();  // freed at once: a late call is a use after free
          const std::string key = std::to_string((thread + round) % 3);
          std::array<Subscription, 4> several;
          for (auto& each : several) each = subscribe(bus, key, look_at(poison.get()));
          const auto prefix = subscribe_prefix(bus, thread == 0 ? "" : key, look_at(poison.get()));
          several[1 + round % 2].unsubscribe();
          auto owned = std::make_shared<Poison>();
          auto dropped = subscribe(bus, key, [look = look_at(owned.get()), owned](const Event& event) { look(event); });
          for (const auto* each : {"0", "1", "2"}) publish(bus, each);
          if (round % 16 == 0) bus->dispatch_resync({}, false);
          dropped.request_unsubscribe();
        }
      });
    }
  }
  CHECK(late == 0);
  CHECK(steady >= 4 * rounds);
  CHECK(heard >= 4 * rounds);
}

TEST_CASE("subscribers who stay hear every event, though others of their key come and go") {
  const Bus bus = make_bus();
  std::atomic<bool> done = false;
  std::array<std::uint64_t, 3> heard{};
  const auto first = subscribe(bus, "k", [&](const Event&) { ++heard[0]; });
  auto between = subscribe(bus, "k", [](const Event&) {});
  const auto second = subscribe(bus, "k", [&](const Event&) { ++heard[1]; });
  const auto prefix = subscribe_prefix(bus, "k", [&](const Event&) { ++heard[2]; });
  std::vector<Subscription> selves(50);
  for (auto& each : selves) each = subscribe(bus, "k", [&each](const Event&) { each.unsubscribe(); });
  constexpr std::uint64_t rounds = 3000;
  {
    const std::jthread churning{[&] {
      while (!done) {
        between = subscribe(bus, "k", [](const Event&) {});
        const auto another = subscribe(bus, "k", [](const Event&) {});
      }
    }};
    for (std::uint64_t i = 0; i != rounds; ++i) publish(bus, "k");
    done = true;
  }
  CHECK(heard == std::array<std::uint64_t, 3>{rounds, rounds, rounds});
}

// --- publishes inside handlers

TEST_CASE("a publish inside a handler is heard when the event being dispatched has been heard by all") {
  const Bus bus = make_bus();
  std::string heard;
  const auto first = subscribe(bus, "a", [&](const Event& event) {
    if (event.type == EventType::resync) return;
    heard += "a1 ";
    publish(bus, std::string{"b"});  // the key need not outlive the call
    publish(bus, std::string{"c"});
    bus->publish_resync({ResyncCause::requested, self});
    CHECK(bus->in_handler());
  });
  const auto all = bus->attach(KeySpace::prefix, "",
                               Subscriber{[&](const Event& event) {
                                            heard += std::string{event.key} + ' ';
                                            if (event.key == "b") publish(bus, "d");
                                          },
                                          [&](const Resync&) { heard += "resync "; }},
                               Scope::all);
  publish(bus, "a");
  CHECK_FALSE(bus->in_handler());
  CHECK(heard == "a1 a b c resync d ");
}

TEST_CASE("a publish inside a handler of another bus waits too") {
  const Bus bus = make_bus();
  const Bus other = make_bus();
  std::string heard;
  const auto there = subscribe(other, "k", [&](const Event&) { heard += 'o'; });
  const auto here = subscribe(bus, "k", [&](const Event&) {
    publish(other, "k");
    heard += 'h';
  });
  publish(bus, "k");
  CHECK(heard == "ho");
}

TEST_CASE("a long conversation of handlers takes no stack") {
  const Bus bus = make_bus();
  int left = 100'000;
  const auto talking = subscribe(bus, "k", [&](const Event&) {
    if (--left > 0) publish(bus, "k");
  });
  publish(bus, "k");
  CHECK(left == 0);
}

TEST_CASE("a dispatch inside a handler runs at once, and the outer handler stays held") {
  const Bus bus = make_bus();
  Gate gate;
  std::atomic<int> destroyed = 0;
  std::string heard;
  const auto inner = subscribe(bus, "inner", [&](const Event&) { heard += 'i'; });
  auto outer = subscribe(bus, "outer", [&, token = Destroyed{destroyed}](const Event&) {
    bus->dispatch({.key = "inner"}, false);
    heard += bus->in_handler() ? 'o' : '?';
    gate.pass();
  });
  std::jthread publishing{[&] { publish(bus, "outer"); }};
  REQUIRE(gate.wait_until_entered());
  outer.request_unsubscribe();
  publish(bus, "nobody's");
  CHECK(destroyed == 0);
  gate.open();
  publishing.join();
  CHECK(destroyed == 1);
  CHECK(heard == "io");
}

// --- what is counted and reported

TEST_CASE("a handler that throws harms nobody, is counted and is reported") {
  std::vector<std::string> lines;
  const auto bus = std::make_shared<Subscribers>([&](std::string_view line) {
    lines.emplace_back(line);
    throw 1;  // nor does a hook that throws
  });
  int heard = 0;
  const auto a = subscribe(bus, "k", [](const Event&) { throw std::runtime_error{"no luck"}; });
  const auto b = subscribe(bus, "k", [&](const Event&) { ++heard; });
  const auto c = subscribe(bus, "k", [](const Event&) { throw 7; });
  const auto d = subscribe(bus, "k", [&](const Event&) { ++heard; });
  publish(bus, "k");
  CHECK(heard == 2);
  CHECK(metrics(bus).delivered == 2);
  CHECK(metrics(bus).handler_errors >= 2);
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].find("no luck") != std::string::npos);
  CHECK(lines[0].find("\"k\"") != std::string::npos);
  CHECK_FALSE(bus->in_handler());
}

TEST_CASE("a handler that throws at every event writes a few lines, and the last of them is not lost") {
  std::vector<std::string> lines;
  const auto bus = std::make_shared<Subscribers>([&](std::string_view line) { lines.emplace_back(line); });
  int calls = 0;
  const auto a = subscribe(bus, "k", [&](const Event&) { throw std::runtime_error{"no. " + std::to_string(++calls)}; });
  for (int i = 0; i != 100; ++i) publish(bus, "k");
  CHECK(metrics(bus).handler_errors == 100);
  CHECK(lines.size() < 20);
  bus->report_left_out((TimePoint::max)());
  CHECK(lines.back().find("no. 100") != std::string::npos);
}

TEST_CASE("on a bus that is alone the next line counts those left out, without a close") {
  std::vector<std::string> lines;
  const auto bus = std::make_shared<Subscribers>([&](std::string_view line) { lines.emplace_back(line); });
  const auto a = subscribe(bus, "k", [&](const Event&) { throw std::runtime_error{"no"}; });
  for (int i = 0; i != 20; ++i) publish(bus, "k");
  CHECK(lines.size() == detail::LineLimiter::at_once);
  CHECK(support::eventually([&] {  // a second later
    publish(bus, "k");
    return lines.size() > detail::LineLimiter::at_once;
  }));
  CHECK(lines.back().find("more like it were left out before") != std::string::npos);
}

TEST_CASE("neither a key nor what is thrown writes a line of its own into the log") {
  std::vector<std::string> lines;
  const auto bus = std::make_shared<Subscribers>([&](std::string_view line) { lines.emplace_back(line); });
  const std::string key = "k\" threw: nothing\nthe broker is gone";
  const auto a = subscribe(bus, key, [](const Event&) { throw std::runtime_error{"bad\r\nalso the broker"}; });
  publish(bus, key);
  CHECK(lines == std::vector<std::string>{"the handler subscribed to \"k\\x22 threw: nothing\\x0athe broker is gone\" "
                                          "threw: bad\\x0d\\x0aalso the broker"});
}

TEST_CASE("a handler that ends its own subscription and throws is destroyed") {
  const Bus bus = make_bus();
  std::atomic<int> destroyed = 0;
  Subscription own;
  own = subscribe(bus, "k", [&, token = Destroyed{destroyed}](const Event&) {
    own.unsubscribe();
    throw 1;
  });
  publish(bus, "k");
  CHECK(destroyed == 1);
  CHECK(metrics(bus).handler_errors == 1);
}

TEST_CASE("a mailbox is counted by what it says became of the event") {
  const Bus bus = make_bus();
  const auto box = std::make_shared<Box>();
  const auto subscription =
      bus->attach(KeySpace::prefix, "", Subscriber{std::shared_ptr<detail::MailboxSink>{box}}, Scope::all);
  publish(bus, "a");
  box->answer = {.stored = true, .overflowed = true, .joined = 3};
  publish(bus, "b");
  box->answer = {.stored = false};
  publish(bus, "c");
  bus->dispatch_resync({}, false);
  bus->close();
  CHECK(box->text == "abc!.");
  CHECK(metrics(bus).delivered == 2);
  CHECK(metrics(bus).joined == 3);
  CHECK(metrics(bus).resyncs_by(ResyncCause::overflow) == 1);
}

TEST_CASE("a tally tells how many subscribers an event was given to, and how many of them threw") {
  const Bus bus = make_bus();
  int heard = 0;
  const auto tally_of = [&](const Event& event, bool own = false) {
    const detail::DispatchTally tally = bus->dispatch_counted(event, own);
    return std::array{tally.matched, tally.failed};
  };
  using Tally = std::array<std::uint32_t, 2>;
  CHECK(tally_of({.key = "key"}) == Tally{0, 0});
  const auto key = subscribe(bus, "key", [&](const Event&) { ++heard; });
  const auto lease = bus->attach(KeySpace::lease, "key", Subscriber{[&](const Event&) { ++heard; }}, Scope::all);
  CHECK(tally_of({.key = "key"}) == Tally{1, 0});
  CHECK(tally_of({.type = EventType::lease_revoked, .key = "key"}) == Tally{1, 0});
  CHECK(tally_of({.key = "other"}) == Tally{0, 0});
  const auto prefix = subscribe_prefix(bus, "k", [&](const Event&) { throw 7; });
  const auto all = subscribe_prefix(bus, "", [&](const Event&) { throw std::runtime_error{"no luck"}; });
  const auto local = subscribe(bus, "key", [&](const Event&) { ++heard; }, Scope::local);
  CHECK(tally_of({.key = "key"}) == Tally{3, 2});
  CHECK(tally_of({.key = "key"}, true) == Tally{4, 2});
  CHECK(tally_of({.key = "other"}) == Tally{1, 1});
  CHECK(heard == 5);
  CHECK(metrics(bus).delivered == 5);
  CHECK(metrics(bus).handler_errors == 5);
}

TEST_CASE("a mailbox counts as given to unless it is closed") {
  const Bus bus = make_bus();
  const auto box = std::make_shared<Box>();
  const auto subscription =
      bus->attach(KeySpace::key, "k", Subscriber{std::shared_ptr<detail::MailboxSink>{box}}, Scope::all);
  CHECK(bus->dispatch_counted({.key = "k"}, false).matched == 1);
  box->answer = {.stored = true, .overflowed = true, .joined = 3};
  CHECK(bus->dispatch_counted({.key = "k"}, false).matched == 1);
  box->answer = {.stored = false};
  CHECK(bus->dispatch_counted({.key = "k"}, false).matched == 0);
}

TEST_CASE("a counted publish tells its tally when its handlers have returned") {
  const Bus bus = make_bus();
  std::string heard;
  const auto first = subscribe(bus, "k", [&](const Event& event) {
    CHECK(event.version == 7);
    heard += 'a';
  });
  const auto second = subscribe(bus, "k", [&](const Event&) {
    heard += 'b';
    throw 1;
  });
  const auto remote = subscribe(bus, "k", [&](const Event&) { heard += 'r'; }, Scope::remote);
  bus->publish_counted({.key = "k", .version = 7, .origin = self}, [&](detail::DispatchTally tally) {
    CHECK_FALSE(bus->in_handler());
    heard += std::to_string(tally.matched) + std::to_string(tally.failed);
  });
  CHECK(heard == "ab21");
  CHECK(metrics(bus).published == 0);
}

TEST_CASE("a counted publish inside a handler is heard and told when the outer event has been heard by all") {
  const Bus bus = make_bus();
  std::string heard;
  const auto first = subscribe(bus, "a", [&](const Event&) {
    const std::string key = "b";  // need not outlive the call
    bus->publish_counted({EventType::set, key, 5, self}, [&](detail::DispatchTally tally) {
      heard += std::to_string(tally.matched) + ' ';
      CHECK_FALSE(bus->in_handler());
    });
    publish(bus, "c");
    heard += "a1 ";
  });
  const auto all = subscribe_prefix(bus, "", [&](const Event& event) { heard += std::string{event.key} + ' '; });
  const auto set = subscribe(bus, "b", [&](const Event& event) {
    CHECK(event.type == EventType::set);
    CHECK(event.version == 5);
    CHECK(event.origin == self);
  });
  publish(bus, "a");
  CHECK(heard == "a1 a b 2 c ");
}

TEST_CASE("a counted dispatch inside a handler counts its own subscribers only") {
  const Bus bus = make_bus();
  std::uint32_t inside = 0;
  const auto inner = subscribe(bus, "inner", [](const Event&) { throw 1; });
  const auto outer = subscribe(bus, "outer", [&](const Event&) {
    const detail::DispatchTally tally = bus->dispatch_counted({.key = "inner"}, false);
    inside = 10 * tally.matched + tally.failed;
  });
  const detail::DispatchTally tally = bus->dispatch_counted({.key = "outer"}, false);
  CHECK(inside == 11);
  CHECK(tally.matched == 1);
  CHECK(tally.failed == 0);
}

TEST_CASE("it is known whether any subscriber hears other nodes") {
  const Bus bus = make_bus();
  CHECK_FALSE(bus->hears_remote());
  const auto local = subscribe(bus, "k", [](const Event&) {}, Scope::local);
  CHECK_FALSE(bus->hears_remote());
  auto all = subscribe(bus, "k", [](const Event&) {}, Scope::all);
  CHECK(bus->hears_remote());
  auto remote = subscribe(bus, "k", [](const Event&) {}, Scope::remote);
  all.unsubscribe();
  CHECK(bus->hears_remote());
  remote.request_unsubscribe();
  CHECK_FALSE(bus->hears_remote());
}

TEST_CASE("counts are exact, also with more threads than counters have stripes") {
  const Bus bus = make_bus();
  constexpr std::size_t count = 80;
  const auto subscription = subscribe(bus, "k", [](const Event&) {});
  {
    std::latch all{count};
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i != count; ++i) {
      threads.emplace_back([&] {
        publish(bus, "k");
        all.arrive_and_wait();
        for (int round = 0; round != 100; ++round) {
          bus->count_published(2);
          publish(bus, "k");
        }
      });
    }
  }
  CHECK(metrics(bus).delivered == count * 101);
  CHECK(metrics(bus).published == count * 200);
}

// --- lifetimes

TEST_CASE("threads that end leave their records to later ones") {
  const Bus bus = make_bus();
  std::jthread{[&] { publish(bus, "k"); }}.join();
  const std::size_t before = records();
  for (int i = 0; i != 50; ++i) std::jthread{[&] { publish(bus, "k"); }}.join();
  CHECK(records() == before);
}

TEST_CASE("a thread may still publish while it ends, and leaves its record all the same") {
  const Bus bus = make_bus();
  std::atomic<int> heard = 0;
  const auto subscription = subscribe(bus, "k", [&](const Event&) { ++heard; });
  struct Farewell {
    const Bus* bus = nullptr;
    ~Farewell() { publish(*bus, "k"); }
  };
  const auto say = [&] {
    std::jthread{[&] {
      thread_local Farewell farewell;  // made before the thread's record, so destroyed behind what C++ destroys of it
      farewell.bus = &bus;
      publish(bus, "k");
    }}.join();
  };
  say();
  const std::size_t before = records();
  for (int i = 0; i != 50; ++i) say();
  CHECK(heard == 102);
  CHECK(records() == before);
}

TEST_CASE("a subscription may outlive its bus, and destroys its callable when it ends") {
  std::atomic<int> destroyed = 0;
  std::optional<Bus> bus{make_bus()};
  auto kept = subscribe(*bus, "k", [token = Destroyed{destroyed}](const Event&) {});
  auto retired = subscribe(*bus, "k", [token = Destroyed{destroyed}](const Event&) {});
  retired.request_unsubscribe();
  bus.reset();
  CHECK(kept.active());
  CHECK(destroyed == 0);
  kept.unsubscribe();
  CHECK(destroyed == 2);
}

TEST_CASE("the destructor of what a handler captures may publish, subscribe and unsubscribe") {
  const Bus bus = make_bus();
  std::string heard;
  const auto listening = subscribe(bus, "bye", [&](const Event&) { heard += 'b'; });
  struct Last {
    const Bus& bus;
    Subscription other;
    Last(const Bus& its_bus, Subscription its_other) : bus{its_bus}, other{std::move(its_other)} {}
    ~Last() {
      publish(bus, "bye");
      other.unsubscribe();
      const auto another = subscribe(bus, "k", [](const Event&) {});
    }
  };
  Subscription own;
  own = subscribe(bus, "k",
                  [&, last = std::make_unique<Last>(bus, subscribe(bus, "x", [](const Event&) {}))](const Event&) {
                    own.request_unsubscribe();
                    heard += 'k';
                  });
  publish(bus, "k");
  publish(bus, "k");
  CHECK(heard == "kb");
}

TEST_CASE("a handler may drop the last that a closed bus lives by") {
  const Bus bus = make_bus();
  std::atomic<int> destroyed = 0;
  Subscription last;
  {
    const Bus closed = make_bus();
    last = subscribe(closed, "k", [token = Destroyed{destroyed}](const Event&) {});
    closed->close();
    CHECK_THROWS_AS(subscribe(closed, "k", [](const Event&) {}), std::system_error);
  }
  const auto dropping = subscribe(bus, "k", [&](const Event&) {
    last.unsubscribe();
    CHECK(destroyed == 0);
  });
  publish(bus, "k");
  CHECK(destroyed == 1);
}

TEST_CASE("what a destructor publishes while put-off events are heard is heard behind them") {
  const Bus bus = make_bus();
  std::string heard;
  const auto all = subscribe_prefix(bus, "", [&](const Event& event) { heard += event.key; });
  struct Farewell {
    const Bus* bus;
    explicit Farewell(const Bus& its_bus) : bus{&its_bus} {}
    ~Farewell() { publish(*bus, "z"); }
  };
  const auto first = subscribe(bus, "a", [&](const Event&) {
    publish(bus, "b");
    publish(bus, "c");
  });
  Subscription second;
  second = subscribe(bus, "b", [&, last = std::make_unique<Farewell>(bus)](const Event&) { second.unsubscribe(); });
  publish(bus, "a");
  CHECK(heard == "abcz");
}
