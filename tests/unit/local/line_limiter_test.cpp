// How many lines a log is given: the first few of each kind, then one now and then that counts the others.
#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

#include <syncbus/error.hpp>
#include <syncbus/local/line_limiter.hpp>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using syncbus::Errc, syncbus::TimePoint;
using syncbus::detail::kind_of_problem, syncbus::detail::LineKind, syncbus::detail::LineLimiter;

namespace {

constexpr auto begin = TimePoint{} + 1h;

struct Log {
  void line(const std::string& text, syncbus::Duration at, LineKind kind = LineKind::handler) {
    if (auto told = limiter.admit(kind, text, begin + at)) lines.push_back(*told);
  }
  void look(syncbus::Duration at, bool at_the_end = false) {
    while (auto told = limiter.overdue(begin + at, at_the_end)) lines.push_back(*told);
  }

  LineLimiter limiter;
  std::vector<std::string> lines;
};

}  // namespace

TEST_CASE("the first lines of a kind are told, and a flood of more is counted") {
  Log log;
  for (int i = 0; i != 100'000; ++i) log.line("line " + std::to_string(i), 0s);
  CHECK(log.lines.size() == LineLimiter::at_once);
  log.line("another", 1s);
  REQUIRE(log.lines.size() == LineLimiter::at_once + 1);
  CHECK(log.lines.back() == "another (99992 more like it were left out before)");
}

TEST_CASE("the last line of a flood is told when its time has come, though none follows") {
  Log log;
  for (int i = 0; i != 10; ++i) log.line("line " + std::to_string(i), 0s);
  log.look(999ms);
  CHECK(log.lines.size() == LineLimiter::at_once);
  log.look(1s);
  CHECK(log.lines.size() == LineLimiter::at_once + 1);
  CHECK(log.lines.back() == "line 9 (1 more like it were left out before)");
  log.look(1h);
  CHECK(log.lines.size() == LineLimiter::at_once + 1);
}

TEST_CASE("one line that was left out is told as it is, and at the end at once") {
  Log log;
  for (int i = 0; i != 9; ++i) log.line("line " + std::to_string(i), 0s);
  log.look(0s, true);
  CHECK(log.lines.back() == "line 8");
}

TEST_CASE("what goes on for an hour is told some hundred times at most, and every line counts once") {
  Log log;
  const int lines = 36'000;
  for (int i = 0; i != lines; ++i) {
    log.line("again", i * 100ms);
    log.look(i * 100ms);
  }
  log.look(2h);
  CHECK(log.lines.size() < 80);
  std::size_t sum = log.lines.size();
  for (const std::string& line : log.lines) {
    if (const auto open = line.find('('); open != std::string::npos) sum += std::stoul(line.substr(open + 1));
  }
  CHECK(sum == lines);
}

TEST_CASE("after a quiet time lines are told again") {
  Log log;
  for (int i = 0; i != 8; ++i) log.line("early", 0s);
  for (int i = 0; i != 8; ++i) log.line("late", 1s);
  CHECK(log.lines.size() == 16);
}

TEST_CASE("a line now and then is always told") {
  Log log;
  for (int i = 0; i != 100; ++i) log.line("again", i * 61s);
  CHECK(log.lines == std::vector<std::string>(100, "again"));
}

TEST_CASE("kinds are limited apart from each other, each code of a problem is one, and what was asked for is told") {
  Log log;
  for (int i = 0; i != 100; ++i) {
    log.line("handler", 0s);
    log.line("refused", 0s, kind_of_problem(Errc::permission_denied));
    log.line("gone", 0s, kind_of_problem(Errc::not_connected));
    log.line("its own", 0s, kind_of_problem(std::make_error_code(std::errc::no_buffer_space)));
    log.line("statistics", 0s, kind_of_problem({}));
  }
  CHECK(log.lines.size() == 4 * LineLimiter::at_once + 100);
}
