// A program that loads plugins: program <plugin>... -- <plugin>... It exports nothing to them; those behind the dashes
// may be of another version, and use only their own buses. Prints what is not as it must be.
#include "plugin.hpp"

#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using syncbus::Errc;

int failures = 0;

void check(bool good, const std::string& what) {
  if (good) return;
  std::printf("not so: %s\n", what.c_str());
  ++failures;
}

struct Loaded {
  void* handle = nullptr;
  Plugin plugin{};
  bool same_version;

  Loaded(const char* file, bool same)
      : handle{::dlopen(file, RTLD_NOW | RTLD_LOCAL)}, same_version{same} {
    auto* const load = handle == nullptr ? nullptr : reinterpret_cast<Plugin (*)()>(::dlsym(handle, "load_plugin"));
    if (load == nullptr) {
      std::printf("%s\n", ::dlerror());
      std::exit(2);
    }
    plugin = load();
  }
};

template <class Done>
bool eventually(std::chrono::milliseconds patience, const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// The program's handler, run by the plugin's code on another thread, and ended meanwhile.
void unsubscribe_waits(syncbus::InMemoryBus& bus, const Plugin& plugin) {
  std::atomic<bool> entered = false;
  std::atomic<bool> ended = false;
  std::atomic<bool> ended_too_early = false;
  auto subscription = bus.subscribe("waits", [&](const syncbus::Event&) {
    entered = true;
    ended_too_early = eventually(50ms, [&] { return ended.load(); });
  });
  std::jthread publishing{[&] { check(!plugin.publish(bus, "waits"), "a plugin publishes"); }};
  check(eventually(20s, [&] { return entered.load(); }), "the program hears what its plugin publishes");
  subscription.unsubscribe();
  ended = true;
  publishing.join();
  check(!ended_too_early, "unsubscribe waits for a handler that a plugin's code runs");
}

/// Whoever waits inside a handler is told so, whosever code runs it and whosever bus it is.
void calls_in_handlers_are_refused(syncbus::InMemoryBus& bus, const Plugin& plugin) {
  std::error_code by_plugin, by_program, of_own;
  plugin.subscribe(bus, "inside", &by_plugin);
  const auto subscription = bus.subscribe("inside", [&](const syncbus::Event&) {
    by_program = bus.flush(1s);
    of_own = plugin.close_own();
  });
  for (const bool by : {true, false}) {
    by_plugin = by_program = of_own = {};
    check(!(by ? plugin.publish(bus, "inside") : bus.publish("inside")), "publish");
    const std::string who = by ? ", published by the plugin" : ", published by the program";
    check(by_plugin == Errc::would_deadlock, "a plugin's flush inside a handler is refused" + who);
    check(by_program == Errc::would_deadlock, "the program's flush inside a handler is refused" + who);
    check(of_own == Errc::would_deadlock, "a plugin's close of its own bus inside a handler is refused" + who);
  }
  plugin.end_subscription();
}

/// An event that a handler publishes is heard behind the one that it hears, whosever code publishes.
void publishes_in_handlers_are_put_off(syncbus::InMemoryBus& bus, const Plugin& plugin) {
  std::string heard;
  const auto outer = bus.subscribe("outer", [&](const syncbus::Event&) {
    check(!plugin.publish(bus, "inner"), "a plugin publishes inside a handler");
    heard += 'o';
  });
  const auto inner = bus.subscribe("inner", [&](const syncbus::Event&) { heard += 'i'; });
  check(!bus.publish("outer"), "publish");
  check(heard == "oi", "what a plugin publishes inside a handler waits for its end: " + heard);
}

void errors_are_the_same(syncbus::InMemoryBus& bus, const Plugin& plugin) {
  const std::error_code error = plugin.publish(bus, "");
  check(error == Errc::invalid_key && Errc::invalid_key == error, "a plugin's error compares with an Errc");
  check(error != Errc::closed, "a plugin's error differs from another Errc");
  check(error == std::errc::invalid_argument, "a plugin's error compares with a std::errc");
  check(error.category() == syncbus::error_category(), "categories compare by name");
  check(error.default_error_condition() == make_error_code(Errc::invalid_key), "conditions compare");
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // it may crash
  std::vector<Loaded> loaded;
  bool same = true;
  for (const char* const argument : std::span{argv, static_cast<std::size_t>(argc)}.subspan(1)) {
    if (std::string_view{argument} == "--") {
      same = false;
    } else {
      loaded.emplace_back(argument, same);
    }
  }
  {
    syncbus::InMemoryBus bus;
    for (const Loaded& one : loaded) {
      if (!one.same_version) continue;
      unsubscribe_waits(bus, one.plugin);
      calls_in_handlers_are_refused(bus, one.plugin);
      publishes_in_handlers_are_put_off(bus, one.plugin);
      errors_are_the_same(bus, one.plugin);
    }

    // Threads that have used each plugin's bus, and the program's by each plugin's code, and end when all are unloaded.
    std::latch used{3};
    std::latch unloaded{1};
    std::vector<std::jthread> threads;
    std::atomic<int> heard = 0;
    for (const char* const key : {"one", "other"}) {
      threads.emplace_back([&, key] {
        for (const Loaded& one : loaded) {
          heard += one.plugin.publish_own(key);
          if (one.same_version && one.plugin.publish(bus, "k")) heard = -1'000'000;
        }
        used.arrive_and_wait();
        unloaded.wait();
      });
    }
    used.arrive_and_wait();
    check(heard == static_cast<int>(400 * loaded.size()), "each plugin's bus works beside those of the others");
    for (const Loaded& one : loaded) {
      one.plugin.end_own();
      if (::dlclose(one.handle) != 0) check(false, "dlclose");
    }
    unloaded.count_down();
    threads.clear();
    check(!bus.publish("k"), "the program's bus goes on");
  }
  return failures == 0 ? 0 : 1;
}
