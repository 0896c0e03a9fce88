// A cache that does not ask its database for everything at once after a resync: it uses what it has for a moment longer,
// and drops it key by key, each node at other times. How to try it: run it; it shows the reads of the database in each
// tenth of a second, and exits with 1 if they came at once.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/fill_guard.hpp>
#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "user_cache.hpp"

namespace {

// [readme: spread]
/// After a resync it uses its entries for `spread` at most, each key on each node for another part of that time.
template <syncbus::Bus B>
class SpreadCache {
 public:
  using Clock = std::function<syncbus::TimePoint()>;  // std::chrono::steady_clock::now, but in tests

  SpreadCache(B& bus, Database& database, syncbus::Duration spread, Clock clock)
      : bus_{bus},
        database_{database},
        spread_{spread},
        clock_{std::move(clock)},
        subscription_{bus.subscribe_all([this](const syncbus::Event& event) { drop(event); },
                                        [this](const syncbus::Resync&) { drop_soon(); })} {}

  std::string get(const std::string& key) {
    {
      const std::scoped_lock lock{mutex_};
      if (const auto found = rows_.find(key); found != rows_.end()) return found->second;
      if (clock_() >= resynced_at_ + spread_) doubtful_.clear();
      const auto found = doubtful_.find(key);
      if (found != doubtful_.end() && clock_() < resynced_at_ + its_time(key)) return found->second;
    }
    const auto ticket = guard_.begin(key);
    const Row row = database_.read(key);
    const std::scoped_lock lock{mutex_};
    if (guard_.may_store(ticket)) rows_[key] = row.value;
    return row.value;
  }

 private:
  void drop(const syncbus::Event& event) {
    guard_.invalidated(event.key);
    const std::scoped_lock lock{mutex_};
    const std::string key{event.key};
    rows_.erase(key);
    doubtful_.erase(key);
  }

  void drop_soon() {
    guard_.invalidated_all();  // at once: loads that are under way may have read what is old
    const std::scoped_lock lock{mutex_};
    if (const auto now = clock_(); now >= resynced_at_ + spread_) {
      doubtful_.clear();
      resynced_at_ = now;  // a resync within that time puts nothing off
    }
    rows_.merge(doubtful_);
    doubtful_ = std::exchange(rows_, {});
  }

  [[nodiscard]] syncbus::Duration its_time(const std::string& key) const {
    const auto drawn = std::hash<std::string>{}(key) ^ bus_.id().value;  // another one on each node
    return syncbus::Duration{static_cast<syncbus::Duration::rep>(drawn % static_cast<std::size_t>(spread_.count()))};
  }

  B& bus_;
  Database& database_;
  const syncbus::Duration spread_;
  const Clock clock_;
  syncbus::FillGuard guard_;
  std::mutex mutex_;
  std::map<std::string, std::string> rows_;
  std::map<std::string, std::string> doubtful_;
  syncbus::TimePoint resynced_at_{};
  syncbus::Subscription subscription_;  // last: its handlers use everything above
};
// [end]

constexpr std::size_t node_count = 29;
constexpr std::size_t key_count = 20;

struct Node {
  Node(syncbus::InMemoryHub& hub, Database& database)
      : bus{hub}, cache{bus, database, std::chrono::seconds{1}, [&hub] { return hub.now(); }} {}

  syncbus::InMemoryBus bus;
  SpreadCache<syncbus::InMemoryBus> cache;
};

}  // namespace

int main() {
  Database database;
  syncbus::InMemoryHub hub;
  std::vector<std::unique_ptr<Node>> nodes;
  for (std::size_t i = 0; i != node_count; ++i) nodes.push_back(std::make_unique<Node>(hub, database));
  const auto read_everything = [&] {
    const int before = database.reads();
    for (const auto& node : nodes) {
      for (std::size_t key = 0; key != key_count; ++key) static_cast<void>(node->cache.get(std::to_string(key)));
    }
    return database.reads() - before;
  };
  const int all = read_everything();

  bool all_right = !nodes.front()->bus.publish_all();  // every node hears a resync
  int sum = 0;
  int most = 0;
  for (int tenth = 0; tenth != 11; ++tenth) {
    const int reads = read_everything();
    std::printf("after %4d ms: %3d reads\n", tenth * 100, reads);
    sum += reads;
    most = (std::max)(most, reads);
    if (tenth == 5) {  // what is known to have changed is not put off
      database.write("3", "new");
      all_right = all_right && !nodes.front()->bus.publish("3") && nodes.back()->cache.get("3") == "new";
    }
    hub.advance(std::chrono::milliseconds{100});
  }
  std::printf("of %d entries; without the spread all were read at once\n", all);
  all_right = all_right && sum >= all && most <= all / 4;
  return all_right ? 0 : 1;
}
