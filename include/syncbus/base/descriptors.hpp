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

/// The advice for this error, if it says that no descriptor is left; otherwise empty.
[[nodiscard]] constexpr std::string_view advice_without_descriptor(int error) noexcept {
  return error == EMFILE ? no_descriptor : error == ENFILE ? no_descriptor_in_system : std::string_view{};
}

/// Returns the descriptor, or throws std::system_error with the kernel's reason. `call` names the system call.
[[nodiscard]] inline int require_descriptor(int fd, const char* call) {
  if (fd >= 0) return fd;
  const int error = errno;
  const std::string advice{advice_without_descriptor(error)};
  throw std::system_error{error, std::generic_category(),
                          advice.empty() ? "the bus cannot make a descriptor: " + std::string{call} : advice};
}

/// Tries to make a descriptor: the error, or 0. For when a client could not connect and did not say why.
[[nodiscard]] inline int why_no_descriptor() noexcept {
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

}  // namespace syncbus::inline v1::detail
