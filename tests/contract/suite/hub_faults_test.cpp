// What a service sees of a hub that loses, doubles, delays, reorders, parts and crashes: all in virtual time.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <syncbus/bus_facade.hpp>
#include <syncbus/engine/engine_link.hpp>
#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>
#include <syncbus/local/local_node.hpp>
#include <syncbus/transport/memory/hub_state.hpp>
#include <syncbus/transport/memory/in_memory_transport.hpp>

#include "contract/fixtures/cache.hpp"
#include "contract/fixtures/crank.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/outcomes.hpp"
#include "support/all_resyncs.hpp"
#include "support/catch.hpp"
#include "support/keys.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::kib, support::wide_key;
using syncbus::AwaitOptions, syncbus::BusOptions, syncbus::Errc, syncbus::Event, syncbus::EventType,
    syncbus::InMemoryBus, syncbus::InMemoryHub, syncbus::Metrics, syncbus::NodeId, syncbus::Quorum, syncbus::Resync,
    syncbus::ResyncCause, syncbus::Scope;

namespace {

/// A node that hears everything.
struct Node {
  explicit Node(InMemoryHub& hub, const BusOptions& options = {}) : bus{hub, options} {}
  InMemoryBus* operator->() noexcept { return &bus; }

  [[nodiscard]] std::uint64_t resyncs() const { return support::all_resyncs(bus.metrics()); }

  Heard heard;
  InMemoryBus bus;
  syncbus::Subscription subscription = bus.subscribe_all(heard.on_event(), heard.on_resync());
};

/// Without the types of the events, and sorted.
Lines keys_of(const Heard& heard) {
  Lines keys = heard.lines();
  for (auto& line : keys) line.erase(0, line.find(' ') + 1);
  std::ranges::sort(keys);
  return keys;
}

}  // namespace

TEST_CASE("a node that has been made knows who is there, and they know it", "[contract]") {
  InMemoryHub hub;
  std::vector<std::unique_ptr<InMemoryBus>> nodes;
  for (std::size_t i = 0; i != 5; ++i) {
    nodes.push_back(std::make_unique<InMemoryBus>(hub));
    for (const auto& node : nodes) CHECK(node->peers().size() == i);
  }
}

TEST_CASE("a partition that heals is repaired, without a resync and without waiting", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub}, c{hub};
  hub.partition({a->id()});
  CHECK_FALSE(a->publish("from a"));
  CHECK_FALSE(b->publish("from b"));
  CHECK(a.heard.lines() == Lines{"invalidate from a"});
  CHECK(c.heard.lines() == Lines{"invalidate from b"});

  hub.advance(2s);
  hub.heal();
  hub.advance(2s);
  CHECK(a.heard.lines() == Lines{"invalidate from a", "invalidate from b"});
  CHECK(b.heard.lines() == Lines{"invalidate from b", "invalidate from a"});
  CHECK(c.heard.lines() == Lines{"invalidate from b", "invalidate from a"});
  for (Node* node : {&a, &b, &c}) CHECK(node->resyncs() == 0);
  CHECK(a->metrics().frames_repaired == 1);
  CHECK(a->metrics().gaps == 1);
}

TEST_CASE("a heal repairs much as well, and what is published then keeps its order", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub};
  hub.partition({a->id()});
  for (int i = 0; i != 500; ++i) CHECK_FALSE(a->publish(std::to_string(i)));
  hub.heal();
  hub.advance(5s);
  REQUIRE(b.heard.count() == 500);
  CHECK(b.heard.lines() == a.heard.lines());
  CHECK(b.resyncs() == 0);
}

TEST_CASE("a long partition is a resync, peer_lost, for each side, and the heal repairs the rest", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub}, c{hub};
  CHECK_FALSE(a->publish("before"));
  hub.partition({a->id()});
  hub.advance(20s);
  CHECK(a.heard.lines().back() == "resync: peer_lost");
  const auto lost = a.resyncs();
  CHECK(lost >= 1);
  CHECK(lost <= 2);  // one for each of the two, joined when they are found out at once
  for (Node* node : {&b, &c}) {
    CHECK(node->heard.lines() == Lines{"invalidate before", "resync: peer_lost"});
    CHECK(node->heard.origins()[1] == a->id());
  }
  CHECK_FALSE(a->publish("during"));
  hub.advance(20s);
  CHECK(b.resyncs() == 1);

  hub.heal();
  hub.advance(5s);
  for (Node* node : {&b, &c}) {
    CHECK(node->heard.lines() == Lines{"invalidate before", "resync: peer_lost", "invalidate during"});
    CHECK(node->bus.peers().size() == 2);
    for (const auto& peer : node->bus.peers()) CHECK(peer.silent_for <= 2s);
  }
  CHECK(a.resyncs() == lost);
}

TEST_CASE("staleness in a partition is about its length, and the node stays healthy", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub};
  hub.advance(10s);
  CHECK(a->staleness() <= 2s);
  hub.partition({a->id()});
  for (auto length = 100ms; length <= 4s; length += 100ms) {
    hub.advance(100ms);
    CHECK(a->staleness() >= length);
    CHECK(a->staleness() <= length + 2s);
  }
  CHECK(a->is_healthy());  // it hears itself: a peer is missing, not the hub
  hub.heal();
  hub.advance(3s);
  CHECK(a->staleness() <= 2s);
  CHECK(b->staleness() <= 2s);
  CHECK(a.resyncs() + b.resyncs() == 0);
}

TEST_CASE("on_health tells when staleness passes peer_timeout, and when the peer that was not heard counts as silent",
          "[contract]") {
  InMemoryHub hub;
  std::vector<syncbus::Health> told;
  Node a{hub, {.on_health = [&](const syncbus::Health&health) { told.push_back(health); }}}, b{hub};
  hub.advance(10s);
  told.clear();
  hub.partition({a->id()});
  auto worst = syncbus::Duration::zero();
  for (auto length = 100ms; length <= 20s; length += 100ms) {
    hub.advance(100ms);
    worst = (std::max)(worst, a->staleness());
    CHECK(a->is_healthy());  // it hears itself all the time
  }
  CHECK(worst > 5s);
  CHECK(worst <= 10s);  // silence is found out with a heartbeat of its own
  REQUIRE(told.size() == 2);
  CHECK(told[0].connected);
  CHECK(told[0].staleness > 5s);
  CHECK(told[1].connected);
  CHECK(told[1].staleness == 0s);
  CHECK(a->staleness() == 0s);  // of those that it hears it knows all; what the silent one said may be lost,
  CHECK(a.heard.lines() == Lines{"resync: peer_lost"});  // which was said

  hub.heal();
  hub.advance(3s);
  CHECK(a->staleness() <= 2s);
  CHECK(a.resyncs() == 1);
  CHECK(told.size() == 2);
}

TEST_CASE("where there are more nodes than max_peers has room for, log and health say so, and nobody is forgotten in turn",
          "[contract]") {
  InMemoryHub hub;
  std::vector<syncbus::Health> told;
  std::vector<std::string> lines;
  Node a{hub, {.max_peers = 1,
               .on_health = [&](const syncbus::Health& health) { told.push_back(health); },
               .on_log = [&](std::string_view line) { lines.emplace_back(line); }}};
  Node b{hub};
  hub.advance(10s);
  CHECK(lines.empty());
  told.clear();
  {
    Node c{hub};
    hub.advance(1s);
    REQUIRE_FALSE(told.empty());
    CHECK(told[0].peers_left_out);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("BusOptions::max_peers above the number of nodes") != std::string::npos);
    CHECK_FALSE(c->publish("k", {.type = EventType::set}));
    CHECK(a.heard.lines().back() == "invalidate k");
    CHECK(c->publish_and_await("k", 2).error == std::error_code{});
    CHECK(a->publish_and_await("k", Quorum::everyone(), {.timeout = 500ms}).error == Errc::quorum_not_satisfied);
    hub.advance(10s);
    CHECK(a->staleness() > 10s);
    CHECK(a->is_healthy());
    CHECK(a->peers().front().id == b->id());
    CHECK(a->metrics().frames_left_out == 2);
  }
  hub.advance(2min);
  CHECK_FALSE(told.back().peers_left_out);
  CHECK(a->staleness() < 3s);
  CHECK(a->publish_and_await("k", Quorum::everyone()).error == std::error_code{});
  CHECK(a.resyncs() == 2);  // as it began, and for what nobody would have noticed
  CHECK(lines.size() == 1);
}

namespace {

/// A node with an id that the test chooses, as no bus lets one: of clones of one process.
class Clone : public syncbus::BusFacade<Clone> {
 public:
  Clone(const std::shared_ptr<syncbus::detail::HubState>& hub, NodeId id, BusOptions options = {})
      : hub_{hub}, local_{std::move(options), id, hub}, link_{local_, true, hub} {}
  ~Clone() {
    static_cast<void>(local_.refuse_all());
    static_cast<void>(link_.engine().close(hub_->now()));
    local_.end();
  }

  [[nodiscard]] std::error_code submit(const syncbus::Submission& submission) {
    {
      const syncbus::detail::HubTask task{*hub_};
      if (const auto error = link_.engine().submit(submission)) return error;
      local_.deliver(submission);
    }
    hub_->advance({});
    return {};
  }
  [[nodiscard]] syncbus::Subscription attach(const syncbus::Interest& interest, syncbus::Subscriber subscriber) {
    return local_.attach(interest, std::move(subscriber));
  }
  [[nodiscard]] syncbus::Health health() const { return link_.engine().health(); }

  Heard heard;

 private:
  std::shared_ptr<syncbus::detail::HubState> hub_;
  syncbus::detail::LocalNode local_;
  syncbus::detail::EngineLink<syncbus::InMemoryTransport> link_;

 public:
  syncbus::Subscription subscription = subscribe_all(heard.on_event(), heard.on_resync());
};

}  // namespace

TEST_CASE("two nodes with one id are noticed by themselves and by others, who say what to do, and hear all the same",
          "[contract]") {
  const auto hub = std::make_shared<syncbus::detail::HubState>(7, false);
  std::vector<std::string> lines, peers_lines;
  Clone original{hub, NodeId{7}, {.on_log = [&](std::string_view line) { lines.emplace_back(line); }}};
  Clone peer{hub, NodeId{8}, {.on_log = [&](std::string_view line) { peers_lines.emplace_back(line); }}};
  CHECK_FALSE(original.publish("of before"));
  hub->advance(10s);
  CHECK(lines.empty());
  {
    Clone clone{hub, NodeId{7}};
    hub->advance(2s);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("another node has this node's id") == 0);
    CHECK(lines[0].find("restart one of the two processes") != std::string::npos);
    REQUIRE(peers_lines.size() == 1);
    CHECK(peers_lines[0].find("two nodes have the id 0000000000000007") == 0);
    CHECK(original.health().peers_left_out);
    CHECK(peer.health().peers_left_out);
    for (int i = 0; i != 3; ++i) {
      CHECK_FALSE(original.publish("original", {.type = EventType::set}));
      CHECK_FALSE(clone.publish("clone", {.type = EventType::set}));
    }
    CHECK(peer.heard.count("invalidate original") == 3);
    CHECK(peer.heard.count("invalidate clone") == 3);
    CHECK(original.heard.count("invalidate clone") == 3);
    CHECK(clone.heard.count("invalidate original") == 3);
    CHECK(lines.size() == 1);
  }
  hub->advance(2min);
  CHECK_FALSE(peer.health().peers_left_out);
  CHECK_FALSE(original.publish("k", {.type = EventType::set}));
  CHECK(peer.heard.lines().back() == "set k");
}

TEST_CASE("a peer lags by what is missing of it", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub};
  hub.drop(1);
  CHECK_FALSE(a->publish("1"));
  CHECK_FALSE(a->publish("2"));
  hub.drop(0);
  CHECK_FALSE(a->publish("3"));
  REQUIRE(b->peers().size() == 1);
  CHECK(b->peers().front().lag == 2);
  CHECK(b.heard.lines() == Lines{"invalidate 3"});
  hub.advance(500ms);
  CHECK(b->peers().front().lag == 0);
  CHECK(b.heard.count() == 3);
  CHECK(b.resyncs() == 0);
}

TEST_CASE("quorums are satisfied while frames are dropped, doubled, reordered and late", "[contract]") {
  struct Fault {
    const char* name;
    double drop, duplicate, reorder;
    std::chrono::milliseconds least, most;
  };
  const auto fault = GENERATE(Fault{"drop", 0.3, 0, 0, 0ms, 0ms}, Fault{"duplicate", 0, 0.5, 0, 0ms, 0ms},
                              Fault{"reorder", 0, 0, 0.3, 0ms, 0ms}, Fault{"delay", 0, 0, 0, 1ms, 40ms},
                              Fault{"all", 0.2, 0.2, 0.2, 0ms, 30ms});
  INFO(fault.name);
  InMemoryHub hub;
  InMemoryBus publisher{hub}, x{hub}, y{hub};
  std::array<std::vector<std::uint64_t>, 2> seen;
  const auto note = [](std::vector<std::uint64_t>& mine) {
    return [&mine](const Event& event) { mine.push_back(event.version); };
  };
  const auto a = x.subscribe("k", note(seen[0])), b = y.subscribe("k", note(seen[1]));
  hub.drop(fault.drop);
  hub.duplicate(fault.duplicate);
  hub.reorder(fault.reorder);
  hub.delay(fault.least, fault.most);
  for (std::uint64_t version = 1; version <= 60; ++version) {
    AwaitOptions options{.timeout = 2min};
    options.publish.version = version;
    const auto outcome = publisher.publish_and_await("k", 2, options);
    CHECK_FALSE(outcome.error);
    CHECK(outcome.replicas.size() == 2);
    for (const auto& each : seen) CHECK(std::ranges::find(each, version) != each.end());
  }
  CHECK(publisher.metrics().quorums_satisfied == 60);
  if (fault.drop == 0) {
    for (const InMemoryBus* node : {&x, &y}) CHECK(node->metrics().resyncs == decltype(Metrics::resyncs){});
  }
}

TEST_CASE("nothing is lost in silence however many frames are", "[contract]") {
  InMemoryHub hub;
  InMemoryBus publisher{hub};
  InMemoryBus listener{hub};
  Cache cache;
  const auto subscription = cache.attach(listener);
  for (const double loss : {0.05, 0.5, 0.95}) {
    hub.drop(loss);
    for (int i = 0; i != 300; ++i) {
      const std::string key = std::to_string(i);
      cache.put(key);
      CHECK_FALSE(publisher.publish(key));
      hub.advance(3ms);
    }
    hub.drop(0);
    hub.advance(10s);
    CHECK(cache.size() == 0);
  }
  CHECK(listener.metrics().frames_repaired > 0);
}

TEST_CASE("a few lost frames are repaired, with about one request and one answer each", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub};
  hub.drop(0.05);
  for (int i = 0; i != 400; ++i) {
    CHECK_FALSE(a->publish(std::to_string(i)));
    hub.advance(5ms);
  }
  hub.drop(0);
  hub.advance(3s);
  CHECK(b.heard.count() == 400);
  CHECK(b.resyncs() == 0);
  const auto metrics = b->metrics();
  CHECK(metrics.gaps > 0);
  CHECK(metrics.frames_repaired == metrics.gaps);
  CHECK(metrics.duplicates == 0);
}

TEST_CASE("a doubled frame is heard once, a reordered one is no loss", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub};
  hub.duplicate(1);
  for (int i = 0; i != 50; ++i) CHECK_FALSE(a->publish(std::to_string(i)));
  hub.duplicate(0);
  CHECK(b.heard.lines() == a.heard.lines());
  CHECK(b->metrics().duplicates == 50);

  hub.reorder(0.5);
  for (int i = 0; i != 50; ++i) CHECK_FALSE(a->publish("set " + std::to_string(i), {.type = EventType::set}));
  hub.reorder(0);
  hub.advance(1s);
  CHECK(b.resyncs() == 0);
  CHECK(keys_of(b.heard) == keys_of(a.heard));
  CHECK(b.heard.count() == 100);
}

TEST_CASE("a crashed node holds an await of everyone up until it counts as silent, and no longer", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub};
  auto c = std::make_unique<Node>(hub);
  const NodeId crashed = c->bus.id();
  hub.advance(1s);
  hub.crash(crashed);
  const auto begin = hub.now();
  const auto everyone = a->publish_and_await("k", Quorum::everyone(), much_longer);
  CHECK_FALSE(everyone.error);
  CHECK(replicas_of(everyone) == ids_of(&a.bus, &b.bus));
  CHECK(hub.now() - begin >= 3s);
  CHECK(hub.now() - begin <= 15s);
  CHECK(a.heard.count("resync: peer_lost") == 1);

  const auto soon = hub.now();  // now that it is known, nobody waits for it
  CHECK_FALSE(a->publish_and_await("k", Quorum::everyone(), much_longer).error);
  CHECK(hub.now() - soon <= 1s);
  CHECK(a->publish_and_await("k", 3, much_longer).error == Errc::quorum_not_satisfied);
  CHECK(hub.now() - soon <= 2s);

  c.reset();
  hub.advance(1s);
  REQUIRE(a->peers().size() == 2);  // a silent one is listed until it is forgotten
  for (const auto& peer : a->peers()) CHECK((peer.silent_for > 5s) == (peer.id == crashed));
  CHECK(a.resyncs() == 1);
}

TEST_CASE("an await across a partition ends at its deadline, early when the peer is silent, well when it heals",
          "[contract]") {
  InMemoryHub hub;
  InMemoryBus a{hub};
  Node b{hub};
  hub.partition({a.id()});
  const auto begin = hub.now();
  CHECK(a.publish_and_await("deadline", 1, {.timeout = 700ms}).error == Errc::quorum_not_satisfied);
  CHECK(hub.now() - begin == 700ms);

  Outcomes outcomes;
  a.async_publish_and_await("heals", 1, {.timeout = 1min}, outcomes.completion());
  hub.advance(2s);
  CHECK(outcomes.count() == 0);
  hub.heal();
  hub.advance(2s);
  REQUIRE(outcomes.count() == 1);
  CHECK_FALSE(outcomes.all().front().error);
  CHECK(b.heard.lines() == Lines{"invalidate deadline", "invalidate heals"});

  hub.partition({a.id()});
  const auto parted = hub.now();
  CHECK(a.publish_and_await("early", 1, much_longer).error == Errc::quorum_not_satisfied);
  CHECK(hub.now() - parted >= 3s);
  CHECK(hub.now() - parted <= 15s);
  hub.heal();
  hub.advance(3s);
  CHECK(b.heard.contains("invalidate early"));  // it was broadcast
}

TEST_CASE("an awaited frame is repaired though the history no longer has it", "[contract]") {
  InMemoryHub hub;
  InMemoryBus a{hub, {.history_bytes = 64 * kib}};
  Node b{hub};
  hub.partition({a.id()});
  Outcomes outcomes;
  a.async_publish_and_await("awaited", 1, {.timeout = 1min}, outcomes.completion());
  for (int i = 0; i != 2'000; ++i) CHECK_FALSE(a.publish(wide_key(i)));
  CHECK(a.metrics().history_bytes <= 64 * kib + 1'000);
  hub.heal();
  hub.advance(5s);
  REQUIRE(outcomes.count() == 1);
  CHECK_FALSE(outcomes.all().front().error);
  CHECK(b.heard.contains("invalidate awaited"));
  CHECK(b.heard.count("resync: unrepairable") >= 1);  // for the others
}

TEST_CASE("what the history no longer has is a resync, unrepairable", "[contract]") {
  InMemoryHub hub;
  InMemoryBus publisher{hub, {.history_bytes = 64 * kib}}, listener{hub};
  Cache cache;
  const auto subscription = cache.attach(listener);
  hub.drop(1);
  for (int i = 0; i != 2'000; ++i) {
    cache.put(wide_key(i));
    CHECK_FALSE(publisher.publish(wide_key(i)));
    CHECK(publisher.metrics().history_bytes <= 64 * kib);
  }
  hub.drop(0);
  hub.advance(3s);
  CHECK(cache.size() == 0);
  const auto metrics = listener.metrics();
  CHECK(metrics.resyncs_by(ResyncCause::unrepairable) >= 1);
  CHECK(metrics.frames_repaired > 0);
}

TEST_CASE("a full receive queue joins, then overflows into a resync, and stays below its caps", "[contract]") {
  const std::size_t queue = 8 * kib;
  const std::size_t pending = GENERATE(std::size_t{4} * kib, std::size_t{1'024} * kib);
  InMemoryHub hub;
  Crank crank;
  InMemoryBus publisher{hub};
  InMemoryBus listener{hub, {.queue_bytes = queue, .pending_bytes = pending, .executor = crank.post()}};
  Cache cache;
  Heard heard;
  const auto a = cache.attach(listener);
  const auto b = listener.subscribe_all(heard.on_event(), heard.on_resync());
  for (int i = 0; i != 2'000; ++i) {
    cache.put(wide_key(i));
    CHECK_FALSE(publisher.publish(wide_key(i)));
    CHECK(listener.metrics().queue_bytes <= queue + pending);
  }
  CHECK(heard.count() == 0);
  while (crank.turn()) {
  }
  CHECK(cache.size() == 0);
  const bool overflowed = pending < 100 * kib;
  CHECK(heard.contains("resync: overflow") == overflowed);
  CHECK((listener.metrics().resyncs_by(ResyncCause::overflow) > 0) == overflowed);
  if (!overflowed) CHECK(heard.count() == 2'000);
  CHECK(listener.metrics().queue_bytes == 0);
  CHECK(listener.metrics().gaps == 0);
}

TEST_CASE("what is awaited is acknowledged though it joined or overflowed on the way", "[contract][threads]") {
  const auto distinct = GENERATE(false, true);
  InMemoryHub hub;
  Crank crank;
  InMemoryBus publisher{hub};
  InMemoryBus listener{hub, {.queue_bytes = 4 * kib, .pending_bytes = 4 * kib, .executor = crank.post()}};
  Heard heard;
  Outcomes outcomes;
  const auto subscription = listener.subscribe_all(heard.on_event(), heard.on_resync());
  for (int i = 0; i != 300; ++i) {
    publisher.async_publish_and_await(wide_key(distinct ? i : 0), 1, much_longer, outcomes.completion());
  }
  CHECK(outcomes.count() == 0);
  CHECK(heard.count() == 0);
  {
    const std::jthread turning{[&](const std::stop_token& stop) {  // time stands still while a task waits
      while (!stop.stop_requested()) {
        if (!crank.turn()) std::this_thread::yield();
      }
    }};
    for (int i = 0; i != 1'000 && outcomes.count() != 300; ++i) hub.advance(10ms);
  }
  REQUIRE(outcomes.count() == 300);
  for (const auto& outcome : outcomes.all()) {
    CHECK_FALSE(outcome.error);
    CHECK(outcome.replicas.size() == 1);
  }
  CHECK(heard.contains("resync: overflow") == distinct);
}

TEST_CASE("a full send ring joins, then overflows into a resync, and stays below its caps", "[contract]") {
  const std::size_t pending = GENERATE(std::size_t{4} * kib, std::size_t{1'024} * kib);
  InMemoryHub hub;
  InMemoryBus publisher{hub, {.history_bytes = 64 * kib, .pending_bytes = pending}}, listener{hub};
  Cache cache;
  Heard heard;
  const auto a = cache.attach(listener);
  const auto b = listener.subscribe_all(heard.on_event(), heard.on_resync());
  bool refused = false;
  std::uint64_t most = 0;
  const auto inside = publisher.subscribe("now", [&](const Event&) {  // nothing is delivered before it returns
    for (int i = 0; i != 3'000; ++i) {
      cache.put(wide_key(i));
      refused = refused || publisher.publish(wide_key(i));
      most = (std::max)(most, publisher.metrics().history_bytes);
    }
  });
  CHECK_FALSE(publisher.publish("now", {.scope = Scope::local}));
  hub.advance(1s);
  CHECK_FALSE(refused);
  CHECK(most <= 64 * kib);
  CHECK(cache.size() == 0);
  const bool overflowed = pending < 100 * kib;
  CHECK(heard.contains("resync: overflow") == overflowed);
  if (!overflowed) CHECK(heard.count() == 3'000);
}

TEST_CASE("a stranger's short past is repaired, a long one is one resync, joined", "[contract]") {
  const int past = GENERATE(1, 10, 64, 65, 500);
  INFO(past);
  InMemoryHub hub;
  Node x{hub};
  hub.partition({x->id()});
  InMemoryBus y{hub};
  for (int i = 0; i != past; ++i) CHECK_FALSE(y.publish(std::to_string(i)));
  hub.heal();
  hub.advance(3s);
  if (past <= 64) {
    CHECK(x.heard.count() == static_cast<std::size_t>(past));
    CHECK(x.resyncs() == 0);
  } else {
    CHECK(x.heard.lines() == Lines{"resync: joined"});
    CHECK(x.heard.origins().front() == y.id());
  }
  CHECK_FALSE(y.publish("now"));
  CHECK(x.heard.lines().back() == "invalidate now");
}

TEST_CASE("a stranger's past is nothing to a node without subscribers", "[contract]") {
  InMemoryHub hub;
  InMemoryBus x{hub};
  hub.partition({x.id()});
  InMemoryBus y{hub};
  for (int i = 0; i != 500; ++i) CHECK_FALSE(y.publish(std::to_string(i)));
  hub.heal();
  hub.advance(3s);
  REQUIRE(x.peers().size() == 1);
  Heard heard;
  const auto subscription = x.subscribe_all(heard.on_event(), heard.on_resync());
  hub.advance(3s);
  CHECK_FALSE(y.publish("now"));
  CHECK(heard.lines() == Lines{"invalidate now"});
  CHECK(x.metrics().gaps == 0);
}

TEST_CASE("a node that leaves while cut off is lost, one that says goodbye is not", "[contract]") {
  InMemoryHub hub;
  Node x{hub};
  { const InMemoryBus leaves{hub}; }
  hub.advance(20s);
  CHECK(x.resyncs() == 0);
  {
    const InMemoryBus unheard{hub};
    hub.partition({x->id()});
  }
  hub.heal();
  hub.advance(20s);
  CHECK(x.heard.lines() == Lines{"resync: peer_lost"});
}

TEST_CASE("time on a hub moves only in calls that wait, and by no more than they need", "[contract]") {
  InMemoryHub hub;
  auto then = hub.now();
  Node a{hub}, b{hub};
  CHECK(hub.now() - then >= 20ms);  // two join windows
  CHECK(hub.now() - then <= 1s);

  then = hub.now();
  for (int i = 0; i != 100; ++i) CHECK_FALSE(a->publish("k"));
  CHECK_FALSE(a->flush(1h));
  CHECK_FALSE(a->publish_and_await("k", 2, much_longer).error);
  CHECK(hub.now() == then);  // nothing of this had to wait

  const auto frames = a->metrics().frames_sent;
  hub.advance(0s);
  CHECK(hub.now() == then);
  CHECK(a->metrics().frames_sent == frames);
  hub.advance(1h);
  CHECK(hub.now() == then + 1h);
  CHECK(a->metrics().frames_sent - frames >= 3'600);  // a heartbeat a second, after a few faster ones
  CHECK(a->metrics().frames_sent - frames <= 3'620);
  CHECK(a.resyncs() + b.resyncs() == 0);

  then = hub.now();
  CHECK_FALSE(b->close(1h));
  CHECK(hub.now() - then <= 1s);
}

TEST_CASE("a publish under delay is on its way when it returns, and arrives when it is due", "[contract]") {
  InMemoryHub hub;
  Node a{hub}, b{hub};
  hub.delay(50ms, 50ms);
  CHECK_FALSE(a->publish("k"));
  CHECK_FALSE(a->flush(1h));
  CHECK(b.heard.count() == 0);
  hub.advance(49ms);
  CHECK(b.heard.count() == 0);
  hub.advance(1ms);
  CHECK(b.heard.count() == 1);
  const auto begin = hub.now();
  const auto outcome = a->publish_and_await("k", 2, much_longer);
  CHECK_FALSE(outcome.error);
  CHECK(hub.now() - begin == 100ms);  // there and back
}

TEST_CASE("a mailbox on a hub waits in virtual time", "[contract]") {
  InMemoryHub hub;
  InMemoryBus a{hub}, b{hub};
  auto box = b.subscribe("k");
  const auto then = hub.now();
  CHECK_FALSE(box.receive(1s));
  CHECK(hub.now() - then == 1s);
  hub.delay(50ms, 50ms);
  CHECK_FALSE(a.publish("k"));
  const auto event = box.receive(1s);
  REQUIRE(event);
  CHECK(hub.now() - then == 1s + 50ms);
}
