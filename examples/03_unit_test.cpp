// A unit test of a cache: three nodes on a hub in one process, and a partition; no broker, no sleep. How to try it: run
// it; it exits with 1 if a check fails. The checks are a function of three lines here; in a service they are those of
// its test framework.
#include <chrono>
#include <cstdio>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "user_cache.hpp"

namespace {

int failures = 0;

void check(bool condition, const char* what) {
  std::printf("%s: %s\n", condition ? "ok" : "FAILED", what);
  failures += condition ? 0 : 1;
}

// [readme: unit_test]
struct TestNode {
  TestNode(syncbus::InMemoryHub& hub, Database& database) : bus{hub}, cache{bus, database} {}

  syncbus::InMemoryBus bus;
  UserCache<syncbus::InMemoryBus> cache;
};

void a_write_on_one_node_is_read_on_all() {
  Database database;
  syncbus::InMemoryHub hub;
  TestNode a{hub, database};
  TestNode b{hub, database};
  TestNode c{hub, database};

  check(b.cache.get("user:42").empty() && c.cache.get("user:42").empty(), "b and c cache that there is nothing");
  check(!a.cache.set("user:42", "Ann"), "a writes");  // when set returns, b and c have heard
  check(b.cache.get("user:42") == "Ann", "b reads the new value");
  check(c.cache.get("user:42") == "Ann", "c reads the new value");
}

void a_node_that_was_cut_off_learns_what_it_missed() {
  Database database;
  syncbus::InMemoryHub hub;
  TestNode a{hub, database};
  TestNode b{hub, database};
  TestNode c{hub, database};
  check(a.cache.get("user:42").empty() && c.cache.get("user:42").empty(), "a and c cache that there is nothing");

  hub.partition({a.bus.id()});
  check(!b.cache.set("user:42", "Ann"), "b writes while a is cut off");
  check(c.cache.get("user:42") == "Ann", "c reads the new value");
  check(a.cache.get("user:42").empty(), "a does not know of it");
  const auto outcome = b.cache.set_and_await("user:42", "Anna", 2);  // two other nodes; there is only c
  check(outcome.error == syncbus::Errc::quorum_not_satisfied && outcome.replicas.size() == 1, "one node is no quorum");
  check(a.bus.staleness() >= std::chrono::milliseconds{500}, "a says how far behind it may be");

  hub.heal();
  hub.advance(std::chrono::seconds{1});  // of the hub's own time: it takes none
  check(a.cache.get("user:42") == "Anna", "a reads the new value");
  const auto metrics = a.bus.metrics();
  check(metrics.frames_repaired == 2, "what a had missed was sent again");
  check(metrics.resyncs_by(syncbus::ResyncCause::unrepairable) == 0, "so its cache was not cleared");
}
// [end]

void a_resync_empties_the_cache() {
  Database database;
  syncbus::InMemoryHub hub;
  TestNode a{hub, database};
  TestNode b{hub, database};

  check(!a.cache.set("user:42", "Ann") && b.cache.get("user:42") == "Ann", "b caches what a wrote");
  const int reads = database.reads();
  check(!a.bus.publish_all() && b.cache.get("user:42") == "Ann", "after a resync b still reads it");
  check(database.reads() == reads + 1, "but from the database");
}

}  // namespace

int main() {
  a_write_on_one_node_is_read_on_all();
  const auto begin = std::chrono::steady_clock::now();
  a_node_that_was_cut_off_learns_what_it_missed();
  const auto took = std::chrono::steady_clock::now() - begin;
  std::printf("the partition took %lld microseconds\n",
              static_cast<long long>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  a_resync_empties_the_cache();
  return failures == 0 ? 0 : 1;
}
