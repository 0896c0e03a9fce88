// Marks a client's socket close-on-exec, so that programs which this process starts do not inherit it (Linux).
#pragma once

#include <fcntl.h>

namespace syncbus::inline v1::detail {

/// For a client that does not open its socket so. That of a program that was started a moment before keeps what it has
/// inherited.
inline void close_on_exec(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFD);
  if (flags >= 0) static_cast<void>(::fcntl(fd, F_SETFD, flags | FD_CLOEXEC));
}

}  // namespace syncbus::inline v1::detail
