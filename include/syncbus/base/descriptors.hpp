// File descriptors: the sentence that says what to do when the process has none left.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

namespace syncbus::inline v1::detail {

inline constexpr std::string_view no_descriptor =
    "the process has no descriptor left for the bus: raise its limit of open files (ulimit -n, LimitNOFILE), or find "
    "out who does not close them";

inline constexpr std::string_view no_descriptor_in_system =
    "the machine has no descriptor left for the bus: raise its limit of open files (sysctl fs.file-max), or find out "
    "who does not close them";

/// What to do where the kernel made none for that reason; empty where the reason is another.
[[nodiscard]] constexpr std::string_view advice_without_descriptor(int error) noexcept {
  return error == EMFILE ? no_descriptor : error == ENFILE ? no_descriptor_in_system : std::string_view{};
}

/// What the kernel made, or std::system_error with its reason. `call`: what was asked for.
[[nodiscard]] inline int require_descriptor(int fd, const char* call) {
  if (fd >= 0) return fd;
  const int error = errno;
  const std::string advice{advice_without_descriptor(error)};
  throw std::system_error{error, std::generic_category(),
                          advice.empty() ? "the bus cannot make a descriptor: " + std::string{call} : advice};
}

/// Why there is none to be had, or 0: a client that could not connect does not always say.
[[nodiscard]] inline int why_no_descriptor() noexcept {
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

}  // namespace syncbus::inline v1::detail
