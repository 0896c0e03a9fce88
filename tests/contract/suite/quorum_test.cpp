// Who is a replica: nodes, zones and everyone, of one key and of several; and who is none.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/outcomes.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using syncbus::AwaitOptions, syncbus::Errc, syncbus::Event, syncbus::EventType, syncbus::NodeId, syncbus::Quorum,
    syncbus::Resync, syncbus::Scope;

namespace {

constexpr auto fail = [](const Event&) { throw std::runtime_error{"no"}; };
constexpr auto ignore_resync = [](const Resync&) {};

/// Waits for as long as an await may need that cannot succeed, and not for its deadline.
AwaitOptions in_scope(Scope scope) {
  AwaitOptions options = much_longer;
  options.publish.scope = scope;
  return options;
}

}  // namespace

CONTRACT_TEST_CASE("an await ends well when the handlers of so many nodes have returned", "[contract]",
                   ClustersOfAnyTime) {
  const auto publisher = fixture.node(), x = fixture.node(), y = fixture.node();
  std::atomic<int> returned = 0;
  const auto count = [&returned](const Event&) { ++returned; };
  const auto a = x->subscribe("k", count), b = y->subscribe_all(count, ignore_resync);
  for (int round = 1; round <= 20; ++round) {
    const auto outcome = publisher->publish_and_await("k", 2, patiently);
    CHECK(returned == 2 * round);
    CHECK_FALSE(outcome.error);
    CHECK(outcome.published);
    CHECK(replicas_of(outcome) == ids_of(x, y));
  }
}

CONTRACT_TEST_CASE("an await carries its event as a publish does", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe("k", heard.on_event());
  AwaitOptions options = patiently;
  options.publish = {.type = EventType::set, .version = 7};
  CHECK_FALSE(publisher->publish_and_await("k", 1, options).error);
  CHECK(heard.lines() == Lines{"set k v7"});
  CHECK(heard.origins().front() == publisher->id());
  CHECK(publisher->metrics().published == 1);
}

CONTRACT_TEST_CASE("fewer replicas than asked for are named all the same", "[contract]", Clusters) {
  const auto publisher = fixture.node(), x = fixture.node(), y = fixture.node();
  const auto a = x->subscribe("k", ignore), b = y->subscribe("other", ignore);
  const auto outcome = publisher->publish_and_await("k", 2, much_longer);
  CHECK(outcome.error == Errc::quorum_not_satisfied);
  CHECK(outcome.published);
  CHECK(replicas_of(outcome) == ids_of(x));
}

CONTRACT_TEST_CASE("a quorum of 0 reads as 1", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  CHECK(publisher->publish_and_await("k", 0, much_longer).error == Errc::quorum_not_satisfied);
  const auto subscription = listener->subscribe("k", ignore);
  CHECK_FALSE(publisher->publish_and_await("k", 0, patiently).error);
}

CONTRACT_TEST_CASE("an observer hears everything, and no quorum counts it or waits for it", "[contract]", Clusters) {
  const auto publisher = fixture.node();
  const auto watcher = fixture.node({.observer = true});
  std::atomic<int> returned = 0;
  const auto count = [&returned](const Event&) { ++returned; };
  const auto a = watcher->subscribe_all(count, ignore_resync);
  const auto nobody = publisher->publish_and_await("k", Quorum::everyone(), in_scope(Scope::remote));
  CHECK_FALSE(nobody.error);
  CHECK(nobody.replicas.empty());
  CHECK(publisher->publish_and_await("k", 1, in_scope(Scope::remote)).error == Errc::quorum_not_satisfied);
  const auto b = publisher->subscribe("k", count);
  const auto own = watcher->publish_and_await("k", 1, patiently);
  CHECK_FALSE(own.error);
  CHECK(replicas_of(own) == ids_of(publisher));
  CHECK(fixture.in_time([&] { return returned == 4; }));
}

CONTRACT_TEST_CASE("the publisher's own node is a replica when it subscribes and the scope includes it", "[contract]",
                   Clusters) {
  const auto publisher = fixture.node(), listener = fixture.node();
  const auto own = publisher->subscribe("k", ignore);
  Heard heard;
  const auto other = listener->subscribe_all(heard.on_event(), heard.on_resync());

  const auto all = publisher->publish_and_await("k", 2, in_scope(Scope::all));
  CHECK_FALSE(all.error);
  CHECK(replicas_of(all) == ids_of(publisher, listener));

  const auto remote = publisher->publish_and_await("k", 2, in_scope(Scope::remote));
  CHECK(remote.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(remote) == ids_of(listener));

  const auto unheard = publisher->publish_and_await("other", 2, in_scope(Scope::all));
  CHECK(unheard.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(unheard) == ids_of(listener));

  const auto history = publisher->metrics().history_bytes;
  const auto local = publisher->publish_and_await("k", 1, in_scope(Scope::local));
  CHECK_FALSE(local.error);
  CHECK(replicas_of(local) == ids_of(publisher));
  const auto too_many = publisher->publish_and_await("k", 2, in_scope(Scope::local));
  CHECK(too_many.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(too_many) == ids_of(publisher));
  CHECK(publisher->metrics().history_bytes == history);  // no frame was made of what nobody else is to hear
  CHECK(publisher->metrics().published == 5);
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.count("invalidate k") == 2);
}

TEST_CASE("alone, a node can only be its own replica", "[contract]") {
  Alone fixture;
  const auto bus = fixture.node({.zone = "z"});
  CHECK(bus->publish_and_await("k", 1, much_longer).error == Errc::quorum_not_satisfied);
  CHECK_FALSE(bus->publish_and_await("k", Quorum::everyone(), much_longer).error);
  Heard heard;
  const auto a = bus->subscribe("k", heard.on_event());
  const auto outcome = bus->publish_and_await("k", 1, much_longer);
  CHECK_FALSE(outcome.error);
  CHECK(replicas_of(outcome) == ids_of(bus));
  CHECK(heard.count() == 1);
  CHECK_FALSE(bus->publish_and_await("k", Quorum::zones(1), much_longer).error);
  CHECK(bus->publish_and_await("k", 2, much_longer).error == Errc::quorum_not_satisfied);
  CHECK(bus->publish_and_await("k", 1, in_scope(Scope::remote)).error == Errc::quorum_not_satisfied);
  const auto b = bus->subscribe("k", fail);
  CHECK(bus->publish_and_await("k", 1, much_longer).error == Errc::quorum_not_satisfied);
  CHECK(bus->metrics().quorums_satisfied == 3);
  CHECK(bus->metrics().quorums_not_satisfied == 4);
}

CONTRACT_TEST_CASE("a quorum of zones counts each zone once, and an empty one not at all", "[contract]", Clusters) {
  const auto publisher = fixture.node({.zone = "a"});
  const auto b1 = fixture.node({.zone = "b"}), b2 = fixture.node({.zone = "b"}), nowhere = fixture.node();
  std::vector<syncbus::Subscription> subscriptions;
  for (const auto& node : {b1, b2, nowhere}) subscriptions.push_back(node->subscribe_all(ignore, ignore_resync));
  subscriptions.push_back(publisher->subscribe("own", ignore));

  CHECK_FALSE(publisher->publish_and_await("k", Quorum::zones(1), patiently).error);
  const auto remote = publisher->publish_and_await("k", Quorum::zones(2), much_longer);
  CHECK(remote.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(remote) == ids_of(b1, b2, nowhere));

  CHECK_FALSE(publisher->publish_and_await("own", Quorum::zones(2), patiently).error);
  CHECK(publisher->publish_and_await("own", Quorum::zones(3), much_longer).error == Errc::quorum_not_satisfied);
  CHECK_FALSE(publisher->publish_and_await("own", 4, patiently).error);
}

CONTRACT_TEST_CASE("everyone: all peers that subscribe have applied it, and the others do not matter", "[contract]",
                   Clusters) {
  const auto publisher = fixture.node();
  CHECK_FALSE(publisher->publish_and_await("k", Quorum::everyone(), much_longer).error);

  auto x = fixture.node(), y = fixture.node();
  const auto bystander = fixture.node(), mute = fixture.node({.publish_only = true});
  REQUIRE(fixture.in_time([&] { return publisher->peers().size() == 4; }));  // everyone: of those it knows
  std::atomic<int> returned = 0;
  const auto count = [&returned](const Event&) { ++returned; };
  const auto a = x->subscribe("k", count), b = y->subscribe("k", count), c = x->subscribe("half", count),
             d = y->subscribe("half", fail);

  const auto all = publisher->publish_and_await("k", Quorum::everyone(), patiently);
  CHECK(returned == 2);
  CHECK_FALSE(all.error);
  CHECK(replicas_of(all) == ids_of(x, y));

  const auto half = publisher->publish_and_await("half", Quorum::everyone(), much_longer);
  CHECK(half.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(half) == ids_of(x));

  const auto nobody = publisher->publish_and_await("nobody's", Quorum::everyone(), patiently);
  CHECK_FALSE(nobody.error);
  CHECK(nobody.replicas.empty());

  CHECK_FALSE(y->close(support::patience));
  REQUIRE(fixture.in_time([&] { return publisher->peers().size() == 3; }));
  const auto rest = publisher->publish_and_await("k", Quorum::everyone(), patiently);
  CHECK_FALSE(rest.error);
  CHECK(replicas_of(rest) == ids_of(x));
}

CONTRACT_TEST_CASE("a node with a handler that throws is no replica", "[contract]", Clusters) {
  const auto publisher = fixture.node(), well = fixture.node(), ill = fixture.node();
  const auto a = well->subscribe("k", ignore);
  const auto b = ill->subscribe("k", ignore), c = ill->subscribe_prefix("k", fail, ignore_resync);
  const auto one = publisher->publish_and_await("k", 1, patiently);
  CHECK_FALSE(one.error);
  CHECK(replicas_of(one) == ids_of(well));
  const auto two = publisher->publish_and_await("k", 2, much_longer);
  CHECK(two.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(two) == ids_of(well));
}

CONTRACT_TEST_CASE("a mailbox acknowledges once the event is in it", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  auto box = listener->subscribe("k"), small = listener->subscribe_all({.capacity = 1});
  for (int round = 0; round != 10; ++round) {
    const auto outcome = publisher->publish_and_await("k", 1, patiently);
    CHECK_FALSE(outcome.error);
    CHECK(replicas_of(outcome) == ids_of(listener));
    const auto event = box.try_receive();
    REQUIRE(event);
    CHECK(event->key == "k");
  }
  CHECK_FALSE(publisher->publish_and_await({"one", "more"}, 1, patiently).error);  // joined in the small one
  CHECK(small.try_receive());
}

CONTRACT_TEST_CASE("a closed mailbox is no subscriber", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  auto box = listener->subscribe("k");
  box.unsubscribe();
  CHECK(publisher->publish_and_await("k", 1, much_longer).error == Errc::quorum_not_satisfied);
}

CONTRACT_TEST_CASE("a node that subscribes after it heard the event is no replica", "[contract]", Clusters) {
  const auto publisher = fixture.node(), early = fixture.node(), late = fixture.node();
  const auto a = early->subscribe("k", ignore);
  Outcomes outcomes;
  publisher->async_publish_and_await("k", 2, much_longer, outcomes.completion());
  REQUIRE(caught_up(*publisher, *late));
  const auto b = late->subscribe("k", ignore);
  REQUIRE(fixture.in_time([&] { return outcomes.count() == 1; }));
  CHECK(outcomes.all().front().error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(outcomes.all().front()) == ids_of(early));
  CHECK_FALSE(publisher->publish_and_await("k", 2, patiently).error);
}

CONTRACT_TEST_CASE("of several keys a replica has one at least, and every handler of every one has returned",
                   "[contract]", Clusters) {
  const auto publisher = fixture.node(), both = fixture.node(), one = fixture.node(), none = fixture.node(),
             ill = fixture.node();
  Heard at_both, at_one;
  const auto a = both->subscribe_prefix("k", at_both.on_event(), at_both.on_resync());
  const auto b = one->subscribe("k2", at_one.on_event());
  const auto c = none->subscribe("other", ignore);
  const auto d = ill->subscribe("k1", ignore), e = ill->subscribe("k2", fail);

  const auto outcome = publisher->publish_and_await({"k1", "k2"}, 2, patiently);
  CHECK(at_both.lines() == Lines{"invalidate k1", "invalidate k2"});
  CHECK(at_one.lines() == Lines{"invalidate k2"});
  CHECK_FALSE(outcome.error);
  CHECK(replicas_of(outcome) == ids_of(both, one));

  const auto three = publisher->publish_and_await({"k1", "k2"}, 3, much_longer);
  CHECK(three.error == Errc::quorum_not_satisfied);
  CHECK(replicas_of(three) == ids_of(both, one));
}

CONTRACT_TEST_CASE("keys of an await may repeat, and come from any range", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_prefix("k", heard.on_event(), heard.on_resync());
  CHECK_FALSE(publisher->publish_and_await({"k", "k", "k"}, 1, patiently).error);
  CHECK(heard.count("invalidate k") >= 1);

  std::vector<std::string> many;  // several frames of them
  for (int i = 0; i != 3'000; ++i) many.push_back("k of a range " + std::to_string(i));
  const auto before = heard.count();
  const auto outcome = publisher->publish_and_await(many, 1, patiently);
  CHECK(heard.count() == before + many.size());
  CHECK_FALSE(outcome.error);
  CHECK(replicas_of(outcome) == ids_of(listener));
  const std::vector<std::string_view> views{"k1", "k2"};
  CHECK_FALSE(publisher->publish_and_await(views, 1, patiently).error);
}

CONTRACT_TEST_CASE("a repeat of an event that waits to be sent is awaited too", "[contract]", Clusters) {
  const auto publisher = fixture.node(), listener = fixture.node();
  const auto subscription = listener->subscribe("k", ignore);
  Outcomes outcomes;
  constexpr std::size_t rounds = 200;
  for (std::size_t i = 0; i != rounds; ++i) {
    CHECK_FALSE(publisher->publish("k"));
    publisher->async_publish_and_await("k", 1, patiently, outcomes.completion());
  }
  REQUIRE(fixture.in_time([&] { return outcomes.count() == rounds; }));
  for (const auto& outcome : outcomes.all()) {
    CHECK_FALSE(outcome.error);
    CHECK(replicas_of(outcome) == ids_of(listener));
  }
}
