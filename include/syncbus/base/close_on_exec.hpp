// Keeps a client's socket from the programs that this process starts.
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
