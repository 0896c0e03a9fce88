// A cache with a lock of its own, and where it may publish: after the lock, never under it. How to try it: run it; it
// exits with 1 if something went otherwise. Move a publish into the locked block, and it hangs.
#include <cstddef>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

namespace {

/// Keeps what it is given; other nodes drop their copies. It hears its own publishes, too: the scope is the default.
class Names {
 public:
  explicit Names(syncbus::InMemoryBus& bus)
      : bus_{bus},
        subscription_{bus.subscribe_all([this](const syncbus::Event& event) { drop(event); },
                                        [this](const syncbus::Resync&) { drop_everything(); })} {}

  // [readme: locks]
  std::error_code set(const std::string& key, const std::string& value) {
    {
      const std::scoped_lock lock{mutex_};
      names_[key] = value;
    }
    return bus_.publish(key);  // calls drop() on this thread, which takes the lock
  }

  std::error_code remove_all(const std::vector<std::string>& keys) {
    {
      const std::scoped_lock lock{mutex_};
      for (const auto& key : keys) names_.erase(key);
    }
    return bus_.publish(keys);  // one publish for all: collect under the lock, tell after it
  }
  // [end]

  [[nodiscard]] std::size_t size() {
    const std::scoped_lock lock{mutex_};
    return names_.size();
  }

 private:
  // [readme: locks]
  void drop(const syncbus::Event& event) {
    const std::scoped_lock lock{mutex_};
    names_.erase(std::string{event.key});
  }
  // [end]

  void drop_everything() {
    const std::scoped_lock lock{mutex_};
    names_.clear();
  }

  syncbus::InMemoryBus& bus_;
  std::mutex mutex_;
  std::map<std::string, std::string> names_;
  syncbus::Subscription subscription_;  // last: its handlers use everything above
};

}  // namespace

int main() {
  syncbus::InMemoryHub hub;
  syncbus::InMemoryBus bus_a{hub};
  syncbus::InMemoryBus bus_b{hub};
  Names a{bus_a};
  Names b{bus_b};
  const bool published = !a.set("user:1", "Ann") && !b.set("user:2", "Ben") && !a.remove_all({"user:1", "user:2"});
  std::printf("published: %s; left: %zu and %zu\n", published ? "yes" : "no", a.size(), b.size());
  return published && a.size() + b.size() == 0 ? 0 : 1;
}
