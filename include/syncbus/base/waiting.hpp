// How a call waits where the steady clock does not decide: on a hub, whose time is virtual.
#pragma once

#include <functional>

#include <syncbus/base/time.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: all of it. The caller holds no lock that `done` takes.
class Waiting {
 public:
  virtual ~Waiting() = default;

  /// Until `done()`, or `timeout` has passed; returns done().
  [[nodiscard]] virtual bool wait_for(Duration timeout, const std::function<bool()>& done) = 0;

  /// Something has happened that may have made a `done` true.
  virtual void recheck() noexcept = 0;
};

}  // namespace syncbus::inline v1::detail
