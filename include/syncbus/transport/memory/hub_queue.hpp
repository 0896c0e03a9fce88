// The frames that nodes of a hub have handed over and nobody has delivered yet, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/memory/hub_node.hpp>

namespace syncbus::inline v1::detail {

/// One call of a transport.
struct HubItem {
  enum class Kind : std::uint8_t {
    broadcast,  ///< a frame for everybody, to be confirmed
    directed,   ///< a frame for one node
    reopen,     ///< the origin wants another session
  };

  Kind kind;
  bool lost = false;  ///< the origin had crashed
  std::shared_ptr<HubNode> origin;
  NodeId destination{};
  BroadcastToken token{};
  std::vector<std::byte> bytes{};
  std::shared_ptr<const std::vector<std::byte>> shared{};  ///< the same, once a copy may outlive the item
};

/// Uses the memory of frames again: in the steady state it allocates nothing. Not thread safe.
class HubQueue {
 public:
  void push(HubItem item, Bytes bytes) {
    if (!spare_.empty()) {
      item.bytes = std::move(spare_.back());
      spare_.pop_back();
    }
    item.bytes.assign(bytes.begin(), bytes.end());
    items_.push_back(std::move(item));
  }

  [[nodiscard]] bool empty() const noexcept { return first_ == items_.size(); }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size() - first_; }

  /// The first; there must be one.
  [[nodiscard]] HubItem take() noexcept {
    HubItem item = std::move(items_[first_++]);
    if (empty()) {
      items_.clear();
      first_ = 0;
    }
    return item;
  }

  /// After take(), when the item has been dealt with.
  void recycle(HubItem& item) { spare_.push_back(std::move(item.bytes)); }

 private:
  std::vector<HubItem> items_;  // from first_ on
  std::size_t first_ = 0;
  std::vector<std::vector<std::byte>> spare_;
};

}  // namespace syncbus::inline v1::detail
