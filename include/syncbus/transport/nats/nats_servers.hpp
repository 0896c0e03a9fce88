// The NATS servers that a bus may connect to: those of its URLs, and those that their cluster announces. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/base/split_mix64.hpp>
#include <syncbus/transport/nats/nats_url.hpp>

namespace syncbus::inline v1::detail {

/// They are tried in turn, round and round: those of the URLs in their order, those that were announced in an order of
/// each node's own, so that the nodes of a server that goes spread over the others.
class NatsServers {
 public:
  /// What a server may announce is bounded here.
  static constexpr std::size_t max_announced = 256;

  NatsServers(std::vector<NatsUrl> urls, std::uint64_t seed)
      : servers_{std::move(urls)}, given_{servers_.size()}, last_{servers_.size() - 1}, random_{seed} {}

  [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }

  [[nodiscard]] NatsUrl next() {
    last_ = (last_ + 1) % servers_.size();
    return servers_[last_];
  }

  /// All servers of the cluster, as the one at `from` tells: addresses with the scheme nats. They take the user of
  /// `from`. What was announced before and is no more is forgotten; an empty announcement says nothing.
  void announce(const std::vector<std::string>& addresses, const NatsUrl& from) {
    if (addresses.empty()) return;
    std::vector<NatsUrl> announced;
    for (const std::string& address : addresses) {
      if (announced.size() != max_announced) add_announced(address, from, announced);
    }
    const auto is_gone = [&](const NatsUrl& server) { return !contains(announced, server) && !same(server, from); };
    for (std::size_t i = servers_.size(); i-- != given_;) {
      if (is_gone(servers_[i])) forget(i);
    }
    for (NatsUrl& server : announced) {
      if (!contains(servers_, server)) insert(std::move(server));
    }
  }

 private:
  [[nodiscard]] static bool same(const NatsUrl& a, const NatsUrl& b) noexcept {
    return a.host == b.host && a.port == b.port;
  }
  [[nodiscard]] static bool contains(const std::vector<NatsUrl>& servers, const NatsUrl& one) noexcept {
    return std::any_of(servers.begin(), servers.end(), [&](const NatsUrl& other) { return same(other, one); });
  }

  static void add_announced(const std::string& address, const NatsUrl& from, std::vector<NatsUrl>& announced) {
    try {
      NatsUrl server = parse_one_nats_url(address);
      server.user = from.user;
      server.password = from.password;
      if (!contains(announced, server)) announced.push_back(std::move(server));
    } catch (const std::system_error&) {  // a server may announce what no client can read
    }
  }

  void forget(std::size_t index) {
    servers_.erase(servers_.begin() + static_cast<std::ptrdiff_t>(index));
    if (last_ >= index) --last_;
  }

  /// Anywhere behind those of the URLs, at random.
  void insert(NatsUrl server) {
    const std::size_t index = given_ + random_.next() % (servers_.size() - given_ + 1);
    servers_.insert(servers_.begin() + static_cast<std::ptrdiff_t>(index), std::move(server));
    if (last_ >= index) ++last_;
  }

  std::vector<NatsUrl> servers_;
  std::size_t given_;  // so many are of URLs; they come first
  std::size_t last_;   // that was tried
  SplitMix64 random_;
};

}  // namespace syncbus::inline v1::detail
