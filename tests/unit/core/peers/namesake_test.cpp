// Two nodes with one id, as of a cloned machine: who notices it, and that nothing is lost in silence.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/error.hpp>
#include <syncbus/quorum.hpp>

#include "support/catch.hpp"
#include "support/cluster.hpp"
#include "support/control_frames.hpp"
#include "support/machine.hpp"
#include "support/receiver.hpp"

using namespace std::chrono_literals;
using namespace syncbus;
using support::Cluster, support::events_frame, support::Frame, support::heartbeat_frame, support::heartbeat_of,
    support::Lines, support::lossless, support::Node, support::Receiver, support::roomy, support::Sent;

namespace {

/// What a node broadcast so far, in its order.
std::vector<Frame> broadcasts_of(const Node& node) {
  std::vector<Frame> frames;
  for (const auto* sent : {&node.sent, &node.others}) {
    for (const Sent& frame : *sent) {
      if (frame.destination == NodeId{}) frames.push_back(frame.bytes);
    }
  }
  return frames;
}

/// A heartbeat in the node's own name.
Frame heartbeat_as(const Node& node, core::HeartbeatView heartbeat) {
  heartbeat.interval = 1s;
  return heartbeat_frame(node.self, heartbeat);
}

bool says_doubled(const Node& node) { return heartbeat_of(node.newest_heartbeat()).doubled; }
bool leaves_out(Node& node) { return node.machine.health(node.now).peers_left_out; }

}  // namespace

// --- what is one's own

TEST_CASE("whatever a node sent comes back as its own, how late, how often and in what order it may be") {
  Node node{GENERATE(roomy(), lossless())};
  node.join();
  for (int round = 0; round != 300; ++round) {
    (void)node.publish("k" + std::to_string(round));
    node.on_confirmed(static_cast<std::uint64_t>(round) + 1);
    if (round == 100) node.on_interrupted();
    if (round == 100) node.on_ready(2);
    node.pass(round % 10 == 0 ? 5s : 10ms);
  }
  auto frames = broadcasts_of(node);
  REQUIRE(frames.size() > 500);
  std::shuffle(frames.begin(), frames.end(), std::minstd_rand{1});
  for (const Frame& frame : frames) node.on_frame(frame);
  for (Frame frame : frames) {  // damaged on the way
    frame.back() ^= std::byte{1};
    node.on_frame(frame);
  }
  CHECK(node.doubled.empty());
  CHECK(node.heard().empty());
  CHECK_FALSE(leaves_out(node));
  node.pass(10s);
  CHECK_FALSE(says_doubled(node));
}

TEST_CASE("what was forgotten by the ring is one's own when it comes back, as far as anybody knows") {
  auto options = roomy();
  options.history_bytes = 64 * support::kib;
  Node node{options};
  node.join();
  for (std::uint64_t sequence = 1; sequence != 200; ++sequence) {
    (void)node.publish(std::string(1'000, 'k') + std::to_string(sequence));
    node.on_confirmed(sequence);
  }
  for (const Frame& frame : broadcasts_of(node)) node.on_frame(frame);
  CHECK(node.doubled.empty());
  CHECK(node.heard().empty());
}

TEST_CASE("what was handed over in an earlier session and comes back before it is sent again is one's own") {
  Node node;
  node.hears_itself = false;
  node.join();
  for (const char* const key : {"a", "b"}) (void)node.publish(key);
  node.on_interrupted();
  node.machine.on_ready(2, max_frame_bytes, true, node.now);  // and nothing is sent yet
  for (const Sent& frame : node.sent) node.machine.on_frame(frame.bytes, true, node.now);
  node.act();
  CHECK(node.doubled.empty());
  CHECK(node.heard().empty());
}

// --- what is not

TEST_CASE("a heartbeat in our name that we did not send tells that another node has our id, once") {
  Node node{GENERATE(roomy(), lossless())};
  node.join();
  const auto mine = heartbeat_of(node.newest_heartbeat());
  const bool later = GENERATE(true, false);
  const Frame forged = heartbeat_as(node, {.number = mine.number + (later ? 1U : 0U), .last_sequence = 3});
  for (int times = 0; times != 3; ++times) node.on_frame(forged);
  CHECK(node.doubled == std::vector<NodeId>{NodeId{}});
  CHECK(leaves_out(node));
  node.pass(30ms);
  CHECK(says_doubled(node));
  node.pass(1min);
  CHECK_FALSE(leaves_out(node));
  CHECK_FALSE(says_doubled(node));
  CHECK(std::ranges::count(node.heard(), "resync: overflow") <= 2);
  node.on_frame(heartbeat_as(node, {.number = 1'000'000}));
  CHECK(node.doubled.size() == 2);
}

TEST_CASE("events in our name that we did not publish are heard, as of unknown age") {
  Node node{GENERATE(roomy(), lossless())};
  node.join();
  (void)node.publish("mine");
  const auto set = [&](std::uint64_t sequence, std::string_view key) {
    node.on_frame(events_frame(node.self, sequence, {{.type = EventType::set, .key = key}}));
  };
  set(1, "of the same number");
  set(2, "of a later one");
  Lines heard = node.heard();
  std::erase(heard, "resync: overflow");
  CHECK(heard == Lines{"invalidate of the same number", "invalidate of a later one"});
  CHECK(node.doubled.size() == 1);
  CHECK(node.machine.metrics().frames_left_out == 2);
  CHECK(node.machine.metrics().invalid_frames == 0);
}

TEST_CASE("damaged bytes in our name tell nothing") {
  Node node;
  node.join();
  Frame events = events_frame(node.self, 7, {{.key = "k"}});
  Frame heartbeat = heartbeat_as(node, {.number = 99});
  events.back() ^= std::byte{1};
  heartbeat.back() ^= std::byte{1};
  node.on_frame(events);
  node.on_frame(heartbeat);
  CHECK(node.doubled.empty());
  CHECK(node.machine.metrics().invalid_frames == 2);
  CHECK(node.heard().empty());
}

TEST_CASE("what another node does in our name proves nothing about what we hear") {
  Node node;
  node.hears_itself = false;
  node.join();
  for (int second = 0; second != 10; ++second) {
    node.pass(1s);
    node.on_frame(heartbeat_as(node, {.number = heartbeat_of(node.newest_heartbeat()).number, .last_sequence = 9}));
  }
  CHECK(node.reopens == 1);
}

TEST_CASE("answers to one of two nodes with one id count for neither") {
  Receiver node;
  node.handlers_run = true;
  const auto answer = [&](std::uint64_t sequence) {
    using Status = core::AcknowledgementStatus;
    node.on_frame(support::acknowledgement_frame(support::usual_peer, node.self,
                                                 {{node.self, sequence, 0, 1, Status::applied}}));
  };
  (void)node.await({"before"}, 1);
  answer(1);
  REQUIRE(node.ended.size() == 1);
  CHECK_FALSE(node.ended[0].error);
  node.on_confirmed(1);
  node.on_frame(heartbeat_as(node, {.number = 1'000, .last_sequence = 2}));
  (void)node.await({"k"}, 1);
  answer(2);
  CHECK(node.ended.size() == 1);
  node.pass(6s);
  REQUIRE(node.ended.size() == 2);
  CHECK(node.ended[1].error == Errc::quorum_not_satisfied);
}

// --- peers of the two

TEST_CASE("of whom there are two nothing is kept until there is one again, and events are heard") {
  const auto options = GENERATE(roomy(), lossless());
  Receiver node{options};
  node.handlers_run = true;
  const auto beat = [&](std::uint64_t last, bool doubled) {
    static std::uint64_t number = 100;
    const std::uint64_t newest = heartbeat_of(node.newest_heartbeat()).number;
    node.on_frame(heartbeat_frame(support::usual_peer, {.doubled = doubled,
                                                        .number = ++number,
                                                        .last_sequence = last,
                                                        .oldest_sequence = 1,
                                                        .interval = 1s,
                                                        .newest_origin = node.self,
                                                        .newest_number = newest}));
  };
  beat(1, true);
  Lines heard = node.heard();
  CHECK(std::ranges::count(heard, "resync: unrepairable") == 1);
  CHECK(node.doubled == std::vector<NodeId>{support::usual_peer});
  CHECK(leaves_out(node));
  const auto set = [&](std::uint64_t sequence, std::string_view key) {
    node.on_frame(events_frame(support::usual_peer, sequence, {{.type = EventType::set, .key = key}}));
  };
  set(2, "of one");
  set(2, "of the other");
  set(900, "far ahead");
  node.pass(1s);
  beat(1, true);
  beat(900, false);  // of one that does not know yet
  set(2, "again");
  heard = node.heard();
  std::erase(heard, "resync: overflow");
  CHECK(heard == Lines{"invalidate of one", "invalidate of the other", "invalidate far ahead", "invalidate again"});
  CHECK(node.requests().empty());
  CHECK(node.staleness() >= 1s);

  for (int second = 0; second != 90; ++second) {  // the other has ended
    beat(2, false);
    node.pass(1s);
  }
  heard = node.heard();
  std::erase(heard, "resync: overflow");
  CHECK(heard.empty());
  CHECK_FALSE(leaves_out(node));
  CHECK(node.staleness() < 3s);
  set(3, "new");
  set(3, "new");
  set(5, "behind a gap");
  CHECK(node.heard() == Lines{"set new", "set behind a gap"});
  node.pass(100ms);
  CHECK_FALSE(node.requests().empty());
  CHECK(node.doubled.size() == 1);
}

// --- all together

namespace {

/// What each of some nodes published and heard, in rounds: nothing may be missing that no later resync stands for.
class Books {
 public:
  explicit Books(std::vector<Node*> nodes)
      : nodes_{std::move(nodes)}, heard_(nodes_.size()), resync_(nodes_.size(), -1) {}

  void publish(std::size_t by, Cluster& cluster) {
    const std::string key = std::to_string(by) + "." + std::to_string(keys_.size());
    keys_.push_back({key, by, round_});
    (void)nodes_[by]->publish(key);
    cluster.collect();
  }
  void end_round() {
    for (std::size_t node = 0; node != nodes_.size(); ++node) {
      for (std::string& line : nodes_[node]->heard()) {
        if (line.starts_with("resync")) resync_[node] = round_;
        heard_[node][line.substr(line.find(' ') + 1)] = true;
      }
    }
    ++round_;
  }
  [[nodiscard]] Lines missing() const {
    Lines missing;
    for (std::size_t node = 0; node != nodes_.size(); ++node) {
      for (const Key& key : keys_) {
        if (key.by == node || resync_[node] >= key.round || heard_[node].contains(key.key)) continue;
        missing.push_back(std::to_string(node) + " misses " + key.key);
      }
    }
    return missing;
  }
  [[nodiscard]] std::size_t keys() const { return keys_.size(); }

 private:
  struct Key {
    std::string key;
    std::size_t by;
    int round;
  };
  std::vector<Node*> nodes_;
  std::vector<std::map<std::string, bool>> heard_;
  std::vector<int> resync_;  ///< the round of the last one
  std::vector<Key> keys_;
  int round_ = 0;
};

core::ProtocolOptions as(std::uint64_t id, bool whole) {
  auto options = whole ? lossless() : roomy();
  options.self = NodeId{id};
  return options;
}

}  // namespace

TEST_CASE("nothing that two nodes with one id publish is lost in silence, at each other or at their peers") {
  const bool whole = GENERATE(true, false);
  const auto seed = GENERATE(1U, 2U, 3U, 4U, 5U);
  const bool late = GENERATE(true, false);  // one has long been there when the other comes
  CAPTURE(whole, seed, late);
  std::minstd_rand random{seed};
  Cluster cluster;
  Node& first = cluster.add(as(7, whole));
  Node& peer = cluster.add(as(8, whole));
  cluster.pass(100ms);
  for (int round = 0; late && round != 400; ++round) {
    (void)first.publish("early");
    cluster.pass(500ms);
  }
  Node& second = cluster.add(as(7, whole));
  cluster.pass(100ms);
  for (Node* const node : {&first, &peer, &second}) (void)node->heard();
  if (!whole) cluster.loses = [&](auto& from, auto& to, auto&) { return &from != &to && random() % 20 == 0; };
  Books books{{&first, &peer, &second}};
  for (int round = 0; round != 200; ++round) {
    for (std::size_t node = 0; node != 3; ++node) {
      if (random() % 2 == 0) books.publish(node, cluster);
    }
    cluster.pass(std::chrono::milliseconds{random() % 100});
    books.end_round();
  }
  cluster.pass(65s);
  books.end_round();
  CHECK(books.keys() > 200);
  CHECK(books.missing() == Lines{});
  CHECK(first.doubled == std::vector<NodeId>{NodeId{}});
  CHECK(second.doubled == std::vector<NodeId>{NodeId{}});
  CHECK(peer.doubled == std::vector<NodeId>{NodeId{7}});
  CHECK(leaves_out(peer));

  cluster.crash(second);
  cluster.pass(70s);  // there is one such resync a minute
  for (Node* const node : {&first, &peer}) {
    CHECK_FALSE(leaves_out(*node));
    CHECK(node->staleness() < 4s);
    (void)node->heard();
  }
  (void)first.submit({.type = EventType::set, .key = "k"});
  cluster.collect();
  cluster.pass(5s);
  CHECK(peer.heard() == Lines{"set k"});
}
