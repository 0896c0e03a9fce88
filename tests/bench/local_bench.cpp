// A node's own subscribers, in memory: InMemoryBus beside a bare map of functions, and beside eventpp if it is there.
// How to try it: build the target local_bench in release, run it; a number on the command line is the rounds (default
// 21).
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <syncbus/in_memory_bus.hpp>

#if __has_include(<eventpp/eventdispatcher.h>)
#include <eventpp/eventdispatcher.h>
#define BENCH_HAS_EVENTPP 1
#else
#define BENCH_HAS_EVENTPP 0
#endif

#include "bench/bench.hpp"

namespace {

std::atomic<std::uint64_t> allocations{0};

void* counted(void* memory) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) { return counted(std::malloc(size)); }
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(align, (size + align - 1) / align * align));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

using syncbus::Event;

constexpr std::size_t key_count = 1'000;

/// The keys in an order that no prefetcher guesses.
std::vector<std::string_view> shuffled(const std::vector<std::string>& keys) {
  std::vector<std::string_view> order{keys.begin(), keys.end()};
  std::shuffle(order.begin(), order.end(), std::mt19937{7});
  return order;
}

/// What every handler does: as little as it can without being optimized away.
struct Count {
  std::uint64_t* calls;
  void operator()(const Event&) const { ++*calls; }
};

void expect(std::uint64_t calls, std::uint64_t expected) {
  if (calls == expected) return;
  std::fprintf(stderr, "worthless: %llu calls instead of %llu\n", static_cast<unsigned long long>(calls),
               static_cast<unsigned long long>(expected));
  std::exit(1);
}

void print_budget(const char* what, double value, double budget, bool at_most) {
  std::printf("  %s: %.2f, budget %s %.2f: %s\n", what, value, at_most ? "at most" : "at least", budget,
              (at_most ? value <= budget : value >= budget) ? "kept" : "MISSED");
}

// --- subjects: something that calls the one handler of a key

class BareMap {
 public:
  explicit BareMap(const std::vector<std::string>& keys, std::uint64_t& calls) {
    for (const auto& key : keys) handlers_.emplace(key, Count{&calls});
  }
  void publish(const std::string& key) {
    const auto found = handlers_.find(key);
    if (found != handlers_.end()) found->second({.key = key});
  }

 private:
  std::unordered_map<std::string, std::function<void(const Event&)>> handlers_;
};

class OurBus {
 public:
  explicit OurBus(const std::vector<std::string>& keys, std::uint64_t& calls) {
    for (const auto& key : keys) subscriptions_.push_back(bus_.subscribe(key, Count{&calls}));
  }
  void publish(const std::string& key) {
    if (bus_.publish(key)) std::abort();
  }
  void add(const std::vector<std::string>& keys, std::uint64_t& calls) {
    for (const auto& key : keys) subscriptions_.push_back(bus_.subscribe(key, Count{&calls}));
  }

 private:
  syncbus::InMemoryBus bus_;
  std::vector<syncbus::Subscription> subscriptions_;
};

#if BENCH_HAS_EVENTPP
class Eventpp {
 public:
  explicit Eventpp(const std::vector<std::string>& keys, std::uint64_t& calls) { add(keys, calls); }
  void add(const std::vector<std::string>& keys, std::uint64_t& calls) {
    for (const auto& key : keys) dispatcher_.appendListener(key, Count{&calls});
  }
  void publish(const std::string& key) { dispatcher_.dispatch(key, Event{.key = key}); }

 private:
  eventpp::EventDispatcher<std::string, void(const Event&)> dispatcher_;
};
#endif

// --- rounds

/// Nanoseconds a publish, on one thread.
template <class Subject>
double publish_time(Subject& subject, const std::vector<std::string>& order, std::uint64_t& calls) {
  constexpr std::size_t laps = 500;
  calls = 0;
  const auto start = bench::Clock::now();
  for (std::size_t lap = 0; lap != laps; ++lap) {
    for (const auto& key : order) subject.publish(key);
  }
  const double seconds = bench::seconds_since(start);
  expect(calls, laps * order.size());
  return 1e9 * seconds / static_cast<double>(laps * order.size());
}

/// Nanoseconds of wall clock a publish, on two threads, each with keys of its own.
template <class Subject>
double publish_time_of_two(Subject& subject, const std::array<std::vector<std::string>, 2>& orders) {
  constexpr std::size_t laps = 300;
  std::barrier both{3};
  const auto run = [&](const std::vector<std::string>& order) {
    both.arrive_and_wait();
    for (std::size_t lap = 0; lap != laps; ++lap) {
      for (const auto& key : order) subject.publish(key);
    }
    both.arrive_and_wait();
  };
  std::jthread first{[&] { run(orders[0]); }};
  std::jthread second{[&] { run(orders[1]); }};
  both.arrive_and_wait();
  const auto start = bench::Clock::now();
  both.arrive_and_wait();
  return 1e9 * bench::seconds_since(start) / static_cast<double>(laps * (orders[0].size() + orders[1].size()));
}

/// Nanoseconds to subscribe to a key and unsubscribe.
double churn_time(syncbus::InMemoryBus& bus) {
  constexpr int times = 20'000;
  std::uint64_t calls = 0;
  const auto start = bench::Clock::now();
  for (int i = 0; i != times; ++i) {
    auto subscription = bus.subscribe("warp:entity:the one that comes and goes", Count{&calls});
  }
  return 1e9 * bench::seconds_since(start) / times;
}

// --- rows

void one_thread(std::size_t rounds) {
  const auto keys = bench::make_keys(key_count);
  const auto views = shuffled(keys);
  const std::vector<std::string> order{views.begin(), views.end()};
  std::uint64_t calls = 0;
  BareMap map{keys, calls};
  OurBus bus{keys, calls};
  std::vector<bench::Subject> subjects{
      {"unordered_map<string, function>: find and call", [&] { return publish_time(map, order, calls); }},
      {"InMemoryBus: publish", [&] { return publish_time(bus, order, calls); }}};
#if BENCH_HAS_EVENTPP
  Eventpp eventpp{keys, calls};
  subjects.push_back({"eventpp, thread-safe: dispatch", [&] { return publish_time(eventpp, order, calls); }});
#endif
  const auto ratios = bench::compare("one handler among 1,000 keys, one thread", "ns a publish", rounds, subjects);
  print_budget("InMemoryBus against the bare map", ratios[1], 1.5, true);
}

void two_threads(std::size_t rounds) {
  std::array<std::vector<std::string>, 2> keys{bench::make_keys(key_count / 2, "warp:left:"),
                                               bench::make_keys(key_count / 2, "warp:right:")};
  struct alignas(128) Calls {
    std::uint64_t calls = 0;
  };
  std::array<Calls, 2> calls;
  std::array<std::vector<std::string>, 2> orders;
  for (std::size_t i = 0; i != 2; ++i) {
    const auto views = shuffled(keys[i]);
    orders[i].assign(views.begin(), views.end());
  }
  OurBus bus{keys[0], calls[0].calls};
  bus.add(keys[1], calls[1].calls);
#if BENCH_HAS_EVENTPP
  Eventpp eventpp{keys[0], calls[0].calls};
  eventpp.add(keys[1], calls[1].calls);
  const auto ratios =
      bench::compare("two threads, each with its own keys", "ns of wall clock a publish", rounds,
                     {{"eventpp, thread-safe: dispatch", [&] { return publish_time_of_two(eventpp, orders); }},
                      {"InMemoryBus: publish", [&] { return publish_time_of_two(bus, orders); }}});
  print_budget("times faster than eventpp", 1 / ratios[1], 8, false);
#else
  bench::compare("two threads, each with its own keys (eventpp is not installed)", "ns of wall clock a publish", rounds,
                 {{"InMemoryBus: publish", [&] { return publish_time_of_two(bus, orders); }}});
#endif
}

void churn(std::size_t rounds) {
  std::uint64_t calls = 0;
  syncbus::InMemoryBus few, many;
  std::vector<syncbus::Subscription> subscriptions;
  for (const auto& key : bench::make_keys(1'000)) subscriptions.push_back(few.subscribe(key, Count{&calls}));
  for (const auto& key : bench::make_keys(1'000'000)) subscriptions.push_back(many.subscribe(key, Count{&calls}));
  const auto ratios = bench::compare("subscribe and unsubscribe one key", "ns a pair", rounds,
                                     {{"beside 1,000 others", [&] { return churn_time(few); }},
                                      {"beside 1,000,000 others", [&] { return churn_time(many); }}});
  print_budget("a million against a thousand", ratios[1], 3, true);
}

/// Allocations a step, once everything has grown to its size.
template <class Step>
void count_allocations(const char* what, std::optional<double> budget, const Step& step) {
  constexpr int times = 20'000;
  for (int i = 0; i != times; ++i) step();
  const std::uint64_t before = allocations;
  for (int i = 0; i != times; ++i) step();
  const double each = static_cast<double>(allocations - before) / times;
  budget ? print_budget(what, each, *budget, true) : static_cast<void>(std::printf("  %s: %.2f\n", what, each));
}

void check(const std::error_code& error) {
  if (error) throw std::system_error{error};
}

void allocation_counts() {
  std::printf("\nallocations\n");
  std::uint64_t calls = 0;
  const auto keys = bench::make_keys(key_count);
  std::size_t at = 0;
  const auto next_key = [&]() -> const std::string& { return keys[at++ % keys.size()]; };
  {
    OurBus bus{keys, calls};
    count_allocations("a publish to a handler", 0, [&] { bus.publish(next_key()); });
  }
  {
    syncbus::InMemoryBus bus;
    const auto all = bus.subscribe_all(Count{&calls}, [](const syncbus::Resync&) {});
    count_allocations("a publish to a handler of all keys", 0, [&] { check(bus.publish(next_key())); });
  }
  {
    syncbus::InMemoryBus bus;
    auto mailbox = bus.subscribe_all();
    count_allocations("a publish to a mailbox, and receiving it", {}, [&] {
      check(bus.publish(next_key()));
      if (mailbox.try_receive()) ++calls;
    });
    count_allocations("the same with keys short enough for std::string to hold", 0, [&] {
      check(bus.publish("short key"));
      if (mailbox.try_receive()) ++calls;
    });
  }
  {
    syncbus::InMemoryHub hub;
    syncbus::InMemoryBus publisher{hub}, listener{hub};
    const auto all = listener.subscribe_all(Count{&calls}, [](const syncbus::Resync&) {});
    count_allocations("a publish on a hub with two nodes, one listening", {},
                      [&] { check(publisher.publish(next_key())); });
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::size_t rounds = argc > 1 ? static_cast<std::size_t>(std::atoi(argv[1])) : 21;
  one_thread(rounds);
  two_threads(rounds);
  churn(rounds);
  allocation_counts();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
