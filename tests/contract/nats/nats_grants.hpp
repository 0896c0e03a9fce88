// What a user of a test's nats-server may publish, and how that changes while it runs.
#pragma once

#include <string>
#include <string_view>

#include "support/nats_server.hpp"

namespace contract {

/// A configuration: root may do everything, eve only this, and hear a node's subjects. Their password is "p".
[[nodiscard]] inline std::string with_grants(const std::string& publish) {
  return R"(authorization { users = [
    {user: root, password: p}
    {user: eve, password: p, permissions: {publish: [)" +
         publish + R"(], subscribe: ["subject", "subject.direct.*"]}}
  ] })";
}

inline constexpr std::string_view all_grants = R"("subject", "subject.direct.*")";
inline constexpr std::string_view no_broadcasts = R"("subject.direct.*")";

/// Reloads the server with other grants.
inline void grant_on(support::NatsServer& server, const std::string& publish) {
  server.configure(with_grants(publish));
  server.reload();
}

}  // namespace contract
