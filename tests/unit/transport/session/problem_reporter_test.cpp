// What a transport tells of its problems: each at once, but never so that a log fills with them.
#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/problem_reporter.hpp>

#include "support/catch.hpp"
#include "support/recorder.hpp"

using namespace std::chrono_literals;
using syncbus::Errc, syncbus::TimePoint;
using syncbus::detail::ProblemReporter;

namespace {

struct Log {
  void report(const std::string& sentence, std::chrono::milliseconds at) {
    reporter.report(recorder, make_error_code(Errc::not_connected), sentence, TimePoint{} + 1h + at);
  }
  [[nodiscard]] std::vector<std::string> told() const {
    std::vector<std::string> sentences;
    for (const auto& problem : recorder.problems()) sentences.push_back(problem.sentence);
    return sentences;
  }

  support::Recorder recorder;
  ProblemReporter reporter;
};

}  // namespace

TEST_CASE("a problem is told at once, with its code, on one line") {
  Log log;
  log.report("the broker\r\nsays no", 0ms);
  CHECK(log.told() == std::vector<std::string>{"the broker says no"});
  CHECK(log.recorder.problems().front().code == Errc::not_connected);
}

TEST_CASE("what goes on is told once in an interval") {
  Log log;
  for (int i = 0; i != 250; ++i) log.report("refused", i * 10ms);
  CHECK(log.told() == std::vector<std::string>(3, "refused"));
}

TEST_CASE("problems that take turns are each told once in an interval") {
  Log log;
  for (int i = 0; i != 100; ++i) log.report(i % 2 == 0 ? "refused" : "timed out", i * 5ms);
  CHECK(log.told() == std::vector<std::string>{"refused", "timed out"});
}

TEST_CASE("problems that are always others are each told") {
  Log log;
  for (int i = 0; i != 100; ++i) log.report("refused after " + std::to_string(i) + " ms", i * 5ms);
  CHECK(log.told().size() == 100);
}
