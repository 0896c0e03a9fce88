// What a cluster of audited nodes has to know of NATS: its server, and a user for each node, so that one of them can be
// refused.
#pragma once

#include <nats/nats.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/nats_bus.hpp>

#include "support/nats_server.hpp"

namespace fault {

struct OnNats {
  using Server = support::NatsServer;
  using Bus = syncbus::NatsBus;

  /// Has threads of its own, which live on when the last connection is gone.
  struct Client {
    Client() { support::require_ok(nats_Open(-1)); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { static_cast<void>(nats_CloseAndWait(10'000)); }
  };

  static constexpr std::string_view subject = "fault";

  /// Long enough a pause that a node misses something when its connection breaks while others publish.
  static constexpr syncbus::NatsTuning tuning{.min_backoff = std::chrono::milliseconds{20},
                                              .max_backoff = std::chrono::milliseconds{100}};

  [[nodiscard]] static std::string user(std::size_t index) { return "node" + std::to_string(index); }

  /// Of a server with the users of four nodes. `permissions`, if given, are those of node 1; the others may do all.
  [[nodiscard]] static std::string configuration(std::string_view permissions = {}) {
    std::string text = "authorization { users = [\n";
    for (std::size_t index = 0; index != 4; ++index) {
      text += "{user: " + user(index) + ", password: password";
      if (index == 1 && !permissions.empty()) text.append(", permissions: {").append(permissions).append("}");
      text += "}\n";
    }
    return text + "] }\n";
  }

  [[nodiscard]] static Server server() { return Server{configuration()}; }

  [[nodiscard]] static Bus bus(const Server& server, std::size_t index, syncbus::BusOptions options) {
    return Bus{server.url(user(index) + ":password"), subject, std::move(options), tuning};
  }
};

}  // namespace fault
