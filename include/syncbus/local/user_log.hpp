// BusOptions::on_log: the lines that it is told, and how often.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/base/plain_text.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/dispatch_node.hpp>
#include <syncbus/local/line_limiter.hpp>

namespace syncbus::inline v1::detail {

/// Thread safety: all of it.
class UserLog {
 public:
  /// `on_log` may be empty.
  explicit UserLog(std::function<void(std::string_view)> on_log) : on_log_{std::move(on_log)} {}

  /// Whether anybody reads it.
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(on_log_); }

  /// What is to be told now of a line of this kind: see LineLimiter.
  [[nodiscard]] std::optional<std::string> admit(LineKind kind, std::string line) {
    return limiter_.admit(kind, std::move(line), std::chrono::steady_clock::now());
  }
  [[nodiscard]] std::optional<std::string> overdue(bool at_the_end = false) {
    return limiter_.overdue(std::chrono::steady_clock::now(), at_the_end);
  }

  [[nodiscard]] bool any_left_out() noexcept { return limiter_.any_left_out(); }

  /// Every line goes through here and stays one line, whatever bytes are in it. May throw what the user's function
  /// throws.
  void tell(std::string_view line) const { on_log_(one_line(line)); }

 private:
  const std::function<void(std::string_view)> on_log_;
  LineLimiter limiter_;
};

/// That there are more live peers than a bus has room for.
[[nodiscard]] inline std::string max_peers_is_too_small(std::size_t max_peers) {
  return "more nodes are there than this one can keep track of: what is lost of those beyond max_peers (" +
         std::to_string(max_peers) + ") is not noticed, staleness grows, and no await for everyone is satisfied; set " +
         "BusOptions::max_peers above the number of nodes";
}

/// That two nodes have one id; 0: this node's.
[[nodiscard]] inline std::string id_is_doubled(NodeId id) {
  const std::string who = id == NodeId{} ? "another node has this node's id" : "two nodes have the id " + to_string(id);
  return who + ", as when a machine is cloned, or a snapshot of it restored, while the process runs: restart one of " +
         "the two processes; until then their sets and removes are heard as invalidations, what is lost of them is " +
         "not noticed, staleness grows, and no await for everyone, or of theirs, is satisfied";
}

/// That the handler of a subscription threw.
[[nodiscard]] inline std::string handler_threw(KeySpace space, std::string_view name, std::string_view what) {
  constexpr std::size_t shown_name = 64;
  constexpr std::size_t shown_words = 512;
  std::string line = "the handler subscribed to ";
  if (space == KeySpace::lease) line += "the lease ";
  if (space == KeySpace::prefix) line += name.empty() ? "all keys" : "the prefix ";
  if (!name.empty()) line += quoted(name, shown_name);
  return line + " threw: " + beginning_of(what, shown_words);
}

}  // namespace syncbus::inline v1::detail
