// The sockets of a client that does not tell which they are (Linux).
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

namespace syncbus::inline v1::detail {

/// Whether the descriptor is a socket with this local end.
[[nodiscard]] inline bool has_local_end(int fd, std::string_view ip, int port) noexcept {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return false;
  const void* bytes = nullptr;
  std::uint16_t its_port = 0;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    bytes = &v4.sin_addr;
    its_port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    bytes = &v6.sin6_addr;
    its_port = ntohs(v6.sin6_port);
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  return bytes != nullptr && its_port == port &&
         ::inet_ntop(address.ss_family, bytes, text.data(), text.size()) != nullptr && ip == text.data();
}

/// Calls `each(fd)` for the sockets of this process with a local end, of which a client tells.
template <class Each>
void for_each_socket(std::string_view local_ip, int local_port, const Each& each) noexcept {
  struct Close {
    void operator()(DIR* folder) const noexcept { ::closedir(folder); }
  };
  const std::unique_ptr<DIR, Close> folder{::opendir("/proc/self/fd")};
  if (!folder) return;
  while (const dirent* const entry = ::readdir(folder.get())) {
    const std::string_view name{entry->d_name};
    int fd = -1;
    if (std::from_chars(name.data(), name.data() + name.size(), fd).ec != std::errc{}) continue;
    if (has_local_end(fd, local_ip, local_port)) each(fd);
  }
}

}  // namespace syncbus::inline v1::detail
