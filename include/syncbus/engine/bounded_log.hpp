// A bounded queue of log lines that counts the lines which it had to leave out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace syncbus::inline v1::detail {

/// A ring of at most `capacity` lines. Thread safety: none, the owner locks.
class BoundedLog {
 public:
  static constexpr std::size_t capacity = 64;

  void add(std::string_view line) noexcept try {
    if (size_ == capacity) return leave_one_out();
    lines_[(first_ + size_) % capacity] = line;
    ++size_;
  } catch (...) {
    leave_one_out();
  }

  void leave_one_out() noexcept { ++left_out_; }

  /// The oldest line; behind the last one, once, a line that says how many were left out.
  [[nodiscard]] std::optional<std::string> take() {
    if (size_ == 0) {
      if (left_out_ == 0) return std::nullopt;
      return std::to_string(std::exchange(left_out_, 0)) + " more messages were left out";
    }
    std::string line = std::move(lines_[first_]);
    first_ = (first_ + 1) % capacity;
    --size_;
    return line;
  }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0 && left_out_ == 0; }

 private:
  std::array<std::string, capacity> lines_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace syncbus::inline v1::detail
