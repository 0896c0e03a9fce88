// Deferred reclamation of subscribers that were taken out while their handlers may still run.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

#include <syncbus/base/handler_scope.hpp>
#include <syncbus/base/hazard_records.hpp>

namespace syncbus::inline v1::detail {

/// A list through the nodes' `previous`. Its owner locks add(), take_unheld() and any(); empty() may be asked by
/// anybody, and may be answered late.
template <class Node>
class RetiredNodes {
 public:
  /// Of a bus with these records.
  explicit RetiredNodes(HazardRecords& hazards) noexcept : hazards_{hazards} {}
  RetiredNodes(const RetiredNodes&) = delete;
  RetiredNodes& operator=(const RetiredNodes&) = delete;
  ~RetiredNodes() { destroy(first_); }

  [[nodiscard]] bool empty() const noexcept { return !any_.load(std::memory_order_relaxed); }

  /// A node that the table does not have any more.
  void add(Node& node) noexcept {
    node.previous = std::exchange(first_, &node);
    ++count_;
    any_.store(true, std::memory_order_relaxed);
  }

  /// Takes the nodes that nobody can touch any more, for destroy(). A node stays while its handler runs, or while a
  /// thread may be walking past it. When many have gathered it waits for the walks: then only handlers keep nodes, one
  /// each.
  [[nodiscard]] Node* take_unheld() noexcept {
    const bool waits = count_ > many;
    Node* unheld = nullptr;
    Node* node = std::exchange(first_, nullptr);
    for (count_ = 0; node != nullptr;) {
      Node* const next = static_cast<Node*>(node->previous);
      if (is_held(*node, waits)) {
        node->previous = std::exchange(first_, node);
        ++count_;
      } else {
        node->previous = std::exchange(unheld, node);
      }
      node = next;
    }
    any_.store(first_ != nullptr, std::memory_order_relaxed);
    return unheld;
  }

  /// Whether `matches` one of them.
  template <class Matches>
  [[nodiscard]] bool any(const Matches& matches) const {
    const Node* node = first_;
    while (node != nullptr && !matches(*node)) node = static_cast<const Node*>(node->previous);
    return node != nullptr;
  }

  /// Runs destructors of user code: without a lock, and as handlers run, so that what they call does not wait.
  void destroy(Node* node) const noexcept {
    if (node == nullptr) return;
    const HandlerScope scope{hazards_.mine()};
    while (node != nullptr) {
      const typename Node::Owner owned{node};
      node = static_cast<Node*>(owned->previous);
    }
  }

 private:
  static constexpr std::size_t many = 64;

  [[nodiscard]] bool is_held(const Node& node, bool waits) const noexcept {
    for (const HazardRecord* record = hazards_.first(); record != nullptr; record = record->next()) {
      const auto touch = waits ? record->touch_after_walks(&node) : record->touch(&node);
      if (touch != HazardRecord::Touch::none) return true;
    }
    return false;
  }

  HazardRecords& hazards_;
  Node* first_ = nullptr;
  std::size_t count_ = 0;
  std::atomic<bool> any_{false};
};

}  // namespace syncbus::inline v1::detail
