// Tags own broadcasts on a broker whose messages have room for it, so that an echo is known without being decoded.
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

/// `_syncbus.<node>.<session>.<serial>`: each node has its own token, and nobody listens to it. A frame of an earlier
/// session does not pass for one of this session.
class EchoTag {
 public:
  static constexpr std::size_t max_bytes = 96;
  using Buffer = std::array<char, max_bytes>;

  EchoTag(NodeId self, std::uint64_t session)
      : prefix_{"_syncbus." + to_string(self) + "." + std::to_string(session) + "."} {}

  /// Zero-terminated, in the buffer.
  [[nodiscard]] const char* write(Buffer& buffer, std::uint64_t serial) const noexcept {
    prefix_.copy(buffer.data(), prefix_.size());
    char* const end = buffer.data() + buffer.size() - 1;
    *std::to_chars(buffer.data() + prefix_.size(), end, serial).ptr = '\0';
    return buffer.data();
  }

  /// The serial of the own broadcast that carries it; nothing if it is not one of this session.
  [[nodiscard]] std::optional<std::uint64_t> serial_of(std::string_view mark) const noexcept {
    if (!mark.starts_with(prefix_)) return std::nullopt;
    std::uint64_t serial = 0;
    const char* const last = mark.data() + mark.size();
    const auto [end, error] = std::from_chars(mark.data() + prefix_.size(), last, serial);
    if (error != std::errc{} || end != last) return std::nullopt;
    return serial;
  }

 private:
  std::string prefix_;
};

}  // namespace syncbus::inline v1::detail
