// Descriptors of the process: when none is left, who needs one says what to do.
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

/// What the kernel made, or std::system_error with its reason. `call`: what was asked for.
[[nodiscard]] inline int require_descriptor(int fd, const char* call) {
  if (fd >= 0) return fd;
  const int error = errno;
  throw std::system_error{error, std::generic_category(),
                          error == EMFILE ? std::string{no_descriptor} : "the bus cannot make a descriptor: " +
                                                                             std::string{call}};
}

/// Whether a client that could not connect may have had none: clients do not say.
[[nodiscard]] inline bool is_out_of_descriptors() noexcept {
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd < 0) return errno == EMFILE;
  ::close(fd);
  return false;
}

}  // namespace syncbus::inline v1::detail
