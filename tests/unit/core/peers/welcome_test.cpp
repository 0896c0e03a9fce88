// Joining by hello and welcome: who answers, who is known from then on, and what becomes of those who begin at once.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>

#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/control_frames.hpp"
#include "support/frames.hpp"
#include "support/machine.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using core::FrameType;
using support::Cluster, support::Frame, support::heartbeat_frame, support::heartbeat_of, support::Lines, support::Node,
    support::roomy, support::Sent, support::welcome_frame;

namespace {

core::ProtocolOptions of_many(std::uint64_t id, std::size_t most = 400) {
  auto options = roomy(NodeId{id});
  options.max_peers = most;
  options.history_bytes = options.queue_bytes = options.pending_bytes = 16 * support::kib;
  options.zone = "z" + std::to_string(id % 3);
  return options;
}

/// Adds `count` nodes at times spread evenly over `within`. `lossless`: on such a transport.
std::vector<Node*> start_together(Cluster& cluster, std::size_t count, Duration within, bool lossless = false,
                                  std::uint64_t first_id = 1) {
  std::vector<Node*> nodes;
  for (std::size_t i = 0; i != count; ++i) {
    auto options = of_many(first_id + (i * 7919) % count);  // ids in no order, if count is no multiple of that prime
    options.lossless_sessions = lossless;
    nodes.push_back(&cluster.add(options));
    cluster.pass(within / static_cast<Duration::rep>(count));
  }
  return nodes;
}

std::size_t resyncs(const std::vector<Node*>& nodes) {
  std::size_t count = 0;
  for (Node* const node : nodes) {
    for (const std::string& line : node->heard()) {
      if (!line.starts_with("resync")) continue;
      UNSCOPED_INFO("node " << node->self.value << ": " << line);
      ++count;
    }
  }
  return count;
}

bool all_joined(const std::vector<Node*>& nodes) {
  return std::ranges::all_of(nodes, [](const Node* node) { return node->machine.joined(); });
}

/// Whether each knows all others, and their zones.
bool know_each_other(const std::vector<Node*>& nodes) {
  return std::ranges::all_of(nodes, [&](const Node* node) {
    const auto peers = node->machine.peers(node->now);
    return peers.size() == nodes.size() - 1 &&
           std::ranges::all_of(peers, [](const Peer& peer) { return peer.zone == "z" + std::to_string(peer.id.value % 3); });
  });
}

std::size_t hellos(const std::vector<Node*>& nodes) {
  std::size_t count = 0;
  for (const Node* const node : nodes) {
    for (const Sent& sent : node->heartbeats()) count += heartbeat_of(sent).hello != 0 ? 1U : 0U;
  }
  return count;
}

std::size_t welcomes(const std::vector<Node*>& nodes) {
  std::size_t count = 0;
  for (const Node* const node : nodes) count += node->control(FrameType::welcome).size();
  return count;
}

}  // namespace

// --- one joins

TEST_CASE("a node that is alone says hello twice, and is the first") {
  Node node;
  CHECK(node.heartbeats().size() == 1);
  CHECK(heartbeat_of(node.heartbeats()[0]).hello == 1);
  node.pass(9ms);
  CHECK_FALSE(node.machine.joined());
  node.pass(2ms);
  REQUIRE(node.heartbeats().size() == 2);
  CHECK(heartbeat_of(node.heartbeats()[1]).hello == 2);
  node.pass(8ms);
  CHECK_FALSE(node.machine.joined());
  node.pass(2ms);
  CHECK(node.machine.joined());
  node.pass(1s);
  CHECK(heartbeat_of(node.heartbeats()[2]).hello == 0);
}

TEST_CASE("a hello is answered by the smallest id alone, with everybody, and the node has joined when that has come") {
  Cluster cluster;
  std::vector<Node*> nodes;
  for (std::uint64_t id = 1; id <= 10; ++id) {
    nodes.push_back(&cluster.add(of_many(10 * id)));
    cluster.pass(1s);
  }
  REQUIRE(know_each_other(nodes));
  const std::size_t before = welcomes(nodes);
  const std::size_t frames = nodes[0]->control(FrameType::welcome).size();
  nodes.push_back(&cluster.add(of_many(5)));  // the smallest, which asks
  cluster.pass(3ms);
  CHECK_FALSE(nodes.back()->machine.joined());
  cluster.pass(2ms);  // a round trip and the time in which others may ask, too
  CHECK(nodes.back()->machine.joined());
  CHECK(know_each_other(nodes));
  cluster.pass(1s);
  CHECK(welcomes(nodes) == before + 1);
  CHECK(nodes[0]->control(FrameType::welcome).size() == frames + 1);
  CHECK(nodes[0]->control(FrameType::welcome).back().destination == NodeId{5});
  CHECK(resyncs(nodes) == 0);
}

TEST_CASE("when the one that is to answer is dead the next two in rank answer a second hello") {
  Cluster cluster;
  auto nodes = start_together(cluster, 6, 6s);
  std::ranges::sort(nodes, {}, [](const Node* node) { return node->self; });
  cluster.crash(*nodes[0]);
  const std::size_t before = welcomes(nodes);
  Node& asker = cluster.add(of_many(100));
  cluster.pass(40ms);
  CHECK(asker.machine.joined());
  CHECK(welcomes(nodes) == before + 2);
  CHECK(asker.machine.peers(asker.now).size() == 6);  // the dead one is not known to be
}

TEST_CASE("whoever only publishes, or only watches, answers no hello") {
  Cluster cluster;
  auto writer = of_many(1), watcher = of_many(2);
  writer.publish_only = true;
  watcher.observer = true;
  std::vector<Node*> nodes{&cluster.add(of_many(3))};
  cluster.loses = [](const Node&, const Node& to, const Sent&) { return to.self == NodeId{1}; };
  cluster.pass(100ms);
  nodes.push_back(&cluster.add(writer));
  nodes.push_back(&cluster.add(watcher));
  cluster.pass(100ms);
  Node& asker = cluster.add(of_many(4));
  cluster.pass(6ms);
  CHECK(asker.machine.joined());
  CHECK(nodes[0]->control(FrameType::welcome).back().destination == NodeId{4});
  CHECK(nodes[1]->control(FrameType::welcome).empty());
  CHECK(nodes[2]->control(FrameType::welcome).empty());
  CHECK(asker.machine.peers(asker.now).size() == 3);
  const auto await_id = asker.await({"k"}, Quorum::everyone());
  cluster.pass(50ms);
  REQUIRE(asker.ended.size() == 1);
  CHECK(asker.ended[0].await_id == await_id);
  CHECK_FALSE(asker.ended[0].error);
  CHECK(asker.ended[0].replicas == std::vector<NodeId>{NodeId{3}});
}

TEST_CASE("where nobody can welcome a node it is the first of those who can, and knows whom it heard") {
  Cluster cluster;
  auto watcher = of_many(1);
  watcher.observer = true;
  Node& first = cluster.add(watcher);
  cluster.pass(10ms);
  Node& second = cluster.add(of_many(2));
  cluster.pass(60ms);
  CHECK(first.machine.joined());
  CHECK(second.machine.joined());
  CHECK(first.machine.peers(first.now).size() == 1);
}

TEST_CASE("a peer that a welcome named and that dies unheard is no loss") {
  Cluster cluster;
  auto nodes = start_together(cluster, 4, 4s);
  cluster.crash(*nodes[3]);
  Node& asker = cluster.add(of_many(100));
  cluster.pass(20s);
  CHECK(asker.heard().empty());
  CHECK(resyncs({nodes[0], nodes[1], nodes[2]}) == 3);
}

// --- what a welcome tells

TEST_CASE("a welcome by one who knows many goes in several frames where the broker takes small ones") {
  Cluster cluster;
  const auto nodes = start_together(cluster, 50, 15ms);
  cluster.pass(5s);
  Node asker{of_many(1'000), false};
  asker.on_ready(1, 512);
  const Frame hello = asker.newest_heartbeat().bytes;
  Node& welcomer = **std::ranges::min_element(nodes, {}, [](const Node* node) { return node->self; });
  welcomer.on_interrupted();
  welcomer.on_ready(2, 512);
  welcomer.hears_itself = true;
  welcomer.pass(2s);
  const std::size_t before = welcomer.others.size();
  welcomer.on_frame(hello);
  welcomer.pass(5ms);
  const auto frames = welcomer.control(FrameType::welcome, before);
  REQUIRE(frames.size() > 2);
  for (const Sent& frame : frames) {
    CHECK(frame.bytes.size() <= 512);
    CHECK(frame.destination == asker.self);
  }
  for (std::size_t i = 1; i != frames.size(); ++i) asker.on_frame(frames[i].bytes);
  asker.on_frame(frames.back().bytes);  // twice
  asker.pass(0ms);
  CHECK_FALSE(asker.machine.joined());
  asker.on_frame(frames[0].bytes);
  asker.pass(0ms);
  CHECK(asker.machine.joined());
  CHECK(asker.machine.peers(asker.now).size() == 50);
}

TEST_CASE("a first broadcast at or below what a welcome told of is heard, once") {
  Node node;
  node.listening = false;
  node.on_frame(welcome_frame(NodeId{2}, {{.node = NodeId{3}, .number = 1, .last_sequence = 5}}));
  node.pass(0ms);
  node.listening = true;
  REQUIRE(node.machine.joined());
  for (int twice = 0; twice != 2; ++twice) node.on_frame(support::events_frame(NodeId{3}, 5, {{.key = "five"}}));
  node.on_frame(support::events_frame(NodeId{3}, 6, {{.key = "six"}}));
  node.pass(1s);
  CHECK(node.heard() == Lines{"invalidate five", "invalidate six"});
  CHECK(node.requests().empty());
}

TEST_CASE("a welcome that comes late names who is not known yet, and their own first word tells what is owed to who listens") {
  auto options = roomy();
  options.lossless_sessions = GENERATE(false, true);
  Node node{options};
  node.join();
  node.on_frame(welcome_frame(NodeId{2}, {{.node = NodeId{2}, .number = 4, .zone = "b"},
                                          {.node = NodeId{3}, .number = 1, .last_sequence = 500, .oldest_sequence = 400},
                                          {.node = node.self, .number = 7, .last_sequence = 9}}));
  node.pass(100ms);
  CHECK(node.machine.peers(node.now).size() == 2);
  CHECK(node.heard().empty());
  node.on_frame(heartbeat_frame(NodeId{3}, {.number = 2, .last_sequence = 501, .oldest_sequence = 400}));
  node.pass(100ms);
  CHECK(node.heard() == (options.lossless_sessions ? Lines{} : Lines{"resync: joined"}));
}

TEST_CASE("a welcome for others may be older than this session, and does not tell how far anybody is") {
  auto options = roomy();
  options.lossless_sessions = true;
  Node node{options};
  node.listening = false;
  Frame others = welcome_frame(NodeId{2}, {{.node = NodeId{3}, .number = 1, .last_sequence = 5}});
  core::address_welcome(others, NodeId{2}, {}, 0, 1);  // to all, and this node is not among them
  node.on_frame(others);
  node.pass(0ms);
  CHECK_FALSE(node.machine.joined());
  CHECK(node.machine.peers(node.now).size() == 1);
  node.on_frame(welcome_frame(NodeId{4}, {{.node = NodeId{4}, .number = 1}}));
  node.pass(0ms);
  REQUIRE(node.machine.joined());
  node.listening = true;
  node.on_frame(support::events_frame(NodeId{3}, 7, {{.key = "seven"}}));  // 6 was before this session
  node.pass(1s);
  CHECK(node.heard() == Lines{"invalidate seven"});
  CHECK(node.machine.metrics().gaps == 0);
}

TEST_CASE("each welcome that comes before somebody listens counts: two may answer who do not know each other") {
  Node node;
  node.listening = false;
  const Frame first = welcome_frame(NodeId{2}, {{.node = NodeId{2}, .number = 1}});
  const std::vector<core::WelcomeEntry> fourth{
      {.node = NodeId{4}, .number = 1, .last_sequence = 7, .oldest_sequence = 7}};
  SECTION("at one moment") {
    node.on_frame(first);
    node.on_frame(welcome_frame(NodeId{4}, fourth));
    node.pass(0ms);
  }
  SECTION("in frames among each other") {
    node.on_frame(welcome_frame(NodeId{4}, {{.node = NodeId{5}, .number = 1}}, 0, 2));
    node.on_frame(first);
    node.on_frame(welcome_frame(NodeId{4}, fourth, 1, 2));
    node.pass(0ms);
  }
  SECTION("after it has joined") {
    node.on_frame(first);
    node.pass(1ms);
    node.on_frame(welcome_frame(NodeId{4}, fourth));
  }
  REQUIRE(node.machine.joined());
  node.listening = true;
  node.on_frame(heartbeat_frame(NodeId{4}, {.number = 2, .last_sequence = 8, .oldest_sequence = 7}));
  node.pass(100ms);
  CHECK(node.heard().empty());
  const auto requests = node.requests();
  REQUIRE_FALSE(requests.empty());
  CHECK(support::requested_by(requests[0]) == std::vector<core::SequenceRange>{{8, 8}});
}

TEST_CASE("of whom a welcome does not know how far it is, the first word of its own is the first contact") {
  auto options = roomy();
  options.lossless_sessions = GENERATE(false, true);
  Node node{options};
  node.on_frame(welcome_frame(NodeId{2}, {{.node = NodeId{3}, .current = false, .number = 1},
                                          {.node = NodeId{4}, .current = false, .number = 1}}));
  node.pass(0ms);
  REQUIRE(node.machine.joined());
  CHECK(node.machine.peers(node.now).size() == 2);
  node.on_frame(heartbeat_frame(NodeId{3}, {.number = 2, .last_sequence = 500, .oldest_sequence = 400}));
  node.on_frame(heartbeat_frame(NodeId{4}, {.number = 2, .last_sequence = 2, .oldest_sequence = 1}));
  node.pass(100ms);
  CHECK(node.heard() == (options.lossless_sessions ? Lines{} : Lines{"resync: joined"}));
  const auto requests = node.requests();
  REQUIRE(requests.empty() == options.lossless_sessions);
  if (!requests.empty()) CHECK(support::requested_by(requests[0]) == std::vector<core::SequenceRange>{{1, 2}});
}

TEST_CASE("a node does not tell how far one is that it knows by a repair alone, or from an earlier session") {
  auto options = roomy();
  options.lossless_sessions = true;
  Node node{options};
  node.listening = false;
  node.join();
  node.on_frame(heartbeat_frame(NodeId{3}, {.number = 1, .last_sequence = 7, .oldest_sequence = 1}));
  node.on_interrupted();
  node.on_ready(2);
  node.pass(50ms);
  node.on_frame(heartbeat_frame(NodeId{4}, {.number = 1, .last_sequence = 9, .oldest_sequence = 1}));
  node.on_frame(support::repair_frame(NodeId{5}, {}, support::events_frame(NodeId{5}, 3, {{.key = "k"}})));
  node.on_frame(heartbeat_frame(NodeId{6}, {.answer_me = true, .greets = true, .number = 1, .hello = 1}));
  node.pass(3ms);
  const auto frames = node.control(FrameType::welcome);
  REQUIRE(frames.size() == 1);
  core::WelcomeView view;
  REQUIRE(core::decode_welcome(support::header_of(frames[0].bytes), view) == core::FrameError::ok);
  for (core::WelcomeEntry entry; view.next(entry);) {
    INFO(entry.node.value);
    CHECK(entry.current == (entry.node != NodeId{3} && entry.node != NodeId{5}));
    CHECK(entry.last_sequence == (entry.node == NodeId{4} ? 9 : 0));
  }
}

TEST_CASE("a welcome forgets nobody to make room for those it names") {
  auto options = roomy();
  options.max_peers = 2;
  Node node{options};
  node.on_frame(heartbeat_frame(NodeId{8}, {.number = 1}));
  node.on_frame(welcome_frame(NodeId{2}, {{.node = NodeId{2}, .number = 1}, {.node = NodeId{3}, .number = 1}}));
  node.pass(0ms);
  CHECK(node.machine.joined());
  const auto peers = node.machine.peers(node.now);
  REQUIRE(peers.size() == 2);
  CHECK(peers[0].id == NodeId{2});
  CHECK(peers[1].id == NodeId{8});
}

TEST_CASE("who comes where no table has room for all is welcomed at its second hello, and takes nobody for everyone") {
  Cluster cluster;
  for (std::uint64_t id = 1; id != 7; ++id) {
    cluster.add(of_many(id, 4));
    cluster.pass(200ms);
  }
  cluster.pass(2s);
  cluster.loses = [](const Node&, const Node& to, const Sent& sent) {  // rarer than in this small cluster
    return to.self == NodeId{9} && sent.type == FrameType::heartbeat && heartbeat_of(sent).hello == 0;
  };
  Node& newcomer = cluster.add(of_many(9, 4));
  cluster.pass(60ms);
  CHECK(newcomer.machine.joined());
  CHECK(newcomer.machine.peers(newcomer.now).size() == 4);
  CHECK(newcomer.machine.health(newcomer.now).peers_left_out);
  CHECK(hellos({&newcomer}) == 2);
  CHECK(newcomer.await({"k"}, Quorum::everyone(), 200ms) != 0);
  cluster.pass(1s);
  REQUIRE(newcomer.ended.size() == 1);
  CHECK(newcomer.ended[0].error == Errc::quorum_not_satisfied);
}

TEST_CASE("of those for whom there is no room only so many wait for a welcome, and each has one") {
  Node node{of_many(1, 1)};
  node.join();
  node.on_frame(heartbeat_frame(NodeId{9}, {.number = 1, .interval = 1h}));
  for (std::uint64_t id = 100; id != 1'100; ++id) {
    node.on_frame(heartbeat_frame(NodeId{id}, {.answer_me = true, .greets = true, .number = 2, .hello = 2}));
  }
  node.pass(10ms);
  const auto welcomes = node.control(FrameType::welcome);
  REQUIRE(welcomes.size() == core::Greeter::most_strangers);
  CHECK(welcomes.back().destination == NodeId{100 + core::Greeter::most_strangers - 1});
  node.on_frame(heartbeat_frame(NodeId{2'000}, {.answer_me = true, .greets = true, .number = 1, .hello = 1}));
  node.pass(1s);
  CHECK(node.control(FrameType::welcome).size() == welcomes.size());  // a first hello is left to who knows all
}

TEST_CASE("everyone is decided when the awaited frame or a later one is back: hellos before it are known then") {
  Cluster cluster;
  const auto nodes = start_together(cluster, 3, 1s);
  Node& publisher = *nodes[0];
  cluster.loses = [&](const Node&, const Node& to, const Sent& sent) {
    return to.self == publisher.self && sent.type == FrameType::events;  // the echo
  };
  CHECK(publisher.await({"k"}, Quorum::everyone()) != 0);
  cluster.pass(10ms);
  CHECK(publisher.machine.metrics().acknowledgements_received == 2);  // from all who are known
  CHECK(publisher.ended.empty());
  cluster.pass(20ms);
  REQUIRE(publisher.ended.size() == 1);
  CHECK_FALSE(publisher.ended[0].error);
}

TEST_CASE("many who ask one after the other are welcomed within the share of the control rate that is for it") {
  auto options = of_many(1, 2'000);
  Node node{options};
  node.join();
  for (std::uint64_t id = 100; id != 1'100; ++id) {
    node.on_frame(heartbeat_frame(NodeId{id}, {.answer_me = true, .greets = true, .number = 1, .hello = 1}));
    node.pass(1ms);
  }
  Duration::rep deliveries = 0;  // one by one, or to as many as there were by then
  for (const Sent& sent : node.control(FrameType::welcome)) {
    deliveries += sent.destination == NodeId{} ? (sent.at - support::start) / 1ms : 1;
  }
  CHECK(deliveries > 100);
  CHECK(deliveries <= 1'500);  // a second's share is 500, and the last may have been to a thousand
}

TEST_CASE("whoever invents nodes with long names has welcomes sent of a bounded number of bytes a second") {
  constexpr std::uint64_t invented = 500;
  constexpr std::size_t welcome = invented * 540;  // bytes, about
  const std::string name(core::max_name_bytes, 'n');
  Node node{of_many(1, 1'000)};
  node.join();
  const auto says = [&](std::uint64_t id, std::uint64_t hello) {
    node.on_frame(heartbeat_frame(NodeId{id}, {.answer_me = true,
                                               .number = hello + 1,
                                               .hello = hello,
                                               .interval = 1min,
                                               .name = name,
                                               .zone = name}));
  };
  for (std::uint64_t id = 100; id != 100 + invented; ++id) says(id, 0);
  std::set<NodeId> welcomed;
  const auto pass = [&](Duration time) {
    node.pass(time);
    for (const Sent& sent : node.control(FrameType::welcome)) welcomed.insert(sent.destination);
    node.others.clear();
    node.wire.clear();
  };
  pass(1s);
  const std::uint64_t before = node.machine.metrics().bytes_sent;
  for (std::uint64_t hello = 1; hello != 1'000; ++hello) {
    says(100 + hello % 2, hello);
    pass(1ms);
  }
  CHECK(node.machine.metrics().bytes_sent - before > welcome);
  CHECK(node.machine.metrics().bytes_sent - before < 2 * core::Greeter::bytes_a_second + 2 * welcome);

  pass(2s);
  welcomed.clear();
  for (std::uint64_t id = 200; id != 400; ++id) says(id, 2'000);
  pass(1s);
  CHECK(welcomed.size() < 200);
  pass(5s);
  CHECK(welcomed.size() == 200);  // each in its turn
  CHECK_FALSE(welcomed.contains(NodeId{}));
}

// --- many join

TEST_CASE("nodes that begin together all join, know each other with their zones, and few of them repeat their hello") {
  const bool lossless = GENERATE(false, true);
  const auto count = GENERATE(std::size_t{2}, std::size_t{20}, std::size_t{100});
  const auto within = GENERATE(Duration{0ms}, Duration{15ms});
  CAPTURE(lossless, count, within.count());
  Cluster cluster;
  const auto nodes = start_together(cluster, count, within, lossless);
  cluster.pass(60ms);
  CHECK(all_joined(nodes));
  CHECK(know_each_other(nodes));
  CHECK(hellos(nodes) - count <= 6 * static_cast<std::size_t>(std::bit_width(count)));
  CHECK(resyncs(nodes) == 0);
  for (Node* const node : nodes) CHECK(node->await({"k"}, Quorum::everyone()) != 0);
  cluster.pass(2s);
  for (Node* const node : nodes) {
    REQUIRE(node->ended.size() == 1);
    CHECK_FALSE(node->ended[0].error);
    CHECK(node->ended[0].replicas.size() == count - 1);
    CHECK(node->machine.metrics().gaps == 0);
  }
  CHECK(resyncs(nodes) == 0);
}

TEST_CASE("up to ten nodes have joined within 21 ms and a way there and back, however they begin") {
  const auto count = GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{5}, std::size_t{10});
  const auto within = GENERATE(Duration{0ms}, Duration{5ms}, Duration{15ms}, Duration{60ms});
  CAPTURE(count, within.count());
  Cluster cluster;
  std::vector<Node*> nodes;
  for (std::size_t i = 0; i != count; ++i) {
    nodes.push_back(&cluster.add(of_many(1 + (i * 7919) % count)));
    cluster.pass(within / static_cast<Duration::rep>(count));
    if (cluster.now() - support::start > 23ms) CHECK(nodes[0]->machine.joined());
  }
  cluster.pass(23ms);
  CHECK(all_joined(nodes));
  CHECK(know_each_other(nodes));
}

TEST_CASE("who takes itself for the first decides nothing about everyone before an answer had its time twice") {
  Node node;
  node.pass(21ms);
  REQUIRE(node.machine.joined());
  CHECK(node.await({"k"}, Quorum::everyone()) != 0);
  SECTION("and nobody answers") {
    node.pass(18ms);
    CHECK(node.ended.empty());
    node.pass(2ms);
    REQUIRE(node.ended.size() == 1);
    CHECK_FALSE(node.ended[0].error);
  }
  SECTION("and somebody was late") {
    node.pass(15ms);
    node.on_frame(welcome_frame(NodeId{2}, {{.node = NodeId{2}, .number = 4}, {.node = NodeId{3}, .number = 1}}));
    node.pass(50ms);
    CHECK(node.ended.empty());  // two have not answered
  }
}

TEST_CASE("where a way there and back takes long a hello has four of them for its answer") {
  Node node{roomy(), false};
  node.hears_itself = false;
  node.on_ready(1);
  const Frame hello = node.newest_heartbeat().bytes;
  node.pass(10ms);
  node.on_frame(hello);
  node.pass(39ms);
  CHECK(node.heartbeats().size() == 1);
  node.pass(2ms);
  CHECK(node.heartbeats().size() == 2);
  node.pass(37ms);
  CHECK_FALSE(node.machine.joined());
  node.pass(3ms);
  CHECK(node.machine.joined());
  CHECK(node.await({"k"}, Quorum::everyone()) != 0);
  node.pass(1ms);
  node.on_frame(node.sent.back().bytes);
  CHECK(node.ended.size() == 1);
}

TEST_CASE("of n nodes that begin at one moment, or nearly, some log n repeat their hello") {
  const auto [count, within] = GENERATE(std::pair{std::size_t{20}, 0ms}, std::pair{std::size_t{100}, 0ms},
                                        std::pair{std::size_t{300}, 0ms}, std::pair{std::size_t{300}, 100ms});
  CAPTURE(count, within.count());
  std::size_t again = 0;
  constexpr std::size_t starts = 4;
  for (std::size_t start = 0; start != starts; ++start) {
    Cluster cluster;
    const auto nodes = start_together(cluster, count, within, false, 1 + 1'000 * start);
    cluster.pass(60ms);
    CHECK(all_joined(nodes));
    again += hellos(nodes) - count;
  }
  CHECK(again <= starts * 4 * static_cast<std::size_t>(std::bit_width(count)));  // about 3 log n, on average
}

// --- what it costs

namespace {

/// The most control deliveries in any second of a time, first hellos not counted.
std::size_t busiest_second(Cluster& cluster, int seconds) {
  std::size_t most = 0;
  for (; seconds != 0; --seconds) {
    const std::size_t before = cluster.deliveries;
    cluster.pass(1s);
    most = (std::max)(most, cluster.deliveries - before);
  }
  return most;
}

}  // namespace

TEST_CASE("three hundred nodes from cold stay within the control rate in every second, but for one hello each") {
  Cluster cluster;
  // In half a second the first join when they know few; and as they began one after the other, the end of their first
  // round of heartbeats falls together with the beginning of the next, for a moment.
  const auto [within, at_most] = GENERATE(std::pair{15ms, roomy().control_rate},
                                          std::pair{500ms, roomy().control_rate * 9 / 8});
  const auto nodes = start_together(cluster, 300, within);
  cluster.pass(1s - within);
  CHECK(cluster.deliveries <= roomy().control_rate);
  CHECK(busiest_second(cluster, 12) <= at_most);  // a round of heartbeats is ten
  CHECK(cluster.hellos <= 300 * 300);
  CHECK(all_joined(nodes));
  CHECK(know_each_other(nodes));
  CHECK(resyncs(nodes) == 0);
}

TEST_CASE("three hundred nodes stay within the control rate in every second when the broker restarts") {
  Cluster cluster;
  const auto nodes = start_together(cluster, 300, 15ms);
  cluster.pass(1s);
  for (Node* const node : nodes) cluster.interrupt(*node);
  cluster.pass(2s);
  for (Node* const node : nodes) cluster.reconnect(*node);
  CHECK(busiest_second(cluster, 12) <= roomy().control_rate);
  CHECK(all_joined(nodes));
  CHECK(resyncs(nodes) == 0);
}

TEST_CASE("half of a hundred nodes cut off and back stay within the control rate, and nothing is lost by it") {
  Cluster cluster;
  const auto nodes = start_together(cluster, 100, 15ms);
  cluster.pass(10s);
  for (std::size_t i = 0; i != 50; ++i) cluster.interrupt(*nodes[i]);
  cluster.pass(2s);
  for (std::size_t i = 0; i != 50; ++i) cluster.reconnect(*nodes[i]);
  CHECK(busiest_second(cluster, 6) <= roomy().control_rate);
  CHECK(all_joined(nodes));
  CHECK(resyncs(nodes) == 0);
}

// --- after an outage

namespace {

/// A cluster with histories of a few frames, in which everybody has been heard.
std::vector<Node*> start_forgetful(Cluster& cluster, std::size_t count, bool lossless) {
  std::vector<Node*> nodes;
  for (std::size_t i = 0; i != count; ++i) {
    auto options = of_many(1 + (i * 7919) % count);
    options.lossless_sessions = lossless;
    options.history_bytes = 2 * support::kib;
    nodes.push_back(&cluster.add(options));
    cluster.pass(1ms);
  }
  cluster.pass(5s);
  return nodes;
}

/// Each publishes more than its history holds.
void publish_much(Cluster& cluster, std::span<Node* const> nodes) {
  const std::string long_key(500, 'k');
  for (int i = 0; i != 8; ++i) {
    for (Node* const node : nodes) CHECK(node->publish(long_key + std::to_string(i)) == core::Submitted::accepted);
    cluster.pass(20ms);
  }
}

/// What most of the nodes hear that are hit most.
std::size_t most_resyncs(std::span<Node* const> nodes) {
  std::size_t most = 0;
  for (Node* const node : nodes) {
    const Lines heard = node->heard();
    const auto count = std::ranges::count_if(heard, [](const std::string& line) { return line.starts_with("resync"); });
    most = (std::max)(most, static_cast<std::size_t>(count));
  }
  return most;
}

}  // namespace

TEST_CASE("one outage of half of all nodes is one resync for each, however many histories are too short for it") {
  const auto count = GENERATE(std::size_t{6}, std::size_t{16}, std::size_t{100});
  const bool lossless = GENERATE(false, true);
  CAPTURE(count, lossless);
  Cluster cluster;
  const auto nodes = start_forgetful(cluster, count, lossless);
  const auto cut = std::span{nodes}.first(count / 2), others = std::span{nodes}.subspan(count / 2);
  for (Node* const node : cut) cluster.interrupt(*node);
  cluster.pass(3s);
  publish_much(cluster, others);
  cluster.pass(7s);
  CHECK(most_resyncs(others) == (lossless ? 0 : 1));  // fifty have fallen silent, at one moment
  for (Node* const node : cut) cluster.reconnect(*node);
  cluster.pass(10s);
  CHECK(most_resyncs(cut) == 1);
  CHECK(most_resyncs(others) == 0);
}

TEST_CASE("a partition that no session ends by is one resync for each when it heals, and one if they fell silent") {
  const auto count = GENERATE(std::size_t{6}, std::size_t{16}, std::size_t{100});
  const Duration outage = GENERATE(3s, 10s);
  CAPTURE(count, outage.count());
  Cluster cluster;
  const auto nodes = start_forgetful(cluster, count, false);
  const std::set<const Node*> half{nodes.begin(), nodes.begin() + static_cast<std::ptrdiff_t>(count / 2)};
  cluster.loses = [&](const Node& from, const Node& to, const Sent&) { return half.contains(&from) != half.contains(&to); };
  cluster.pass(outage / 2);
  publish_much(cluster, nodes);
  cluster.pass(outage / 2);
  CHECK(most_resyncs(nodes) == (outage > 5s ? 1 : 0));
  publish_much(cluster, nodes);
  cluster.loses = [](auto&, auto&, auto&) { return false; };
  cluster.pass(10s);
  CHECK(most_resyncs(nodes) == 1);
}

TEST_CASE("however slow the way, and whoever says hello, a node has joined within half of its connect timeout") {
  Node slow{roomy(), false};
  slow.hears_itself = false;
  slow.on_ready(1);
  const Frame hello = slow.newest_heartbeat().bytes;
  slow.pass(2s);  // of 5
  slow.on_frame(hello);
  for (std::uint64_t id = 10; id != 35; ++id) {  // they never become the first
    slow.on_frame(heartbeat_frame(NodeId{id}, {.answer_me = true, .greets = true, .number = 2, .hello = 2}));
    slow.pass(100ms);
  }
  slow.pass(1ms);
  CHECK(slow.machine.joined());
}
