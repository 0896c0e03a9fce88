// A cache node: a cache, the bus that keeps it right, and the threads that read and write.
#pragma once

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

#include "board.hpp"
#include "last_words.hpp"
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
  bool connected;  ///< false: each node is alone, and there is nothing to hear
};

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
        last_words_{cluster.board, index},
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
      settle();
      reading_ = false;
    }
    audit();
    record_.audited = true;
    watch_while(Stage::settling);
  }

 private:
  static constexpr unsigned worker_count = 4;
  static constexpr unsigned writes_percent = 2;

  // --- what the bus says

  void hear(const syncbus::Event& event) {
    if (last_words_.take(event)) return;
    cache_.apply(event);
    record_.events_in.fetch_add(1, std::memory_order_relaxed);
  }

  void hear(const syncbus::Resync& resync) {
    const auto silent = last_words_.silent();  // before the clear: nodes that can make nothing stale after it
    cache_.clear();
    record_.resyncs[static_cast<std::size_t>(resync.cause)].fetch_add(1, std::memory_order_relaxed);
    last_words_.cleared(silent);
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
    const auto error =
        bus_.publish(key, {.type = syncbus::EventType::set, .version = version, .scope = syncbus::Scope::remote});
    if (error) return fail("publish", error);
    record_.events_out.fetch_add(1, std::memory_order_relaxed);
  }

  // --- the end

  /// Says the last word and waits for everybody else's.
  void settle() {
    if (!cluster_.connected || stopped()) return;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    record_.writes_over = true;
    if (const auto error = bus_.publish(LastWords::key(index_), {.scope = syncbus::Scope::remote})) {
      return fail("publish", error);
    }
    if (const auto error = bus_.flush(std::chrono::seconds{20})) return fail("flush", error);
    if (!wait_until(deadline, [&] { return last_words_.all_heard() || stopped(); })) {
      fail("waiting for the last words of the others", syncbus::Errc::timed_out);
    }
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

  /// Until the cluster leaves `stage`; shows meanwhile what only the bus knows.
  void watch_while(Stage stage) {
    while (cluster_.board.stage() == stage) {
      record_.connected = cluster_.connected && bus_.is_healthy();
      record_.joined = bus_.metrics().joined;
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
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
  LastWords last_words_;
  std::latch writers_{worker_count};
  std::atomic<bool> reading_{true};
  syncbus::Subscription subscription_;  // last: its handlers use everything above
};

}  // namespace cache_cluster
