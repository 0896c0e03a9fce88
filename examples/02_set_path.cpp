// The Set path: a node that writes keeps its copy, the others drop theirs, and no load in flight brings the old value
// back. How to try it: run it; it tells what it does, and exits with 1 if something went otherwise.
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>

#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "user_cache.hpp"

namespace {

bool all_right = true;

void expect(const char* what, const std::string& value, const std::string& expected, const Database& database,
            int reads) {
  std::printf("%-68s %-5s after %d reads of the database\n", what, value.c_str(), database.reads());
  all_right = all_right && value == expected && database.reads() == reads;
}

void write(UserCache<syncbus::InMemoryBus>& cache, const std::string& key, const std::string& value) {
  if (const auto error = cache.set(key, value)) {
    // The row is written, but nobody else was told: a service retries the publish, or says that it cannot go on.
    std::printf("%s\n", error.message().c_str());
    all_right = false;
  }
}

/// What came of a write that waits until other nodes have dropped what they had.
void expect(const char* what, const syncbus::AwaitOutcome& outcome, std::size_t replicas, bool enough) {
  std::printf("%-68s       after %zu acknowledgements: %s\n", what, outcome.replicas.size(),
              outcome.error ? outcome.error.message().c_str() : "the quorum is satisfied");
  all_right = all_right && outcome.replicas.size() == replicas && !outcome.error == enough;
}

}  // namespace

int main() {
  Database database;
  syncbus::InMemoryHub hub;
  syncbus::InMemoryBus bus_a{hub};
  syncbus::InMemoryBus bus_b{hub};
  UserCache a{bus_a, database};
  UserCache b{bus_b, database};

  write(a, "user:1", "Ann");
  expect("a wrote Ann; a has it without a read:", a.get("user:1"), "Ann", database, 0);
  expect("b has to read it:", b.get("user:1"), "Ann", database, 1);

  write(a, "user:1", "Anna");
  expect("a wrote Anna; b has heard and reads again:", b.get("user:1"), "Anna", database, 2);

  write(b, "user:1", "Anne");
  database.while_answering([&] { write(b, "user:1", "Hanna"); });
  expect("b wrote Anne, and Hanna while a's read of Anne was under way:", a.get("user:1"), "Anne", database, 3);
  expect("a did not keep what was old when it arrived:", a.get("user:1"), "Hanna", database, 4);

  expect("a wrote Ada and waited for one other node:", a.set_and_await("user:1", "Ada", 1), 1, true);
  expect("b has to read it:", b.get("user:1"), "Ada", database, 5);
  hub.partition({bus_a.id()});
  expect("a is cut off, wrote Eva and waited for one other node:", a.set_and_await("user:1", "Eva", 1), 0, false);
  expect("b does not know of it:", b.get("user:1"), "Ada", database, 5);
  hub.heal();
  hub.advance(std::chrono::seconds{1});
  expect("the partition has ended; b has heard and reads again:", b.get("user:1"), "Eva", database, 6);

  std::puts(all_right ? "as it should be" : "NOT as it should be");
  return all_right ? 0 : 1;
}
