// Who a node says is there: names, zones, for how long they were silent; and who is listed no more.
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/outcomes.hpp"
#include "support/catch.hpp"
#include "support/control_frames.hpp"
#include "support/eventually.hpp"
#include "support/frames.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::heartbeat_frame;
using syncbus::NodeId, syncbus::Peer;

namespace {

[[nodiscard]] std::vector<NodeId> ids_in(const std::vector<Peer>& peers) {
  std::vector<NodeId> ids;
  for (const Peer& peer : peers) ids.push_back(peer.id);
  return ids;
}

/// "name in zone".
[[nodiscard]] Lines labels_of(const std::vector<Peer>& peers) {
  Lines labels;
  for (const Peer& peer : peers) labels.push_back(peer.name + " in " + peer.zone);
  std::ranges::sort(labels);
  return labels;
}

}  // namespace

TEST_CASE("a bus that is alone has no peers", "[contract]") {
  Alone fixture;
  CHECK(fixture.node()->peers().empty());
}

CONTRACT_TEST_CASE("nodes know who is there, by name and zone", "[contract]", Clusters) {
  const auto x = fixture.node({.name = "x", .zone = "eu"});
  CHECK(x->peers().empty());
  const auto y = fixture.node({.name = "y", .zone = "us"});
  REQUIRE(fixture.in_time([&] { return labels_of(y->peers()) == Lines{"x in eu"}; }));
  const auto z = fixture.node();
  for (const auto& node : {x, y, z}) {
    REQUIRE(fixture.in_time([&] { return node->peers().size() == 2; }));
    for (const Peer& peer : node->peers()) CHECK(peer.lag == 0);
  }
  CHECK(labels_of(x->peers()) == Lines{" in ", "y in us"});
  CHECK(labels_of(z->peers()) == Lines{"x in eu", "y in us"});
  CHECK(ids_in(x->peers()) == ids_of(y, z));  // in order
  CHECK(ids_in(z->peers()) == ids_of(x, y));
}

CONTRACT_TEST_CASE("names and zones are any bytes, up to 255 of them", "[contract]", Clusters) {
  const std::string longest(255, '\xff'), odd("a\0b \r\n", 6);
  const auto x = fixture.node({.name = longest, .zone = odd});
  const auto y = fixture.node({.name = odd, .zone = longest});
  REQUIRE(fixture.in_time([&] { return x->peers().size() == 1 && y->peers().size() == 1; }));
  CHECK(labels_of(y->peers()) == Lines{longest + " in " + odd});
  CHECK(labels_of(x->peers()) == Lines{odd + " in " + longest});
}

CONTRACT_TEST_CASE("a node that has closed is listed no more", "[contract]", Clusters) {
  const auto stays = fixture.node();
  auto leaves = fixture.node(), closes = fixture.node();
  const auto gone = leaves->id();
  REQUIRE(fixture.in_time([&] { return stays->peers().size() == 2; }));
  leaves.reset();
  REQUIRE(fixture.in_time([&] { return ids_in(stays->peers()) == ids_of(closes); }));
  CHECK_FALSE(closes->close(support::patience));
  REQUIRE(fixture.in_time([&] { return stays->peers().empty(); }));
  const auto late = fixture.node();
  fixture.let_pass(200ms);
  REQUIRE(fixture.in_time([&] { return ids_in(late->peers()) == ids_of(stays); }));
  CHECK(late->id() != gone);
  CHECK(stays->metrics().resyncs == decltype(syncbus::Metrics::resyncs){});
}

CONTRACT_TEST_CASE("a publish_only node is a peer that others see, and sees none itself", "[contract]", Clusters) {
  const auto listener = fixture.node();
  auto mute = fixture.node({.name = "mute", .publish_only = true});
  REQUIRE(fixture.in_time([&] { return labels_of(listener->peers()) == Lines{"mute in "}; }));
  CHECK(mute->peers().empty());
  CHECK(mute->staleness() == 0s);
  CHECK_FALSE(mute->publish("k"));
  CHECK(mute->is_healthy());
  mute.reset();
  REQUIRE(fixture.in_time([&] { return listener->peers().empty(); }));
}

CONTRACT_TEST_CASE("a peer that is idle is heard again and again", "[contract]", Clusters) {
  const auto x = fixture.node({.heartbeat = 100ms}), y = fixture.node({.heartbeat = 100ms});
  REQUIRE(fixture.in_time([&] { return x->peers().size() == 1; }));
  const auto silence = [&] { return x->peers().front().silent_for; };
  for (int i = 0; i != 3; ++i) {
    REQUIRE(fixture.in_time([&] { return silence() > 30ms; }));
    REQUIRE(fixture.in_time([&] { return silence() < 20ms; }));
  }
}

CONTRACT_TEST_CASE("a stranger is a peer once it has been heard, and lags by what is missing of it", "[contract]",
                   Brokers) {
  const auto node = fixture.node();
  const NodeId stranger{0x5717A6E4};
  Heard heard;
  const auto subscription = node->subscribe_all(heard.on_event(), heard.on_resync());
  fixture.inject(support::events_frame(stranger, 1, {{.key = "one"}}));
  fixture.inject(support::events_frame(stranger, 7, {{.key = "seven"}}));
  REQUIRE(eventually([&] { return heard.count() == 2; }));
  REQUIRE(node->peers().size() == 1);
  CHECK(node->peers().front().id == stranger);
  CHECK(node->peers().front().lag == 5);
  fixture.inject(heartbeat_frame(stranger, {.goodbye = true, .number = 1, .last_sequence = 7, .oldest_sequence = 7}));
  REQUIRE(eventually([&] { return node->peers().empty(); }));
}
