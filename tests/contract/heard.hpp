// What the handlers of a test heard, in order: filled on any thread, read and asserted on the test's own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include <syncbus/event.hpp>

#include "support/lines.hpp"

namespace contract {

using support::line_of, support::Lines;

/// For subscribers that only have to be there.
inline constexpr auto ignore = [](const syncbus::Event&) {};

/// Outlives the subscriptions whose handlers fill it. Thread safety: everything may be called from any thread.
class Heard {
 public:
  /// A handler of events, and one of resyncs, that note what they hear.
  [[nodiscard]] auto on_event() {
    return [this](const syncbus::Event& event) {
      const std::lock_guard lock{mutex_};
      lines_.push_back(line_of(event));
      origins_.push_back(event.origin);
    };
  }
  [[nodiscard]] auto on_resync() {
    return [this](const syncbus::Resync& resync) {
      const std::lock_guard lock{mutex_};
      lines_.push_back(line_of(resync));
      origins_.push_back(resync.peer);
    };
  }

  [[nodiscard]] Lines lines() const {
    const std::lock_guard lock{mutex_};
    return lines_;
  }
  /// Who published each of them.
  [[nodiscard]] std::vector<syncbus::NodeId> origins() const {
    const std::lock_guard lock{mutex_};
    return origins_;
  }
  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock{mutex_};
    return lines_.size();
  }
  [[nodiscard]] std::size_t count(const std::string& line) const {
    const std::lock_guard lock{mutex_};
    return static_cast<std::size_t>(std::ranges::count(lines_, line));
  }
  [[nodiscard]] bool contains(const std::string& line) const { return count(line) != 0; }

 private:
  mutable std::mutex mutex_;
  Lines lines_;
  std::vector<syncbus::NodeId> origins_;
};

}  // namespace contract
