// Draws a table's hash secret from the operating system's entropy.
#pragma once

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include <syncbus/base/hash_bytes.hpp>

namespace syncbus::inline v1::detail {

/// Throws std::system_error when the system has no entropy to give. One system call: every mailbox draws one.
[[nodiscard]] inline HashSecret random_hash_secret() {
  std::array<std::uint64_t, 2> drawn{};
  if (::getentropy(drawn.data(), sizeof drawn) != 0) {
    throw std::system_error{errno, std::generic_category(), "syncbus: cannot draw what a table hashes with"};
  }
  return {drawn[0], drawn[1]};
}

}  // namespace syncbus::inline v1::detail
