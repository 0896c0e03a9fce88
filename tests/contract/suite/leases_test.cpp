// Leases: ids in a namespace of their own, whose revocation is an event.
#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/outcomes.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::Errc, syncbus::Event, syncbus::EventType, syncbus::Quorum, syncbus::Scope;

CONTRACT_TEST_CASE("leases and keys of one name do not mix", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard key, lease, prefix, other_lease;
  const auto a = listener->subscribe("name", key.on_event());
  const auto b = listener->subscribe_lease("name", lease.on_event());
  const auto c = listener->subscribe_prefix("na", prefix.on_event(), prefix.on_resync());
  const auto d = listener->subscribe_lease("nam", other_lease.on_event());

  CHECK_FALSE(publisher->revoke_lease("name"));
  CHECK_FALSE(publisher->publish("name"));
  REQUIRE(caught_up(*publisher, *listener));

  CHECK(lease.lines() == Lines{"lease_revoked name"});
  CHECK(key.lines() == Lines{"invalidate name"});
  CHECK(prefix.lines() == Lines{"invalidate name"});
  CHECK(other_lease.lines().empty());
}

CONTRACT_TEST_CASE("a revocation carries its version and origin", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_lease("lease", heard.on_event());

  CHECK_FALSE(publisher->revoke_lease("lease", {.version = 7}));

  CHECK(eventually([&] { return heard.count() == 1; }));
  CHECK(heard.lines() == Lines{"lease_revoked lease v7"});
  CHECK(heard.origins().front() == publisher->id());
}

CONTRACT_TEST_CASE("leases and keys of one name wait apart in mailboxes", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  auto keys = listener->subscribe("name");
  auto leases = listener->subscribe_lease("name");

  CHECK_FALSE(publisher->revoke_lease("name"));
  CHECK_FALSE(publisher->publish("name", {.type = EventType::set}));

  const auto key = keys.receive(10s);
  REQUIRE(key);
  CHECK(line_of(**key) == "set name");
  const auto lease = leases.receive(10s);
  REQUIRE(lease);
  CHECK(line_of(**lease) == "lease_revoked name");
  CHECK_FALSE(keys.try_receive());
  CHECK_FALSE(leases.try_receive());
}

CONTRACT_TEST_CASE("a revocation and an invalidation of one name both arrive when one frame carries them", "[contract]",
                   Clusters) {
  const auto publisher = fixture.node(), listener = fixture.node();
  Heard leases, keys;
  const auto a = listener->subscribe_lease("n", leases.on_event());
  const auto b = listener->subscribe("n", keys.on_event());
  constexpr int rounds = 200;
  for (int i = 1; i <= rounds; ++i) {
    const auto version = static_cast<std::uint64_t>(i);
    CHECK_FALSE(publisher->publish("n", {.version = version}));
    CHECK_FALSE(publisher->revoke_lease("n", {.version = version}));
  }
  CHECK(eventually([&] { return leases.count() == rounds && keys.count() == rounds; }));
  CHECK(leases.lines().back() == "lease_revoked n v200");
  CHECK(keys.lines().back() == "invalidate n v200");
}

CONTRACT_TEST_CASE("a revocation is acknowledged by those who subscribe to the lease, not to keys", "[contract]",
                   Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard lease, keys;
  const auto a = listener->subscribe("l", keys.on_event());
  const auto b = listener->subscribe_all(keys.on_event(), keys.on_resync());
  CHECK(publisher->revoke_lease_and_await("l", 1, much_longer).error == Errc::quorum_not_satisfied);

  const auto c = listener->subscribe_lease("l", lease.on_event());
  syncbus::AwaitOptions options = patiently;
  options.publish = {.type = EventType::set, .version = 3};  // the type of a revocation counts for nothing
  const auto outcome = publisher->revoke_lease_and_await("l", 1, options);
  CHECK(lease.lines() == Lines{"lease_revoked l v3"});
  CHECK_FALSE(outcome.error);
  CHECK(replicas_of(outcome) == ids_of(listener));
  CHECK(publisher->revoke_lease_and_await("other", 1, much_longer).error == Errc::quorum_not_satisfied);
  CHECK(keys.lines().empty());
}

CONTRACT_TEST_CASE("a revocation may be awaited from everyone and from zones", "[contract]", Clusters) {
  const auto publisher = fixture.node({.zone = "a"}), x = fixture.node({.zone = "b"}), y = fixture.node({.zone = "c"}),
             bystander = fixture.node({.zone = "d"});
  REQUIRE(fixture.in_time([&] { return publisher->peers().size() == 3; }));  // everyone: of those it knows
  const auto a = x->subscribe_lease("l", ignore), b = y->subscribe_lease("l", ignore);
  auto box = publisher->subscribe_lease("l");
  const auto everyone = publisher->revoke_lease_and_await("l", Quorum::everyone(), patiently);
  CHECK_FALSE(everyone.error);
  CHECK(replicas_of(everyone) == ids_of(publisher, x, y));
  CHECK(box.try_receive());
  CHECK_FALSE(publisher->revoke_lease_and_await("l", Quorum::zones(3), patiently).error);
  CHECK(publisher->revoke_lease_and_await("l", Quorum::zones(4), much_longer).error == Errc::quorum_not_satisfied);
}
