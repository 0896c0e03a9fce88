// Turns the name of a host into addresses, within a deadline: getaddrinfo has no time-out.
#pragma once

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/transport/session/detachable_call.hpp>

namespace syncbus::inline v1::detail {

/// Where a server listens: IPv4 or IPv6.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }

  /// The same for the same address.
  [[nodiscard]] std::string bytes() const { return {reinterpret_cast<const char*>(&storage), size}; }

  /// As people write it, without the port.
  [[nodiscard]] std::string text() const {
    char host[NI_MAXHOST]{};
    const int failed = ::getnameinfo(get(), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
    return failed == 0 ? host : "?";
  }
};

/// The addresses of a name, those first that the system prefers; or why there are none.
struct Resolved {
  std::vector<SocketAddress> addresses{};
  std::string error{};
};

/// Blocks for as long as the system's resolver likes, unless `numeric`: then `host` must be an address.
[[nodiscard]] inline Resolved resolve_now(const std::string& host, std::uint16_t port, bool numeric = false) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (numeric ? AI_NUMERICHOST : 0);
  addrinfo* list = nullptr;
  Resolved resolved;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (failed != 0) {
    resolved.error = failed == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(failed);
    return resolved;
  }
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    if (at->ai_addrlen > sizeof(sockaddr_storage)) continue;
    SocketAddress& address = resolved.addresses.emplace_back();
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
  }
  ::freeaddrinfo(list);
  return resolved;
}

/// Looks up one name, again and again, on threads that can be left behind. At most one look-up is under way: a call
/// while an earlier one has not ended waits for that. Thread safety: belongs to one thread.
class Resolver {
 public:
  /// Blocks until it is known, the deadline, or until `wake_fd` is readable: then none. An address needs no look-up.
  /// Throws std::system_error without a thread or a descriptor.
  [[nodiscard]] std::optional<Resolved> resolve(const std::string& host, std::uint16_t port, TimePoint deadline,
                                                int wake_fd = -1) {
    if (Resolved address = resolve_now(host, port, true); !address.addresses.empty()) return address;
    if (!call_) call_.emplace([host, port] { return resolve_now(host, port); });
    if (!call_->wait(deadline, wake_fd)) return std::nullopt;
    Resolved resolved = call_->take();
    call_.reset();
    return resolved;
  }

 private:
  std::optional<DetachableCall<Resolved>> call_;
};

}  // namespace syncbus::inline v1::detail
