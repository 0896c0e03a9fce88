// Marks own broadcasts on a broker whose messages can carry a word beside the bytes, so that they are known when they
// come back. Pure.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/event.hpp>

namespace syncbus::inline v1::detail {

/// `_syncbus.<node>.<frame number>`: a token of its own for each node, and nothing that anybody listens to.
class FrameMark {
 public:
  static constexpr std::size_t max_bytes = 64;
  using Buffer = std::array<char, max_bytes>;

  explicit FrameMark(NodeId self) : prefix_{"_syncbus." + to_string(self) + "."} {}

  /// Zero-terminated, in the buffer.
  [[nodiscard]] const char* write(Buffer& buffer, std::uint64_t frame) const noexcept {
    prefix_.copy(buffer.data(), prefix_.size());
    char* const end = buffer.data() + buffer.size() - 1;
    *std::to_chars(buffer.data() + prefix_.size(), end, frame).ptr = '\0';
    return buffer.data();
  }

  /// The number of the own frame that carries it; nothing if it is not one.
  [[nodiscard]] std::optional<std::uint64_t> frame_of(std::string_view mark) const noexcept {
    if (!mark.starts_with(prefix_)) return std::nullopt;
    std::uint64_t frame = 0;
    const char* const last = mark.data() + mark.size();
    const auto [end, error] = std::from_chars(mark.data() + prefix_.size(), last, frame);
    if (error != std::errc{} || end != last) return std::nullopt;
    return frame;
  }

 private:
  std::string prefix_;
};

}  // namespace syncbus::inline v1::detail
