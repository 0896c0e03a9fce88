// Tells a transport's sink about problems: not the same again and again, and not more than a log can bear.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// For one thread. What is left out that was not told before, the next sentence counts.
class ProblemReporter {
 public:
  /// A sentence equal to one told within this time is left out, and all beyond `most`: what goes wrong in turns, or
  /// with other figures each time, would else fill a log.
  static constexpr Duration interval = std::chrono::seconds{1};
  static constexpr std::size_t most = 8;

  void report(TransportSink& sink, std::error_code code, std::string sentence, TimePoint now) {
    std::replace(sentence.begin(), sentence.end(), '\n', ' ');
    std::erase(sentence, '\r');
    const auto is_recent = [&](const Told& told) { return told.at && now - *told.at < interval; };
    const auto is_equal = [&](const Told& told) { return is_recent(told) && told.sentence == sentence; };
    if (std::any_of(told_.begin(), told_.end(), is_equal)) return;
    Told& oldest = told_[next_];
    if (is_recent(oldest)) {
      ++left_out_;
      return;
    }
    sink.on_problem(code, left_out_ == 0 ? sentence : sentence + left_out());
    oldest = {std::move(sentence), now};
    next_ = (next_ + 1) % most;
    left_out_ = 0;
  }

 private:
  struct Told {
    std::string sentence;
    std::optional<TimePoint> at;
  };

  [[nodiscard]] std::string left_out() const {
    return " (before this, problems left out because they came too fast: " + std::to_string(left_out_) + ")";
  }

  std::array<Told, most> told_;
  std::size_t next_ = 0;  // the oldest
  std::uint64_t left_out_ = 0;
};

}  // namespace syncbus::inline v1::detail
