// A cache of keys only, for tests that nothing is lost in silence.
#pragma once

#include <cstddef>
#include <mutex>
#include <set>
#include <string>

#include <syncbus/event.hpp>
#include <syncbus/subscription.hpp>

namespace contract {

/// What is put in before a publish and still there in the end was lost in silence.
/// Outlives its subscription. Thread safety: everything may be called from any thread.
class Cache {
 public:
  template <class Node>
  [[nodiscard]] syncbus::Subscription attach(Node& node) {
    return node.subscribe_all([this](const syncbus::Event& event) { erase(std::string{event.key}); },
                              [this](const syncbus::Resync&) { clear(); });
  }
  void put(const std::string& key) {
    const std::lock_guard lock{mutex_};
    keys_.insert(key);
  }
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock{mutex_};
    return keys_.size();
  }

 private:
  void erase(const std::string& key) {
    const std::lock_guard lock{mutex_};
    keys_.erase(key);
  }
  void clear() {
    const std::lock_guard lock{mutex_};
    keys_.clear();
  }

  mutable std::mutex mutex_;
  std::set<std::string> keys_;
};

}  // namespace contract
