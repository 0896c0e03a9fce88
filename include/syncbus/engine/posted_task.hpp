// A task for the user's executor: a piece of an engine's work that is run once, or given up.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include <syncbus/engine/transport_port.hpp>

namespace syncbus::inline v1::detail {

/// The copies of the callable that the executor holds share it. When the last of them is gone the engine knows: an
/// executor may drop a task, or throw, before or after it has taken one. `Work` has
///
///     void run_task() noexcept;
///     void drop_task() noexcept;  // instead
template <class Work>
class PostedTask {
 public:
  PostedTask(std::shared_ptr<Work> work, std::shared_ptr<TransportPort> port) noexcept
      : work_{std::move(work)}, port_{std::move(port)} {
    port_->task_began();
  }
  PostedTask(const PostedTask&) = delete;
  PostedTask& operator=(const PostedTask&) = delete;
  ~PostedTask() {
    if (begun_.exchange(true)) return;
    port_->task_runs();
    work_->drop_task();
    port_->task_ended();
  }

  /// The second time nothing.
  void run() noexcept {
    if (begun_.exchange(true)) return;
    port_->task_runs();
    work_->run_task();
    port_->task_ended();
  }

 private:
  const std::shared_ptr<Work> work_;
  const std::shared_ptr<TransportPort> port_;
  std::atomic<bool> begun_{false};
};

}  // namespace syncbus::inline v1::detail
