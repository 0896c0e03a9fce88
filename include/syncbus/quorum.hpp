// The number of acknowledgements that an await asks for (nodes, zones, or everyone), and the outcome.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <system_error>
#include <type_traits>
#include <vector>

#include <syncbus/event.hpp>

namespace syncbus::inline v1 {

namespace detail {

/// The integers that count: a flag does not, nor does a character ('2' is 50).
template <class T>
concept CountingInteger =
    std::integral<T> && !std::same_as<std::remove_cv_t<T>, bool> && !std::same_as<std::remove_cv_t<T>, char> &&
    !std::same_as<std::remove_cv_t<T>, wchar_t> && !std::same_as<std::remove_cv_t<T>, char8_t> &&
    !std::same_as<std::remove_cv_t<T>, char16_t> && !std::same_as<std::remove_cv_t<T>, char32_t>;

}  // namespace detail

/// A number of distinct replicas. Converts from any integer but bool and characters; 0 reads as 1; a negative number is
/// kept as such and refused with `invalid_argument` where it is used.
class Quorum {
 public:
  enum class Unit : std::uint8_t { nodes, zones, everyone };

  template <detail::CountingInteger Integer>
  constexpr Quorum(Integer nodes) noexcept : count_{clamp(nodes)} {}  // NOLINT: converting on purpose

  /// That many distinct zones; a node with an empty zone counts for nothing.
  template <detail::CountingInteger Integer>
  [[nodiscard]] static constexpr Quorum zones(Integer count) noexcept {
    Quorum quorum{count};
    quorum.unit_ = Unit::zones;
    return quorum;
  }

  /// Every peer that is neither silent nor gone has applied the event or has no matching subscriber. A node that is cut
  /// off, or has not joined yet, does not know who that is, and waits.
  [[nodiscard]] static constexpr Quorum everyone() noexcept {
    Quorum quorum{1};
    quorum.unit_ = Unit::everyone;
    return quorum;
  }

  [[nodiscard]] constexpr Unit unit() const noexcept { return unit_; }
  [[nodiscard]] constexpr std::int32_t count() const noexcept { return count_; }
  [[nodiscard]] constexpr bool valid() const noexcept { return count_ > 0; }

  friend constexpr bool operator==(Quorum, Quorum) = default;

 private:
  template <detail::CountingInteger Integer>
  static constexpr std::int32_t clamp(Integer count) noexcept {
    constexpr auto most = (std::numeric_limits<std::int32_t>::max)();
    if constexpr (std::is_signed_v<Integer>) {
      if (count < 0) return -1;
    }
    if (count == 0) return 1;
    if constexpr (sizeof(Integer) >= sizeof(std::int32_t)) {
      if (count > static_cast<Integer>(most)) return most;
    }
    return static_cast<std::int32_t>(count);
  }

  std::int32_t count_ = 1;
  Unit unit_ = Unit::nodes;
};

/// How an await ended. No error: the quorum is satisfied.
struct AwaitOutcome {
  std::error_code error{};
  std::vector<NodeId> replicas{};  ///< the distinct nodes that acknowledged until then, by id, also when too few
  /// Whether the event was published, as by a publish without an error. When not, nobody has heard of it: a caller that
  /// has already changed what it is about publishes it now.
  bool published = false;
};

}  // namespace syncbus::inline v1
