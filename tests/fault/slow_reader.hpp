// A node in a process of its own, which a test stops for so long that its server cuts it off.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>

#include "fault/auditor.hpp"
#include "fault/cluster.hpp"
#include "fault/shared.hpp"
#include "fault/trial.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/eventually.hpp"
#include "support/process_limits.hpp"

namespace fault {

/// What the node and its test tell each other.
struct Conversation {
  std::atomic<bool> ready = false;
  std::atomic<bool> writing_is_over = false;
  std::atomic<std::uint64_t> reconnects = 0;
  std::atomic<std::uint64_t> repaired = 0;
  std::atomic<std::uint64_t> resyncs = 0;
  std::atomic<std::uint64_t> resyncs_of_a_cut = 0;
  std::atomic<std::uint64_t> stale = Database::rows;
  std::atomic<bool> caps_held = false;
  std::atomic<bool> leaked = true;
};

inline constexpr std::size_t slow = 2;  ///< its index, behind those of two nodes of the test's own

/// Only reads, until the writers have ended and it holds nothing that is not true.
template <class Broker>
int read_until_all_is_true(const typename Broker::Server& server, Database& database, Conversation& conversation) {
  [[maybe_unused]] const typename Broker::Client client{};
  const support::ProcessLimits limits;
  {
    const syncbus::BusOptions options{.name = "slow"};
    typename Broker::Bus bus = Broker::bus(server, slow, options);
    AuditedNode node{database, bus, slow + 1};
    node.fill();
    node.write_no_more();
    node.begin();
    conversation.ready = true;
    const bool told = support::eventually([&] { return conversation.writing_is_over.load(); }, 2 * support::patience);
    const auto lacks_nothing = [&] {  // also nothing that concerns no row
      const auto peers = bus.peers();
      return std::all_of(peers.begin(), peers.end(), [](const syncbus::Peer& peer) { return peer.lag == 0; });
    };
    const bool converged = told && support::eventually([&] { return node.cache().stale() == 0 && lacks_nothing(); });
    node.end();
    const syncbus::Metrics metrics = bus.metrics();
    conversation.reconnects = metrics.reconnects;
    conversation.repaired = metrics.frames_repaired;
    conversation.resyncs = all_resyncs(metrics);
    conversation.resyncs_of_a_cut =
        metrics.resyncs_by(syncbus::ResyncCause::interrupted) + metrics.resyncs_by(syncbus::ResyncCause::unrepairable);
    conversation.stale = node.cache().stale();
    conversation.caps_held = node.most_queue_bytes() <= options.queue_bytes + options.pending_bytes &&
                             node.most_history_bytes() <= options.history_bytes;
    if (!converged) return 1;
  }
  conversation.leaked = !limits.hold();
  return 0;
}

/// The node's process is stopped while nodes of this one publish until `is_cut_off()`; what they write then it misses.
/// No thread may run yet.
template <class Broker, class IsCutOff>
void check_slow_reader(const typename Broker::Server& server, IsCutOff is_cut_off) {
  const Shared<Conversation> conversation;
  const Shared<Database> database;
  support::ChildProcess child{[&] { return read_until_all_is_true<Broker>(server, *database, *conversation); }};
  [[maybe_unused]] const typename Broker::Client client{};
  const support::ProcessLimits limits;
  REQUIRE(support::eventually([&] { return conversation->ready.load(); }));
  {
    Cluster<Broker> cluster{server, *database, slow};
    REQUIRE(cluster.becomes_fresh(slow));
    child.stop();
    std::vector<std::string> of_no_row;
    for (int i = 0; i != 100; ++i) of_no_row.push_back(std::to_string(i) + std::string(1'000, 'x'));
    for (int round = 0; !is_cut_off(); ++round) {
      REQUIRE(round < 1'000);
      CHECK_FALSE(cluster.bus(1).publish(of_no_row));
    }
    cluster.node(0).rewrite_everything();
    CHECK_FALSE(cluster.bus(0).flush(support::patience));
    conversation->writing_is_over = true;  // its patience may have run out while it was stopped
    child.resume();
    CHECK(child.ends() == 0);
    check_nothing_lost(cluster, 1);
  }
  CHECK(conversation->stale == 0);
  CHECK(conversation->reconnects >= 1);
  CHECK(conversation->resyncs == conversation->resyncs_of_a_cut);
  CHECK(conversation->resyncs + conversation->repaired > 0);
  CHECK(conversation->caps_held);
  CHECK_FALSE(conversation->leaked);
  CHECK(limits.hold());
}

}  // namespace fault
