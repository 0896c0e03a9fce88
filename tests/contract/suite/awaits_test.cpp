// How an await ends: satisfied, impossible, too late, canceled, closed, refused beforehand; always, and once.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/in_memory_hub.hpp>

#include "contract/fixtures/crank.hpp"
#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/outcomes.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::AwaitOptions, syncbus::AwaitOutcome, syncbus::Errc, syncbus::Event, syncbus::EventType, syncbus::Quorum,
    syncbus::Resync, syncbus::Scope;

namespace {

/// A peer that subscribes to everything and answers no await before its crank is turned.
struct Withholding {
  explicit Withholding(Fixture& fixture)
      : node{fixture.node({.executor = crank.post()})},
        subscription{node->subscribe_all(heard.on_event(), heard.on_resync())} {}

  /// Waits until an event has reached it.
  [[nodiscard]] bool holds_one() const {
    return eventually([this] { return crank.waiting() != 0; });
  }

  Crank crank;
  Heard heard;
  AnyNode node;
  syncbus::Subscription subscription;
};

AwaitOptions stopped_by(const std::stop_source& stop) {
  AwaitOptions options = much_longer;
  options.stop_token = stop.get_token();
  return options;
}

}  // namespace

CONTRACT_TEST_CASE("a node is no replica before its handler has returned", "[contract]", ClustersOfAnyTime) {
  const auto publisher = fixture.node(), prompt = fixture.node();
  const auto subscription = prompt->subscribe("k", ignore);
  Withholding slow{fixture};
  Outcomes outcomes;
  publisher->async_publish_and_await("k", 2, much_longer, outcomes.completion());
  REQUIRE(slow.holds_one());
  let_pass(100ms);  // long enough for it to be asked what it waits for
  CHECK(outcomes.count() == 0);
  REQUIRE(eventually([&] {
    slow.crank.turn();
    return outcomes.count() == 1;
  }));
  CHECK_FALSE(outcomes.all().front().error);
  CHECK(replicas_of(outcomes.all().front()) == ids_of(prompt, slow.node));
}

CONTRACT_TEST_CASE("an await that is not satisfied ends at its deadline, and names who answered", "[contract]",
                   InRealTime) {
  const auto publisher = fixture.node(), prompt = fixture.node();
  const auto subscription = prompt->subscribe("k", ignore);
  Withholding slow{fixture};
  const auto begin = fixture.now();
  const auto outcome = publisher->publish_and_await("k", 2, {.timeout = 3s});  // in which the prompt one has answered
  CHECK(fixture.now() - begin >= 3s);
  CHECK(outcome.error == Errc::quorum_not_satisfied);
  CHECK(outcome.published);
  CHECK(replicas_of(outcome) == ids_of(prompt));
  CHECK(publisher->metrics().quorums_not_satisfied == 1);
  REQUIRE(eventually([&] {  // it was broadcast all the same
    slow.crank.turn();
    return slow.heard.contains("invalidate k");
  }));
}

using InVirtualTime = std::tuple<Alone, OnHub>;

CONTRACT_TEST_CASE("a timeout of zero takes what is known when time would have to pass", "[contract]", InVirtualTime) {
  const auto bus = fixture.node();
  const auto subscription = bus->subscribe("k", ignore);
  CHECK_FALSE(bus->publish_and_await("k", 1, {.timeout = 0s}).error);
  CHECK(bus->publish_and_await("k", 2, {.timeout = 0s}).error == Errc::quorum_not_satisfied);
}

CONTRACT_TEST_CASE("an await that has become impossible ends long before its deadline", "[contract]",
                   ClustersOfAnyTime) {
  const auto publisher = fixture.node(), listener = fixture.node(), bystander = fixture.node();
  const auto mute = fixture.node({.publish_only = true});
  const auto subscription = listener->subscribe("k", ignore);
  const auto begin = fixture.now();
  const auto outcome = publisher->publish_and_await("k", 2, {.timeout = 10min});
  CHECK(fixture.now() - begin < 20s);
  CHECK(outcome.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(outcome) == ids_of(listener));
}

CONTRACT_TEST_CASE("a stop that was requested before the call broadcasts nothing", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_prefix("k", heard.on_event(), heard.on_resync());
  std::stop_source stop;
  stop.request_stop();
  CHECK(publisher->publish_and_await("k", 1, stopped_by(stop)).error == Errc::canceled);
  CHECK(publisher->publish_and_await({"k", "k2"}, 1, stopped_by(stop)).error == Errc::canceled);
  Outcomes outcomes;
  publisher->async_publish_and_await("k", 1, stopped_by(stop), outcomes.completion());
  CHECK(outcomes.count() == 1);
  CHECK(outcomes.all().front().error == Errc::canceled);
  CHECK_FALSE(outcomes.all().front().published);
  CHECK(publisher->metrics().published == 0);
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.count() == 0);
}

CONTRACT_TEST_CASE("a stop ends an await that waits, whose event was broadcast", "[contract][threads]",
                   ClustersOfAnyTime) {
  const auto publisher = fixture.node(), prompt = fixture.node();
  const auto subscription = prompt->subscribe("k", ignore);
  Withholding slow{fixture};
  std::stop_source stop;
  Outcomes outcomes;
  publisher->async_publish_and_await("k", 2, stopped_by(stop), outcomes.completion());
  REQUIRE(slow.holds_one());
  REQUIRE(eventually([&] { return publisher->metrics().acknowledgements_received != 0; }));
  AwaitOutcome waited_for;
  {
    const std::jthread waiting{[&] { waited_for = publisher->publish_and_await("k", 2, stopped_by(stop)); }};
    CHECK(eventually([&] { return publisher->metrics().published == 2; }));
    stop.request_stop();
  }
  CHECK(waited_for.error == Errc::canceled);
  CHECK(waited_for.published);
  REQUIRE(eventually([&] { return outcomes.count() == 1; }));
  CHECK(outcomes.all().front().error == Errc::canceled);
  CHECK(outcomes.all().front().published);
  CHECK(replicas_of(outcomes.all().front()) == ids_of(prompt));
  REQUIRE(eventually([&] {
    slow.crank.turn();
    return slow.heard.count("invalidate k") >= 1;
  }));
}

CONTRACT_TEST_CASE("a stop ends an await that was made inside a handler, before its event is heard there", "[contract]",
                   Everything) {
  const auto bus = fixture.node();
  Outcomes outcomes;
  std::stop_source stop;
  std::atomic<int> calls = 0;
  const auto subscription = bus->subscribe("k", [&](const Event&) {
    if (++calls != 1) return;
    bus->async_publish_and_await("k", 1, stopped_by(stop), outcomes.completion());
    stop.request_stop();
  });
  CHECK_FALSE(bus->publish("k"));
  REQUIRE(eventually([&] { return outcomes.count() == 1; }));
  CHECK(outcomes.all().front().error == Errc::canceled);
  CHECK(outcomes.all().front().published);
  CHECK(eventually([&] { return calls == 2; }));
  CHECK(outcomes.count() == 1);
}

CONTRACT_TEST_CASE("close ends every await, and completions are called once", "[contract][threads]",
                   ClustersOfAnyTime) {
  const auto publisher = fixture.node();
  Withholding slow{fixture};
  Outcomes outcomes;
  AwaitOutcome waited_for;
  {
    const std::jthread waiting{[&] { waited_for = publisher->publish_and_await("k", 1, much_longer); }};
    CHECK(slow.holds_one());
    for (int i = 0; i != 10; ++i) {
      publisher->async_publish_and_await(std::to_string(i), 1, much_longer, outcomes.completion());
    }
    CHECK(outcomes.count() == 0);
    CHECK_FALSE(publisher->close(support::patience));
    CHECK(outcomes.count() == 10);
  }
  CHECK(waited_for.error == Errc::closed);
  CHECK(waited_for.published);
  for (const auto& outcome : outcomes.all()) {
    CHECK(outcome.error == Errc::closed);
    CHECK(outcome.published);
  }
  const auto late = publisher->publish_and_await("k", 1, much_longer);
  CHECK(late.error == Errc::closed);
  CHECK_FALSE(late.published);
  publisher->async_publish_and_await("k", 1, much_longer, outcomes.completion());
  CHECK(outcomes.count() == 11);
  while (slow.crank.turn()) {
  }
  CHECK(outcomes.count() == 11);
}

CONTRACT_TEST_CASE("what is wrong with an await is known beforehand, and nothing is broadcast", "[contract]",
                   Everything) {
  const auto bus = fixture.node();
  Heard heard;
  const auto subscription = bus->subscribe_all(heard.on_event(), heard.on_resync());
  const auto error = [&](const auto& what, Quorum quorum, AwaitOptions options = patiently) {
    const auto outcome = bus->publish_and_await(what, quorum, std::move(options));
    CHECK_FALSE(outcome.published);
    return outcome.error;
  };
  CHECK(error("k", -1) == Errc::invalid_argument);
  CHECK(error("k", Quorum::zones(-2)) == Errc::invalid_argument);
  CHECK(error(std::vector<std::string>{}, 1) == Errc::invalid_argument);
  CHECK(error("", 1) == Errc::invalid_key);
  CHECK(error(std::string(5'000, 'x'), 1) == Errc::invalid_key);
  CHECK(error(std::vector<std::string>{"k", ""}, 1) == Errc::invalid_key);
  for (const EventType type : {EventType::resync, EventType::lease_revoked}) {
    CHECK(error("k", 1, {.publish = {.type = type}}) == Errc::invalid_argument);
  }
  CHECK(bus->revoke_lease_and_await("", 1).error == Errc::invalid_key);
  CHECK(bus->revoke_lease_and_await("l", -1).error == Errc::invalid_argument);

  Outcomes outcomes;  // the same without blocking: told before the call returns
  bus->async_publish_and_await("k", -1, patiently, outcomes.completion());
  bus->async_publish_and_await({"k", ""}, 1, patiently, outcomes.completion());
  bus->async_publish_and_await("k", 1, {.publish = {.type = EventType::resync}}, outcomes.completion());
  REQUIRE(outcomes.count() == 3);
  CHECK(outcomes.all()[0].error == Errc::invalid_argument);
  CHECK(outcomes.all()[1].error == Errc::invalid_key);
  CHECK(outcomes.all()[2].error == Errc::invalid_argument);
  for (const auto& outcome : outcomes.all()) CHECK_FALSE(outcome.published);
  const std::function<void(AwaitOutcome)> null;
  CHECK(thrown_by([&] { bus->async_publish_and_await("k", 1, patiently, null); }) == Errc::invalid_argument);

  CHECK(bus->metrics().published == 0);
  CHECK(heard.count() == 0);
}

CONTRACT_TEST_CASE("inside a handler an await would deadlock, unless it does not block", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Outcomes refused, outcomes;
  const auto own = publisher->subscribe("answer", ignore);
  const auto subscription = listener->subscribe("question", [&](const Event&) {
    refused.completion()(listener->publish_and_await("answer", 1, patiently));
    refused.completion()(publisher->revoke_lease_and_await("answer", 1, patiently));
    listener->async_publish_and_await("answer", 1, patiently, outcomes.completion());
  });
  CHECK_FALSE(publisher->publish("question"));
  REQUIRE(fixture.in_time([&] { return outcomes.count() == 1; }));
  CHECK_FALSE(outcomes.all().front().error);
  CHECK(replicas_of(outcomes.all().front()) == ids_of(publisher));
  REQUIRE(refused.count() == 2);
  CHECK(outcomes.all().front().published);
  for (const auto& outcome : refused.all()) {
    CHECK(outcome.error == Errc::would_deadlock);
    CHECK_FALSE(outcome.published);
  }
  CHECK(publisher->metrics().published + (listener == publisher ? 0 : listener->metrics().published) == 2);
}

CONTRACT_TEST_CASE("an await inside a handler of its own key counts the handlers of its own event", "[contract]",
                   Everything) {
  const auto bus = fixture.node();
  Outcomes outcomes;
  std::atomic<int> calls = 0;
  const auto subscription = bus->subscribe("k", [&](const Event& event) {
    if (++calls == 1) bus->async_publish_and_await(event.key, 1, patiently, outcomes.completion());
    if (outcomes.count() != 0) throw std::runtime_error{"completed before its handler returned"};
  });
  CHECK_FALSE(bus->publish("k"));
  REQUIRE(fixture.in_time([&] { return outcomes.count() == 1; }));
  CHECK_FALSE(outcomes.all().front().error);
  CHECK(calls == 2);
}

CONTRACT_TEST_CASE("a completion may publish, await and throw, and is called once", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  const auto subscription = listener->subscribe_prefix("k", ignore, [](const Resync&) {});
  Outcomes outcomes;
  std::atomic<int> calls = 0;
  publisher->async_publish_and_await("k1", 1, patiently, [&](const AwaitOutcome&) {
    ++calls;
    publisher->async_publish_and_await("k2", 1, patiently, outcomes.completion());
    throw std::runtime_error{"no"};
  });
  REQUIRE(fixture.in_time([&] { return outcomes.count() == 1; }));
  CHECK_FALSE(outcomes.all().front().error);
  REQUIRE(fixture.in_time([&] { return publisher->metrics().handler_errors == 1; }));
  CHECK(calls == 1);
}

CONTRACT_TEST_CASE("a publish_only bus cannot await, and is no peer that an await waits for", "[contract]", Clusters) {
  const auto mute = fixture.node({.publish_only = true}), listener = fixture.node(), publisher = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  CHECK(mute->publish_and_await("k", 1, patiently).error == Errc::quorum_unsupported);
  CHECK(mute->publish_and_await("k", Quorum::everyone(), patiently).error == Errc::quorum_unsupported);
  CHECK(mute->revoke_lease_and_await("k", 1, patiently).error == Errc::quorum_unsupported);
  Outcomes outcomes;
  mute->async_publish_and_await("k", 1, patiently, outcomes.completion());
  REQUIRE(outcomes.count() == 1);
  CHECK(outcomes.all().front().error == Errc::quorum_unsupported);
  CHECK_FALSE(outcomes.all().front().published);
  CHECK(mute->metrics().published == 0);
  REQUIRE(caught_up(*mute, *listener));
  CHECK(heard.count("invalidate k") == 0);
  CHECK_FALSE(publisher->publish_and_await("k", Quorum::everyone(), patiently).error);
}

CONTRACT_TEST_CASE("beyond max_awaits an await is refused and its event not published", "[contract]",
                   ClustersOfAnyTime) {
  const auto publisher = fixture.node({.max_awaits = 2});
  Withholding slow{fixture};
  Outcomes outcomes, refused;
  for (const auto key : {"k1", "k2"}) {
    publisher->async_publish_and_await(key, 1, much_longer, outcomes.completion());
  }
  publisher->async_publish_and_await("k3", 1, much_longer, refused.completion());
  CHECK(publisher->publish_and_await("k3", 1, much_longer).error == Errc::too_many_awaits);
  REQUIRE(refused.count() == 1);
  CHECK(refused.all().front().error == Errc::too_many_awaits);
  CHECK_FALSE(refused.all().front().published);
  CHECK(publisher->metrics().published == 2);
  CHECK(outcomes.count() == 0);
  REQUIRE(eventually([&] {
    slow.crank.turn();
    return outcomes.count() == 2;
  }));
  for (const auto& outcome : outcomes.all()) CHECK_FALSE(outcome.error);
  CHECK(slow.heard.lines() == Lines{"invalidate k1", "invalidate k2"});
  publisher->async_publish_and_await("k3", 1, much_longer, outcomes.completion());
  REQUIRE(eventually([&] {
    slow.crank.turn();
    return outcomes.count() == 3;
  }));
}

CONTRACT_TEST_CASE("awaits and their answers are counted", "[contract]", Clusters) {
  const auto publisher = fixture.node(), listener = fixture.node();
  const auto subscription = listener->subscribe("k", ignore);
  for (int i = 0; i != 5; ++i) CHECK_FALSE(publisher->publish_and_await("k", 1, patiently).error);
  CHECK(publisher->publish_and_await("other", 1, much_longer).error == Errc::quorum_not_satisfied);
  const auto sent = publisher->metrics(), received = listener->metrics();
  CHECK(sent.quorums_satisfied == 5);
  CHECK(sent.quorums_not_satisfied == 1);
  CHECK(sent.acknowledgements_received >= 6);
  CHECK(sent.acknowledgement_latency.count == 5);
  CHECK(received.acknowledgements_sent >= 6);
  CHECK(received.quorums_satisfied + received.quorums_not_satisfied == 0);
}

CONTRACT_TEST_CASE("eight threads await at once: each quorum is true when its call returns", "[contract][threads]",
                   ClustersOfAnyTime) {
  constexpr std::size_t threads = 8;
  constexpr std::uint64_t rounds = 40;
  using Seen = std::array<std::atomic<std::uint64_t>, threads>;
  const auto publisher = fixture.node(), x = fixture.node(), y = fixture.node();
  std::array<Seen, 2> seen{};
  const auto note = [](Seen& mine) {
    return [&mine](const Event& event) { mine[static_cast<std::size_t>(event.key[0] - '0')] = event.version; };
  };
  const auto a = x->subscribe_all(note(seen[0]), [](const Resync&) {});
  const auto b = y->subscribe_all(note(seen[1]), [](const Resync&) {});
  std::atomic<int> failed = 0, wrong = 0, early = 0;
  {
    std::vector<std::jthread> publishing;
    for (std::size_t i = 0; i != threads; ++i) {
      publishing.emplace_back([&, i] {
        AwaitOptions options = patiently;
        for (std::uint64_t version = 1; version <= rounds; ++version) {
          options.publish.version = version;
          const auto outcome = publisher->publish_and_await(std::to_string(i), 2, options);
          failed += outcome.error ? 1 : 0;
          wrong += replicas_of(outcome) == ids_of(x, y) ? 0 : 1;
          for (const Seen& each : seen) early += each[i] == version ? 0 : 1;
        }
      });
    }
  }
  CHECK(failed == 0);
  CHECK(wrong == 0);
  CHECK(early == 0);
  CHECK(publisher->metrics().quorums_satisfied == threads * rounds);
}

TEST_CASE("four threads await at once while frames are lost: each quorum is true when its call returns",
          "[contract][threads]") {
  OnHubInRealTime fixture;
  constexpr std::size_t threads = 4;
  constexpr std::uint64_t rounds = 25;
  using Seen = std::array<std::array<std::atomic<bool>, rounds + 1>, threads>;  // a repaired event may come late
  const auto publisher = fixture.node(), x = fixture.node(), y = fixture.node();
  std::array<Seen, 2> seen{};
  const auto note = [](Seen& mine) {
    return [&mine](const Event& event) { mine[static_cast<std::size_t>(event.key[0] - '0')][event.version] = true; };
  };
  std::vector<syncbus::Subscription> subscriptions;
  for (std::size_t key = 0; key != threads; ++key) {
    subscriptions.push_back(x->subscribe(std::to_string(key), note(seen[0])));
    subscriptions.push_back(y->subscribe(std::to_string(key), note(seen[1])));
  }
  fixture.hub().drop(0.2);
  std::atomic<int> failed = 0, wrong = 0, early = 0;
  {
    std::vector<std::jthread> publishing;
    for (std::size_t i = 0; i != threads; ++i) {
      publishing.emplace_back([&, i] {
        AwaitOptions options = patiently;
        for (std::uint64_t version = 1; version <= rounds; ++version) {
          options.publish.version = version;
          const auto outcome = publisher->publish_and_await(std::to_string(i), 2, options);
          failed += outcome.error ? 1 : 0;
          wrong += replicas_of(outcome) == ids_of(x, y) ? 0 : 1;
          for (const Seen& each : seen) early += each[i][version] ? 0 : 1;
        }
      });
    }
  }
  fixture.hub().drop(0);
  CHECK(failed == 0);
  CHECK(wrong == 0);
  CHECK(early == 0);
  CHECK(publisher->metrics().quorums_satisfied == threads * rounds);
  CHECK(x->metrics().frames_repaired + y->metrics().frames_repaired > 0);
}

CONTRACT_TEST_CASE("nodes that await each other from many threads all come to an end", "[contract][threads]",
                   ClustersOfAnyTime) {
  const std::array nodes{fixture.node(), fixture.node(), fixture.node()};
  std::vector<syncbus::Subscription> subscriptions;
  for (const auto& node : nodes) subscriptions.push_back(node->subscribe("same", ignore));
  std::atomic<int> failed = 0;
  {
    std::vector<std::jthread> publishing;
    for (int i = 0; i != 6; ++i) {
      publishing.emplace_back([&, node = nodes[static_cast<std::size_t>(i % 3)]] {
        for (int round = 0; round != 30; ++round) {
          failed += node->publish_and_await("same", 3, patiently).error ? 1 : 0;
        }
      });
    }
  }
  CHECK(failed == 0);
}

CONTRACT_TEST_CASE("an await outlives the death of the broker, and is satisfied when it is back", "[contract]",
                   Brokers) {
  const auto publisher = fixture.node(), listener = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe("k", heard.on_event());
  fixture.kill_broker();
  CHECK(eventually([&] { return !publisher->is_healthy() && !listener->is_healthy(); }));
  const auto in_vain = publisher->publish_and_await("k", 1, {.timeout = 50ms});
  CHECK(in_vain.error == Errc::quorum_not_satisfied);
  CHECK(in_vain.published);  // it goes out when the broker is back
  Outcomes outcomes;
  publisher->async_publish_and_await("k", 1, patiently, outcomes.completion());
  CHECK(outcomes.count() == 0);
  fixture.restart_broker();
  REQUIRE(eventually([&] { return outcomes.count() == 1; }, 2 * support::patience));
  CHECK_FALSE(outcomes.all().front().error);
  CHECK(replicas_of(outcomes.all().front()) == ids_of(listener));
  CHECK(heard.contains("invalidate k"));
}
