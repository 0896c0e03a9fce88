// The nodes of the dispatch table: sentinels, and subscribers with their keys.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/event.hpp>
#include <syncbus/submission.hpp>

namespace syncbus::inline v1::detail {

/// Where the subscribers of a name stand: its hash with the lowest bit set, so never where a sentinel stands.
[[nodiscard]] inline std::uint64_t order_of(KeySpace space, std::string_view name, const HashSecret& secret) noexcept {
  return hash_bytes(name, static_cast<std::uint64_t>(space), secret) | 1U;
}

/// A link of the table's list, which ascends by `order`: a sentinel (even) or a subscriber (odd).
struct DispatchLink {
  std::uint64_t order = 0;
  std::atomic<DispatchLink*> next{nullptr};
  DispatchLink* previous = nullptr;  ///< the writer's

  [[nodiscard]] bool is_sentinel() const noexcept { return (order & 1U) == 0; }
};

/// The place of one subscriber. The table gives it its order and its id. `id` grows from subscription to subscription;
/// `alive` ends before the place is unlinked. The name's bytes lie behind it in the same allocation, so that a publish
/// touches two cache lines of it.
template <class Subscriber>
class DispatchNode : public DispatchLink {
 public:
  struct Deleter {
    void operator()(DispatchNode* node) const noexcept {
      node->~DispatchNode();
      ::operator delete(static_cast<void*>(node), alignment);
    }
  };
  using Owner = std::unique_ptr<DispatchNode, Deleter>;

  [[nodiscard]] static Owner make(KeySpace space, std::string_view name, Subscriber subscriber,
                                  Scope from = Scope::all) {
    if (name.size() > (std::numeric_limits<std::uint32_t>::max)()) throw std::length_error{"a key of 4 GiB"};
    void* const memory = ::operator new(sizeof(DispatchNode) + name.size(), alignment);
    auto* const node = ::new (memory) DispatchNode{space, name, std::move(subscriber), from};
    std::copy(name.begin(), name.end(), static_cast<char*>(memory) + sizeof(DispatchNode));
    return Owner{node};
  }

  [[nodiscard]] std::string_view name() const noexcept { return {bytes(), size_}; }

  /// For a node that stands where that name would.
  [[nodiscard]] bool is_of(KeySpace its_space, std::string_view its_name) const noexcept {
    return size_ == its_name.size() && space == its_space && equal_bytes(bytes(), its_name.data(), size_);
  }

  std::uint64_t id = 0;
  DispatchNode* last_same_hash = this;  ///< the writer's: at the first node of an order, the last one of it

 private:
  const std::uint32_t size_;  ///< here, so that it fills a word with the next four

 public:
  const KeySpace space;
  const Scope from;  ///< whose publishes it hears
  std::atomic<bool> alive{true};
  std::atomic<bool> followed{false};  ///< others of the same order may stand behind it; never false again
  Subscriber subscriber;

 private:
  static_assert(std::is_nothrow_move_constructible_v<Subscriber>);
  static constexpr std::align_val_t alignment{64};

  DispatchNode(KeySpace its_space, std::string_view name, Subscriber its_subscriber, Scope its_from) noexcept
      : size_{static_cast<std::uint32_t>(name.size())},
        space{its_space},
        from{its_from},
        subscriber{std::move(its_subscriber)} {}

  [[nodiscard]] const char* bytes() const noexcept {
    return reinterpret_cast<const char*>(this) + sizeof(DispatchNode);
  }
};

}  // namespace syncbus::inline v1::detail
