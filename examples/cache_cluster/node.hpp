// A cache node: a cache, the bus that keeps it right, and the threads that read and write.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <latch>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <syncbus/bus.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>

#include "board.hpp"
#include "local_cache.hpp"
#include "truth.hpp"
#include "zipf.hpp"

namespace cache_cluster {

/// What all nodes of a cluster share, in this process or as a copy in each.
struct Cluster {
  Board& board;
  Truth& truth;
  const std::vector<std::string>& keys;
  const Zipf& zipf;
  std::uint64_t seed;
  std::size_t writes_per_quorum;  ///< 0: no write waits for a quorum
  bool calm;                      ///< nothing goes wrong
  bool connected;                 ///< false: each node is alone, and there is nothing to hear
};

/// A run with faults is short, so its nodes say more often that they are there, and notice sooner who is not.
[[nodiscard]] inline syncbus::BusOptions bus_options(const Cluster& cluster, std::size_t node) {
  syncbus::BusOptions options{.name = "cache-" + std::to_string(node)};
  if (!cluster.calm) {
    options.heartbeat = std::chrono::milliseconds{250};
    options.peer_timeout = std::chrono::seconds{1};
  }
  return options;
}

/// Written once for every bus: over memory or over a broker, a node does the same.
template <syncbus::Bus B>
class Node {
 public:
  Node(const Cluster& cluster, std::size_t index, B& bus)
      : cluster_{cluster},
        index_{index},
        bus_{bus},
        record_{cluster.board.records[index]},
        cache_{cluster.truth},
        subscription_{bus.subscribe_all([this](const syncbus::Event& event) { hear(event); },
                                        [this](const syncbus::Resync& resync) { hear(resync); })} {}

  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Goes with the cluster through its stages; returns at the end.
  void run() {
    record_.ready = true;
    watch_while(Stage::starting);
    {
      std::vector<std::jthread> workers;
      for (unsigned i = 0; i != worker_count; ++i) workers.emplace_back([this, i] { work(i); });
      watch_while(Stage::traffic);
      writers_.wait();
      wait_for_quorums();
      settle();
      reading_ = false;
    }
    audit();
    record_.audited = true;
    watch_while(Stage::settling);
  }

 private:
  using Clock = std::chrono::steady_clock;

  static constexpr unsigned worker_count = 4;
  static constexpr unsigned writes_percent = 2;
  static constexpr std::chrono::milliseconds quorum_timeout{200};

  // --- what the bus says

  void hear(const syncbus::Event& event) {
    cache_.apply(event);
    record_.events_in.fetch_add(1, std::memory_order_relaxed);
  }

  void hear(const syncbus::Resync& resync) {
    cache_.clear();
    record_.resyncs[static_cast<std::size_t>(resync.cause)].fetch_add(1, std::memory_order_relaxed);
  }

  // --- what the workers do

  void work(unsigned number) {
    std::seed_seq seeds{cluster_.seed, static_cast<std::uint64_t>(index_), std::uint64_t{number}};
    std::mt19937_64 random{seeds};
    while (cluster_.board.stage() == Stage::traffic && !record_.failed) some_operations(random, writes_percent);
    writers_.count_down();
    while (reading_) some_operations(random, 0);  // loads go on racing with the last invalidations
  }

  void some_operations(std::mt19937_64& random, unsigned percent) {
    const std::size_t most_popular = cluster_.board.trend() * 7'919;
    std::uint64_t reads = 0;
    std::uint64_t hits = 0;
    for (int i = 0; i != 16; ++i) {
      const std::string& key = cluster_.keys[(most_popular + cluster_.zipf(random)) % cluster_.keys.size()];
      if (random() % 100 < percent) {
        write(key);
      } else {
        ++reads;
        hits += cache_.read(key) ? 1U : 0U;
      }
    }
    record_.reads.fetch_add(reads, std::memory_order_relaxed);
    record_.hits.fetch_add(hits, std::memory_order_relaxed);
  }

  /// The Set path: write the truth and the own cache, then tell the others, with the version, so that whoever has this
  /// version already keeps it.
  void write(std::string_view key) {
    const std::uint64_t version = cache_.write(key);
    const syncbus::PublishOptions what{
        .type = syncbus::EventType::set, .version = version, .scope = syncbus::Scope::remote};
    const auto number = record_.events_out.fetch_add(1, std::memory_order_relaxed);
    if (wants_quorum(number)) {
      publish_for_quorum(key, what);
    } else if (const auto error = bus_.publish(key, what)) {
      fail("publish", error);
    }
  }

  [[nodiscard]] bool wants_quorum(std::uint64_t number) const noexcept {
    return cluster_.connected && cluster_.writes_per_quorum != 0 && number % cluster_.writes_per_quorum == 0;
  }

  /// So many others that they and this node are a majority. A service would answer its caller from the completion; here
  /// the bus counts what came of it. An await that is refused has told nobody of what is written already.
  void publish_for_quorum(std::string_view key, const syncbus::PublishOptions& what) {
    awaiting_.fetch_add(1);
    bus_.async_publish_and_await(key, cluster_.board.records.size() / 2, {.timeout = quorum_timeout, .publish = what},
                                 [this, key = std::string{key}, what](const syncbus::AwaitOutcome& outcome) {
                                   if (!outcome.published) {
                                     if (const auto error = bus_.publish(key, what)) fail("publish", error);
                                   } else if (outcome.error && outcome.error != syncbus::Errc::quorum_not_satisfied) {
                                     fail("publish_and_await", outcome.error);
                                   }
                                   awaiting_.fetch_sub(1);  // last: nobody waits for this node any more
                                 });
  }

  /// Each has its timeout.
  void wait_for_quorums() {
    static_cast<void>(wait_until((syncbus::TimePoint::max)(), [&] { return awaiting_ == 0; }));
  }

  // --- the end

  /// Until this node has heard whatever anybody wrote.
  void settle() {
    if (!cluster_.connected || stopped()) return;
    const auto deadline = Clock::now() + std::chrono::seconds{30};
    if (const auto error = bus_.flush(std::chrono::seconds{20})) return fail("flush", error);
    record_.writes_over = true;
    const bool all_over = wait_until(deadline, [&] {
      show();
      return stopped() || cluster_.board.all(&NodeRecord::writes_over);
    });
    const auto writes_ended = Clock::now();
    const bool all_heard = wait_until(deadline, [&] {
      show();
      return stopped() || caught_up_with(writes_ended);
    });
    if (!all_over || !all_heard) fail("waiting for the last writes of the others", syncbus::Errc::timed_out);
  }

  /// Whether every other node was heard after `time`, and this node's handlers have returned from all that any of them
  /// published before it.
  [[nodiscard]] bool caught_up_with(Clock::time_point time) const {
    const auto ago = Clock::now() - time;
    const auto peers = bus_.peers();
    const auto heard = std::count_if(peers.begin(), peers.end(),
                                     [&](const syncbus::Peer& peer) { return peer.silent_for < ago; });
    return static_cast<std::size_t>(heard) + 1 >= cluster_.board.records.size() && bus_.staleness() < ago;
  }

  void audit() {
    std::uint64_t entries = 0;
    std::uint64_t stale = 0;
    cache_.for_each([&](std::string_view key, std::uint64_t version) {
      ++entries;
      stale += version != cluster_.truth.current(key) ? 1U : 0U;
    });
    record_.entries = entries;
    record_.stale = stale;
  }

  /// Until the cluster leaves `stage`.
  void watch_while(Stage stage) {
    while (cluster_.board.stage() == stage) {
      show();
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  }

  /// What only the bus knows.
  void show() {
    record_.connected = cluster_.connected && bus_.is_healthy();
    const syncbus::Metrics metrics = bus_.metrics();
    record_.joined = metrics.joined;
    record_.gaps = metrics.gaps;
    record_.repaired = metrics.frames_repaired;
    record_.quorums_satisfied = metrics.quorums_satisfied;
    record_.quorums_failed = metrics.quorums_not_satisfied;
    record_.note_staleness(bus_.staleness());
  }

  [[nodiscard]] bool stopped() const noexcept { return record_.failed || cluster_.board.stage() == Stage::ended; }

  void fail(const char* what, const std::error_code& error) {
    if (record_.failed.exchange(true)) return;
    std::fprintf(stderr, "cache_cluster: node %zu: %s: %s\n", index_, what, error.message().c_str());
  }

  const Cluster cluster_;
  const std::size_t index_;
  B& bus_;
  NodeRecord& record_;
  LocalCache cache_;
  std::latch writers_{worker_count};
  std::atomic<std::size_t> awaiting_{0};  // completions that are still to come
  std::atomic<bool> reading_{true};
  syncbus::Subscription subscription_;  // last: its handlers use everything above
};

}  // namespace cache_cluster
