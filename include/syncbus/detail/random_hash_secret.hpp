// Draws what a table hashes with from the operating system's entropy.
#pragma once

#include <syncbus/core/hash_bytes.hpp>
#include <syncbus/detail/random_node_id.hpp>

namespace syncbus::inline v1::detail {

/// Throws as random_node_id() does.
[[nodiscard]] inline core::HashSecret random_hash_secret() {
  return {random_node_id().value, random_node_id().value};
}

}  // namespace syncbus::inline v1::detail
