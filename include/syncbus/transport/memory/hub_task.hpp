// Holds virtual time still while a node works where the hub cannot see it.
#pragma once

#include <syncbus/transport/memory/hub_state.hpp>

namespace syncbus::inline v1::detail {

/// Lives as long as the work takes; what that broadcast is delivered at its end.
class HubTask {
 public:
  explicit HubTask(HubState& hub) noexcept : hub_{hub} {
    hub_.task_began();
    hub_.task_runs();
  }
  HubTask(const HubTask&) = delete;
  HubTask& operator=(const HubTask&) = delete;
  ~HubTask() { hub_.task_ended(); }

 private:
  HubState& hub_;
};

}  // namespace syncbus::inline v1::detail
