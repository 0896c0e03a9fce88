// Several threads publish, subscribe and unsubscribe at once: a subscriber that stays hears everything, in order.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::Event, syncbus::Resync;

namespace {

/// Checks, in a handler, that the versions of each of a few keys arrive as 1, 2, 3 …
struct InOrder {
  std::array<std::atomic<std::uint64_t>, 4> last{};
  std::atomic<std::size_t> heard = 0;
  std::atomic<bool> disorder = false;
  std::atomic<int> resyncs = 0;

  auto on_event() {
    return [this](const Event& event) {
      auto& expected = last[static_cast<std::size_t>(event.key.back() - '0')];
      if (event.version != ++expected) disorder = true;
      ++heard;
    };
  }
  auto on_resync() {
    return [this](const Resync&) { ++resyncs; };
  }
};

std::string key_of(std::size_t publisher) { return "stream-" + std::to_string(publisher); }

}  // namespace

CONTRACT_TEST_CASE("several threads publish, subscribe and unsubscribe at once", "[contract][threads]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  InOrder stable;
  const auto subscription = listener->subscribe_prefix("stream-", stable.on_event(), stable.on_resync());
  constexpr std::uint64_t rounds = 400;
  std::atomic<int> failures = 0;
  std::atomic<bool> done = false;
  {
    std::vector<std::jthread> churning;
    for (int i = 0; i != 2; ++i) {
      churning.emplace_back([&, i] {
        std::atomic<int> calls = 0;
        const auto count = [&calls](const Event&) { ++calls; };
        while (!done) {
          const auto exact = listener->subscribe(key_of(static_cast<std::size_t>(i)), count);
          const auto prefix = listener->subscribe_prefix("stream", count, [](const Resync&) {});
          const auto local = publisher->subscribe(key_of(1), count);
          auto box = listener->subscribe_all({.capacity = 2});
          static_cast<void>(box.try_receive());
        }
      });
    }
    std::vector<std::jthread> publishing;
    for (std::size_t i = 0; i != 2; ++i) {
      publishing.emplace_back([&, i] {
        for (std::uint64_t version = 1; version <= rounds; ++version) {
          if (publisher->publish(key_of(i), {.version = version})) ++failures;
        }
      });
    }
    publishing.clear();
    done = true;
  }
  CHECK(failures == 0);
  CHECK(eventually([&] { return stable.heard >= 2 * rounds; }));
  CHECK(stable.heard == 2 * rounds);
  CHECK_FALSE(stable.disorder);
  CHECK(stable.resyncs == 0);
}

CONTRACT_TEST_CASE("several nodes publish from several threads, and each hears all of each, in order",
                   "[contract][threads]", Clusters) {
  const std::array nodes{fixture.node(), fixture.node(), fixture.node()};
  std::array<InOrder, 3> heard;
  std::vector<syncbus::Subscription> subscriptions;
  for (std::size_t i = 0; i != nodes.size(); ++i) {
    subscriptions.push_back(nodes[i]->subscribe_all(heard[i].on_event(), heard[i].on_resync()));
  }
  constexpr std::uint64_t rounds = 300;
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i != nodes.size(); ++i) {
      threads.emplace_back([&, i] {
        for (std::uint64_t version = 1; version <= rounds; ++version) {
          if (nodes[i]->publish(key_of(i), {.version = version})) ++failures;
        }
      });
    }
  }
  CHECK(failures == 0);
  for (const InOrder& each : heard) {
    CHECK(eventually([&] { return each.heard >= 3 * rounds; }));
    CHECK_FALSE(each.disorder);
    CHECK(each.resyncs == 0);
  }
}

CONTRACT_TEST_CASE("after unsubscribe returned, the handler never runs again, whoever publishes", "[contract][threads]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  std::atomic<int> late = 0;
  {
    const std::jthread publishing{[&](const std::stop_token& stop) {
      while (!stop.stop_requested()) static_cast<void>(publisher->publish("k"));
    }};
    for (int round = 0; round != 200; ++round) {
      auto alive = std::make_unique<std::atomic<bool>>(true);  // freed at once: a late call is a use after free
      auto subscription = listener->subscribe("k", [&late, flag = alive.get()](const Event&) {
        if (!*flag) ++late;
      });
      subscription.unsubscribe();
      *alive = false;
    }
  }
  CHECK(late == 0);
}

CONTRACT_TEST_CASE("nodes come and go while others publish", "[contract][threads]", ThatKeepWhatIsUnread) {
  const auto publisher = fixture.node({.send_wait = support::patience});  // nothing joins, however busy the broker
  const auto steady = fixture.node();
  InOrder heard;
  const auto subscription = steady->subscribe_prefix("stream-", heard.on_event(), heard.on_resync());
  std::atomic<std::uint64_t> published = 0;
  {
    const std::jthread publishing{[&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        if (publisher->publish(key_of(0), {.version = published + 1})) return;
        ++published;
      }
    }};
    for (int round = 0; round != 10; ++round) {
      const auto guest = fixture.node();
      Heard guest_heard;
      const auto a = guest->subscribe_all(guest_heard.on_event(), guest_heard.on_resync());
      CHECK_FALSE(guest->publish("guest"));
      CHECK(eventually([&] { return guest_heard.count() > 1; }));  // its own, and others'
    }
  }
  CHECK(eventually([&] { return heard.heard >= published; }));
  CHECK_FALSE(heard.disorder);
  CHECK(heard.resyncs == 0);
}

// cnats takes a signal that interrupts its poll() for a broken connection.
CONTRACT_TEST_CASE("a signal that any thread of a node gets ends no session", "[contract][threads]", Brokers) {
  const auto threads = [] {
    std::set<std::string> ids;
    for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task"}) {
      ids.insert(thread.path().filename());
    }
    return ids;
  };
  struct sigaction counting {}, before {};
  counting.sa_handler = [](int) {};
  counting.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR1, &counting, &before);
  {
    const auto others = threads();
    const auto a = fixture.node();
    const auto b = fixture.peer_of(a);
    for (int i = 0; i != 10; ++i) {
      for (const std::string& id : threads()) {
        if (!others.contains(id)) ::syscall(SYS_tgkill, ::getpid(), std::stoi(id), SIGUSR1);
      }
      REQUIRE(caught_up(*a, *b));
      REQUIRE(caught_up(*b, *a));
    }
    CHECK(a->metrics().reconnects + b->metrics().reconnects == 0);
  }
  ::sigaction(SIGUSR1, &before, nullptr);
}
