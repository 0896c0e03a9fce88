// A server, the nodes that a fault is to hit, and what is to be true of them afterwards.
#pragma once

#include <cstddef>
#include <optional>

#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>

#include "fault/auditor.hpp"
#include "fault/cluster.hpp"
#include "fault/shared.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/process_limits.hpp"

namespace fault {

inline constexpr std::size_t three = 3;
inline constexpr std::size_t two = three - 1;  // peers of each

template <class Broker>
struct Trial {
  explicit Trial(const syncbus::BusOptions& options = {}) {
    cluster.emplace(server, *database, three, options);
    REQUIRE(cluster->becomes_fresh(two));
  }

  typename Broker::Server server = Broker::server();
  Shared<Database> database;
  typename Broker::Client client;
  support::ProcessLimits limits;
  std::optional<Cluster<Broker>> cluster;
};

template <class Broker>
void check_nothing_lost(Cluster<Broker>& cluster, std::size_t peers = two) {
  CHECK(cluster.becomes_healthy());
  const bool settled = cluster.settles();
  INFO(cluster.account());
  CHECK(settled);
  CHECK(cluster.stale() == 0);
  CHECK(cluster.nothing_refused());
  CHECK(cluster.caps_held());
  CHECK(cluster.becomes_fresh(peers));
  const auto outcome = cluster.bus(0).publish_and_await("everybody", cluster.size(), {.timeout = support::patience});
  CHECK_FALSE(outcome.error);
  CHECK(outcome.replicas.size() == cluster.size());
}

template <class Broker>
void check_nothing_leaked(Trial<Broker>& trial) {
  trial.cluster.reset();
  CHECK(trial.limits.hold());
}

/// All of them are due to having been cut off for longer than history reaches.
inline void check_resyncs_of_a_cut(const syncbus::Metrics& metrics) {
  using syncbus::ResyncCause;
  const auto of_a_cut = metrics.resyncs_by(ResyncCause::interrupted) + metrics.resyncs_by(ResyncCause::unrepairable);
  CHECK(all_resyncs(metrics) == of_a_cut);
}

}  // namespace fault
