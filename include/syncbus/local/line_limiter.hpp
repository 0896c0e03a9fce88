// Limits log lines: the first few of each kind pass, then one now and then that counts the others.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <syncbus/base/time.hpp>
#include <syncbus/error.hpp>

namespace syncbus::inline v1::detail {

/// Lines of one kind are limited together.
enum class LineKind : std::uint8_t {
  handler,           ///< a handler threw
  executor,          ///< the executor threw
  max_peers,         ///< there are more peers than it has room for
  doubled,           ///< two nodes have one id
  asked_for,         ///< what the user asked to be told, as often as it comes: not limited
  problem,           ///< a transport's, with a code of some other category
  first_errc,        ///< the same with the Errc of value 0, and so on
  last_errc = 31,
};

[[nodiscard]] inline LineKind kind_of_problem(const std::error_code& code) noexcept {
  if (!code) return LineKind::asked_for;
  constexpr int room = static_cast<int>(LineKind::last_errc) - static_cast<int>(LineKind::first_errc);
  if (code.category() != error_category() || code.value() < 0 || code.value() > room) return LineKind::problem;
  return static_cast<LineKind>(static_cast<int>(LineKind::first_errc) + code.value());
}

/// Of each kind the first lines pass. Then one passes a second later, the next two seconds after that, and so on up to
/// a minute, and tells how many were left out; when it was quiet for as long as the next would have had to wait, all
/// begins again. The last line is kept: overdue() brings it when its time has come, if somebody asks. A bus that is
/// alone has no clock to ask by: there the next line counts it, or the close of the bus brings it. By the steady clock,
/// on a hub too: what is written is read by people. Thread safety: all of it.
class LineLimiter {
 public:
  static constexpr std::uint32_t at_once = 8;
  static constexpr Duration shortest_pause = std::chrono::seconds{1};
  static constexpr Duration longest_pause = std::chrono::minutes{1};

  /// What is to be told of the line now, if anything.
  [[nodiscard]] std::optional<std::string> admit(LineKind which, std::string line, TimePoint now) {
    if (which == LineKind::asked_for) return line;
    const std::lock_guard lock{mutex_};
    Kind& kind = kinds_[static_cast<std::size_t>(which)];
    if (kind.left_out == 0 && now - kind.seen >= kind.pause) kind = {};
    kind.seen = now;
    if (kind.told < at_once) {
      ++kind.told;
      kind.next = now + kind.pause;
      return line;
    }
    if (now < kind.next) {
      ++kind.left_out;
      kind.last = std::move(line);
      return std::nullopt;
    }
    return kind.tell(std::move(line), std::exchange(kind.left_out, 0), now);
  }

  /// Whether there are lines that were left out and that nothing has told of yet.
  [[nodiscard]] bool any_left_out() noexcept {
    const std::lock_guard lock{mutex_};
    return std::any_of(kinds_.begin(), kinds_.end(), [](const Kind& kind) { return kind.left_out != 0; });
  }

  /// The last line of a kind of which some were left out, and whose time has come; when no further one will come, at
  /// once. Another call may bring another.
  [[nodiscard]] std::optional<std::string> overdue(TimePoint now, bool at_the_end = false) {
    const std::lock_guard lock{mutex_};
    for (Kind& kind : kinds_) {
      if (kind.left_out == 0 || (now < kind.next && !at_the_end)) continue;
      return kind.tell(std::move(kind.last), std::exchange(kind.left_out, 0) - 1, now);
    }
    return std::nullopt;
  }

 private:
  struct Kind {
    std::uint32_t told = 0;
    std::uint64_t left_out = 0;
    std::string last{};  ///< of those left out
    Duration pause = shortest_pause;
    TimePoint seen{};
    TimePoint next{};  ///< when another passes

    [[nodiscard]] std::string tell(std::string line, std::uint64_t others, TimePoint now) {
      pause = (std::min)(2 * pause, longest_pause);
      next = now + pause;
      if (others != 0) line += " (" + std::to_string(others) + " more like it were left out before)";
      return line;
    }
  };

  std::mutex mutex_;
  std::array<Kind, static_cast<std::size_t>(LineKind::last_errc) + 1> kinds_{};
};

}  // namespace syncbus::inline v1::detail
