// A first-in-first-out queue that stops allocating once it has reached its longest. Pure.
#pragma once

#include <cassert>
#include <cstddef>
#include <vector>

namespace syncbus::inline v1::detail {

/// Thread safety: none, the owner locks.
template <class T>
class Fifo {
 public:
  void push(const T& value) { values_.push_back(value); }

  [[nodiscard]] bool empty() const noexcept { return next_ == values_.size(); }

  /// The oldest. Precondition: not empty.
  [[nodiscard]] const T& front() const noexcept {
    assert(!empty());
    return values_[next_];
  }

  /// Drops the oldest. Precondition: not empty.
  void pop() noexcept {
    assert(!empty());
    if (++next_ <= values_.size() / 2) return;
    values_.erase(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(next_));
    next_ = 0;
  }

  void clear() noexcept {
    values_.clear();
    next_ = 0;
  }

 private:
  std::vector<T> values_;
  std::size_t next_ = 0;
};

}  // namespace syncbus::inline v1::detail
