// Audited nodes on one broker, and what can be asked of all of them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>

#include "fault/auditor.hpp"
#include "support/all_resyncs.hpp"
#include "support/eventually.hpp"

namespace fault {

using support::all_resyncs;

/// `Broker` describes one, as OnRedis does: `Server`, as server() makes it; `Bus`, as bus(server, index, options) makes
/// that of a node; and `Client`, while which lives the process has what the client keeps beside connections.
template <class Broker>
class Cluster {
 public:
  using Server = typename Broker::Server;
  using Bus = typename Broker::Bus;

  Cluster(const Server& server, Database& database, std::size_t size, syncbus::BusOptions options = {})
      : options_{std::move(options)} {
    for (std::size_t index = 0; index != size; ++index) {
      nodes_.push_back(std::make_unique<Member>(server, index, options_, database));
    }
    for (const auto& node : nodes_) node->audited.fill();
  }

  [[nodiscard]] Bus& bus(std::size_t index) noexcept { return nodes_[index]->bus; }
  [[nodiscard]] AuditedNode<Bus>& node(std::size_t index) noexcept { return nodes_[index]->audited; }
  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  [[nodiscard]] bool logged(std::size_t index, std::string_view words) const {
    return nodes_[index]->log.lines().find(words) != std::string::npos;
  }

  void begin() {
    for (const auto& node : nodes_) node->audited.begin();
  }

  /// Each node publishes some more.
  [[nodiscard]] bool goes_on(std::uint64_t publishes = 200) const {
    std::vector<std::uint64_t> goals;
    for (const auto& node : nodes_) goals.push_back(node->audited.accepted() + publishes);
    return support::eventually([&] {
      for (std::size_t i = 0; i != nodes_.size(); ++i) {
        if (nodes_[i]->audited.accepted() < goals[i]) return false;
      }
      return true;
    });
  }

  [[nodiscard]] bool becomes_healthy() const {
    return support::eventually([&] { return all_of([](const Member& m) { return m.bus.is_healthy(); }); });
  }
  [[nodiscard]] bool becomes_unhealthy() const {
    return support::eventually([&] { return all_of([](const Member& m) { return !m.bus.is_healthy(); }); });
  }

  /// Every node hears `peers` others, of which it lacks nothing, and knows that it is not far behind.
  [[nodiscard]] bool becomes_fresh(std::size_t peers) const {
    return support::eventually([&] {
      return all_of([&](const Member& m) {
        const auto heard = m.bus.peers();
        const auto lacks = [](const syncbus::Peer& peer) { return peer.lag != 0; };
        return m.bus.staleness() < std::chrono::seconds{3} && heard.size() == peers &&
               std::none_of(heard.begin(), heard.end(), lacks);
      });
    });
  }

  /// Nobody writes any more; everything is with the broker, and in the end no cache holds what is not true, though
  /// readers went on until then.
  [[nodiscard]] bool settles() {
    for (const auto& node : nodes_) node->audited.write_no_more();
    const bool flushed = all_of([](Member& m) { return !m.bus.flush(support::patience); });
    const bool converged = support::eventually([&] { return stale() == 0; });
    for (const auto& node : nodes_) node->audited.end();
    return flushed && converged && stale() == 0;
  }

  [[nodiscard]] std::size_t stale() const {
    std::size_t stale = 0;
    for (const auto& node : nodes_) stale += node->audited.cache().stale();
    return stale;
  }

  [[nodiscard]] bool nothing_refused() const {
    return all_of([](const Member& m) { return m.audited.refused() == 0; });
  }
  [[nodiscard]] bool caps_held() const {
    return all_of([&](const Member& m) {
      return m.audited.most_queue_bytes() <= options_.queue_bytes + options_.pending_bytes &&
             m.audited.most_history_bytes() <= options_.history_bytes;
    });
  }
  /// Of all nodes together.
  [[nodiscard]] std::uint64_t reconnects() const {
    std::uint64_t reconnects = 0;
    for (const auto& node : nodes_) reconnects += node->bus.metrics().reconnects;
    return reconnects;
  }
  [[nodiscard]] bool no_resyncs() const {
    return all_of([](const Member& m) { return all_resyncs(m.bus.metrics()) == 0; });
  }

  /// What a failed check needs beside it.
  [[nodiscard]] std::string account() const {
    std::string lines;
    for (const auto& node : nodes_) lines += account_of(*node);
    return lines;
  }

 private:
  class Log {
   public:
    void add(std::string_view line) {
      const std::lock_guard lock{mutex_};
      lines_ += line;
      lines_ += '\n';
    }
    [[nodiscard]] std::string lines() const {
      const std::lock_guard lock{mutex_};
      return lines_;
    }

   private:
    mutable std::mutex mutex_;
    std::string lines_;
  };

  struct Member {
    Member(const Server& server, std::size_t index, syncbus::BusOptions options, Database& database)
        : bus(Broker::bus(server, index, with_log(std::move(options), index))), audited{database, bus, index + 1} {}

    [[nodiscard]] syncbus::BusOptions with_log(syncbus::BusOptions options, std::size_t index) {
      options.name = "node" + std::to_string(index);
      options.on_log = [this](std::string_view line) { log.add(line); };
      return options;
    }

    Log log;  // first: the bus writes it
    Bus bus;
    AuditedNode<Bus> audited;
  };

  template <class Predicate>
  [[nodiscard]] bool all_of(const Predicate& predicate) const {
    return std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& node) { return predicate(*node); });
  }

  [[nodiscard]] static std::string account_of(const Member& member) {
    const syncbus::Metrics metrics = member.bus.metrics();
    std::string line = to_string(member.bus.id()) + ": stale " + std::to_string(member.audited.cache().stale());
    line += ", of " + std::to_string(member.audited.cache().entries());
    line += ", reconnects " + std::to_string(metrics.reconnects) + ", gaps " + std::to_string(metrics.gaps);
    line += ", repaired " + std::to_string(metrics.frames_repaired) + ", resyncs by cause";
    for (const std::uint64_t count : metrics.resyncs) line += ' ' + std::to_string(count);
    return line + '\n' + member.log.lines();
  }

  syncbus::BusOptions options_;
  std::vector<std::unique_ptr<Member>> nodes_;
};

}  // namespace fault
