// A unit test of a cache: three nodes on a hub in one process, no broker, no sleep. How to try it: run it; it exits
// with 1 if a check fails. The checks are a function of three lines here; in a service they are those of its test
// framework.
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
  a_resync_empties_the_cache();
  return failures == 0 ? 0 : 1;
}
