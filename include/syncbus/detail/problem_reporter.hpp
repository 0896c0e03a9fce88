// Tells a transport's sink about problems, but not the same again and again.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <system_error>

#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// For one thread.
class ProblemReporter {
 public:
  /// A sentence that follows an equal one within this time is left out.
  static constexpr Duration interval = std::chrono::seconds{1};

  void report(TransportSink& sink, std::error_code code, std::string sentence, TimePoint now) {
    std::replace(sentence.begin(), sentence.end(), '\n', ' ');
    std::erase(sentence, '\r');
    if (last_at_ && now - *last_at_ < interval && sentence == last_) return;
    sink.on_problem(code, sentence);
    last_ = std::move(sentence);
    last_at_ = now;
  }

 private:
  std::string last_;
  std::optional<TimePoint> last_at_;
};

}  // namespace syncbus::inline v1::detail
