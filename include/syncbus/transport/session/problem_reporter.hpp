// Reports problems to a transport's sink, each once and not again and again.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// For one thread. The sink limits what reaches the log beyond that.
class ProblemReporter {
 public:
  /// A sentence equal to one of the `most` told last is left out within this time: attempts that fail are many.
  static constexpr Duration interval = std::chrono::seconds{1};
  static constexpr std::size_t most = 8;

  void report(TransportSink& sink, std::error_code code, std::string sentence, TimePoint now) {
    std::replace(sentence.begin(), sentence.end(), '\n', ' ');
    std::erase(sentence, '\r');
    const auto is_told = [&](const Told& told) {
      return told.at && now - *told.at < interval && told.sentence == sentence;
    };
    if (std::any_of(told_.begin(), told_.end(), is_told)) return;
    sink.on_problem(code, sentence);
    told_[next_] = {std::move(sentence), now};
    next_ = (next_ + 1) % most;
  }

 private:
  struct Told {
    std::string sentence;
    std::optional<TimePoint> at;
  };

  std::array<Told, most> told_;
  std::size_t next_ = 0;  // the oldest
};

}  // namespace syncbus::inline v1::detail
