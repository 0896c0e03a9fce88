// How one event went at a node's subscribers.
#pragma once

#include <cstdint>

#include <syncbus/local/subscriber.hpp>

namespace syncbus::inline v1::detail {

struct DispatchTally {
  std::uint32_t matched = 0;  ///< subscribers that it was given to; not closed mailboxes, which took nothing
  std::uint32_t failed = 0;   ///< those of them that threw
};

/// For a dispatch without a tally: its calls are empty, and so is the object that is passed along.
struct Uncounted {
  void called(const PutResult&) const noexcept {}
  void threw() const noexcept {}
};

struct Counted {
  DispatchTally* tally;

  void called(const PutResult& stored) const noexcept { tally->matched += stored.stored ? 1U : 0U; }
  void threw() const noexcept {
    ++tally->matched;
    ++tally->failed;
  }
};

}  // namespace syncbus::inline v1::detail
