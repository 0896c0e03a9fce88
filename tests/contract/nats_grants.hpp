// What a user of a test's nats-server may publish, and how that changes while it runs.
#pragma once

#include <nats/nats.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "contract/nats_node.hpp"
#include "support/eventually.hpp"
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

/// Reloads the server with other grants; returns when eve's publishing on `subject` ends like `then`.
[[nodiscard]] inline bool grant_on(support::NatsServer& server, const std::string& publish, const std::string& subject,
                                   natsStatus then) {
  server.configure(with_grants(publish));
  server.reload();
  return support::eventually([&] {
    try {
      const auto other = lasting_connection(server.url("eve:p"));
      const char* text = nullptr;
      support::require_ok(natsConnection_PublishRequestString(other.get(), subject.c_str(), "a.probe", ""));
      support::require_ok(natsConnection_FlushTimeout(other.get(), 10'000));
      return natsConnection_GetLastError(other.get(), &text) == then;
    } catch (const std::runtime_error&) {
      return false;  // a connection that is made during the reload may be refused
    }
  });
}

}  // namespace contract
