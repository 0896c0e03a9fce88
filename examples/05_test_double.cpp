// A test double: a bus that notes what a service publishes, answers as a test likes, and lets the service hear what the
// test says. How to try it: run it; it exits with 1 if a check fails.
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/bus.hpp>
#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>

#include "user_cache.hpp"

namespace {

// [readme: test_double]
/// A node within keeps the subscribers, so handlers, scopes and mailboxes are the real ones.
class RecordingBus : public syncbus::BusFacade<RecordingBus> {
 public:
  struct Published {
    syncbus::EventType type;
    std::string key;
    std::uint64_t version;
    bool awaited;
  };

  std::vector<Published> published;
  std::error_code publish_error{};  // what publishes answer, and awaits: after an error nothing was published
  std::error_code await_error{};

  /// As if another node had published it.
  void hear(std::string_view key, syncbus::PublishOptions options = {}) {
    static_cast<void>(other_.publish(key, options));
  }

  std::error_code submit(const syncbus::Submission& what) noexcept { return note(what, publish_error, false); }
  syncbus::AwaitOutcome await(const syncbus::Submission& what, syncbus::Quorum, const syncbus::AwaitOptions&) {
    const auto error = note(what, await_error, true);
    return {.error = error, .published = !error};
  }
  void async_await(const syncbus::Submission& what, syncbus::Quorum quorum, const syncbus::AwaitOptions& options,
                   syncbus::Completion completion) {
    completion(await(what, quorum, options));
  }
  syncbus::Subscription attach(const syncbus::Interest& interest, syncbus::Subscriber subscriber) {
    return within_.attach(interest, std::move(subscriber));
  }

  std::error_code flush(syncbus::Duration) { return publish_error; }
  std::error_code close(syncbus::Duration timeout) { return within_.close(timeout); }
  syncbus::Metrics metrics() const { return {.published = published.size()}; }
  bool is_healthy() const noexcept { return !publish_error; }
  syncbus::Duration staleness() const { return {}; }
  std::vector<syncbus::Peer> peers() const { return {}; }
  syncbus::NodeId id() const noexcept { return within_.id(); }

 private:
  std::error_code note(const syncbus::Submission& what, std::error_code error, bool awaited) {
    if (error) return error;
    for (const auto key : what.keys) published.push_back({what.type, std::string{key}, what.version, awaited});
    if (what.keys.empty()) published.push_back({what.type, {}, what.version, awaited});  // publish_all
    return within_.submit(what);
  }

  syncbus::InMemoryHub hub_;
  syncbus::InMemoryBus within_{hub_};
  syncbus::InMemoryBus other_{hub_};
};

static_assert(syncbus::Bus<RecordingBus>);
// [end]

int failures = 0;

void check(bool condition, const char* what) {
  std::printf("%s: %s\n", condition ? "ok" : "FAILED", what);
  failures += condition ? 0 : 1;
}

void a_write_is_published_with_its_version() {
  Database database;
  RecordingBus bus;
  UserCache cache{bus, database};
  check(!cache.set("user:1", "Ann") && !cache.set("user:1", "Anna"), "two writes");
  check(bus.published.size() == 2, "two events");
  check(bus.published.back().type == syncbus::EventType::set && bus.published.back().version == 2,
        "the second sets version 2");
}

void what_others_wrote_is_read_again() {
  Database database;
  RecordingBus bus;
  UserCache cache{bus, database};
  check(!cache.set("user:1", "Ann") && cache.get("user:1") == "Ann", "the cache keeps what it wrote");
  bus.hear("user:1", {.type = syncbus::EventType::set, .version = database.write("user:1", "Eva").version});
  check(cache.get("user:1") == "Eva", "and drops it when another node wrote");
}

void an_await_that_is_refused_is_published_all_the_same() {
  Database database;
  RecordingBus bus;
  UserCache cache{bus, database};
  bus.await_error = syncbus::Errc::too_many_awaits;
  const auto outcome = cache.set_and_await("user:1", "Ann", 2);
  check(outcome.error == syncbus::Errc::too_many_awaits, "the writer hears that nobody was waited for");
  check(bus.published.size() == 1 && !bus.published.front().awaited, "the others hear of the write");
}

}  // namespace

int main() {
  a_write_is_published_with_its_version();
  what_others_wrote_is_read_again();
  an_await_that_is_refused_is_published_all_the_same();
  return failures == 0 ? 0 : 1;
}
