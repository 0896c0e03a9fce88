// A cache that drops whatever any node changed. How to try it: in two terminals, with a Redis server running,
//   01_whole_cache redis://127.0.0.1:6379
// and type `get user:42` in both, then `drop user:42` in one, then `get user:42` in the other. Or without a server,
// alone:
//   01_whole_cache
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

// [readme: first]
#include <syncbus/redis_bus.hpp>
// [end]
#include <syncbus/in_memory_bus.hpp>

namespace {

/// Handlers run on threads of the bus, so the cache has a lock.
class Cache {
 public:
  /// The cached value, or else a new one: a real cache would ask its database here.
  std::string get(const std::string& key) {
    const std::scoped_lock lock{mutex_};
    if (const auto found = values_.find(key); found != values_.end()) return found->second + " (cached)";
    return values_[key] = "value number " + std::to_string(++loads_);
  }

  void erase(std::string_view key) {
    const std::scoped_lock lock{mutex_};
    if (const auto found = values_.find(key); found != values_.end()) values_.erase(found);
  }

  void clear() {
    const std::scoped_lock lock{mutex_};
    values_.clear();
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string, std::less<>> values_;
  int loads_ = 0;
};

void log(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

/// Obeys the lines of the standard input until its end.
template <syncbus::Bus B>
void serve(B& bus);

void serve_over_redis(const std::string& url) {
  // [readme: first]
  syncbus::RedisBus bus{url, "my-service.events", {.name = "cache-7"}};
  // [end]
  serve(bus);
}

template <syncbus::Bus B>
void serve(B& bus) {
  Cache cache;
  // [readme: first]
  auto subscription = bus.subscribe_all([&](const syncbus::Event& event) { cache.erase(event.key); },
                                        [&](const syncbus::Resync&) { cache.clear(); });
  // [end]

  std::puts("get KEY: shows the value; drop KEY: every node drops it; clear: every node drops everything");
  std::string command;
  std::string key;
  while (std::cin >> command) {
    if (command == "get" && std::cin >> key) {
      std::printf("%s\n", cache.get(key).c_str());
    } else if (command == "drop" && std::cin >> key) {
      // [readme: first]
      if (auto error = bus.publish(key)) log(error.message());
      // [end]
    } else if (command == "clear") {
      if (auto error = bus.publish_all()) log(error.message());
    } else {
      std::puts("get KEY, drop KEY or clear");
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count > 1) {
      serve_over_redis(arguments[1]);
    } else {
      syncbus::InMemoryBus bus;
      serve(bus);
    }
  } catch (const std::exception& error) {  // a bus that cannot be opened says why, and what to do
    log(error.what());
    return 1;
  }
}
