// When a silent connection is asked for a sign of life, and when it is dead.
#include <chrono>

#include <syncbus/transport/redis/idle_watch.hpp>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using syncbus::TimePoint;
using syncbus::detail::IdleWatch;
using Verdict = IdleWatch::Verdict;

namespace {
constexpr TimePoint start{100s};
}

TEST_CASE("a silent connection is asked after a quarter of the patience and dead after all of it") {
  IdleWatch watch{4s, start};
  CHECK(watch.due() == start + 1s);
  CHECK(watch.check(start + 999ms) == Verdict::fine);
  CHECK(watch.check(start + 1s) == Verdict::ask);
  CHECK(watch.due() == start + 4s);
  CHECK(watch.check(start + 3999ms) == Verdict::fine);
  CHECK(watch.check(start + 4s) == Verdict::dead);
}

TEST_CASE("whatever is heard starts the patience again") {
  IdleWatch watch{4s, start};
  watch.heard(start + 900ms);
  CHECK(watch.check(start + 1s) == Verdict::fine);
  CHECK(watch.check(start + 1900ms) == Verdict::ask);
  watch.heard(start + 4s);
  CHECK(watch.check(start + 4900ms) == Verdict::fine);
  CHECK(watch.due() == start + 5s);
}

TEST_CASE("a pause of the program itself kills nothing that was not asked") {
  IdleWatch watch{4s, start};
  CHECK(watch.check(start + 60s) == Verdict::ask);
  CHECK(watch.check(start + 62s) == Verdict::fine);
  CHECK(watch.check(start + 63s) == Verdict::dead);
}
