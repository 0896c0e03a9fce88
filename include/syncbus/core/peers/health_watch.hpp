// Decides when a change of health is reported.
#pragma once

#include <utility>

#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// Health is reported when staleness passes the peer timeout, up or down (in a cluster so large that heartbeats are
/// rarer: the time that makes a peer silent), and when peers begin or cease to be left out. changed() reports that
/// `connected` has changed.
class HealthWatch {
 public:
  /// Health has changed for another reason, such as `connected`.
  void changed() noexcept { changed_ = true; }
  /// Looks at the health of now. `patience`: see Membership.
  void look(const Health& health, Duration patience) noexcept {
    const bool stale = health.staleness > patience;
    changed_ = changed_ || stale != stale_ || health.peers_left_out != left_out_;
    stale_ = stale;
    left_out_ = health.peers_left_out;
  }

  [[nodiscard]] bool stale() const noexcept { return stale_; }
  /// Whether it is to be told. It is told then.
  [[nodiscard]] bool take() noexcept { return std::exchange(changed_, false); }

 private:
  bool changed_ = false;
  bool stale_ = false;
  bool left_out_ = false;
};

}  // namespace syncbus::inline v1::core
