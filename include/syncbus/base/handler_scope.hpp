// Whether this thread runs a handler of the library, and the work that it has deferred until the handler ends.
#pragma once

#include <cassert>
#include <functional>
#include <utility>
#include <vector>

#include <syncbus/base/hazard_records.hpp>

namespace syncbus::inline v1::detail {

/// Lives while a thread dispatches: handlers and hooks run inside one. When the outermost ends, what was deferred
/// meanwhile runs, in order, until nothing is left.
class HandlerScope {
 public:
  explicit HandlerScope(HazardRecord& mine) noexcept : mine_{mine} { mine_.set_handlers(mine_.handlers() + 1); }
  HandlerScope(const HandlerScope&) = delete;
  HandlerScope& operator=(const HandlerScope&) = delete;
  ~HandlerScope() {
    mine_.set_handlers(mine_.handlers() - 1);
    if (mine_.has_deferred()) [[unlikely]]
      run_deferred(mine_);
  }

  /// Only where must_defer(). The task must not throw.
  static void defer(HazardRecord& mine, std::function<void()> task) {
    assert(must_defer(mine));
    mine.deferred_.push_back(std::move(task));
    mine.has_deferred_ = true;
  }

  /// Whether what this thread publishes now has to wait: inside a handler, and, so that it does not overtake, while
  /// what was put off runs.
  [[nodiscard]] static bool must_defer(const HazardRecord& mine) noexcept {
    return mine.handlers() != 0 || mine.has_deferred();
  }

 private:
  /// A task may dispatch, and its handlers may defer: that comes behind what is here already.
  [[gnu::noinline]] static void run_deferred(HazardRecord& mine) {
    if (mine.handlers() != 0 || mine.draining_) return;
    mine.draining_ = true;
    for (std::vector<std::function<void()>> tasks; !mine.deferred_.empty(); tasks.clear()) {
      tasks.swap(mine.deferred_);
      for (auto& task : tasks) std::exchange(task, nullptr)();
    }
    mine.deferred_.shrink_to_fit();  // leak checkers do not see what only a record holds
    mine.draining_ = false;
    mine.has_deferred_ = false;
    mine.set_handlers(0);
  }

  HazardRecord& mine_;
};

/// Whether the calling thread is inside a handler or hook: of a bus with these records, or with any that the calling
/// code has met.
[[nodiscard]] inline bool in_handler(const HazardRecords& hazards) noexcept { return hazards.of_handler() != nullptr; }

}  // namespace syncbus::inline v1::detail
