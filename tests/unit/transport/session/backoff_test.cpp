// Delays between attempts: doubling, bounded, never the same for everybody; and how long an attempt may take.
#include <chrono>
#include <set>

#include <syncbus/transport/session/attempts.hpp>
#include <syncbus/transport/session/backoff.hpp>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using syncbus::Duration, syncbus::Errc, syncbus::TimePoint;
using syncbus::detail::Attempts, syncbus::detail::Backoff, syncbus::detail::Doubling;

TEST_CASE("each delay lies between half and all of a value that doubles up to the most") {
  Backoff backoff{50ms, 2s, 7};
  for (const Duration whole : {50ms, 100ms, 200ms, 400ms, 800ms, 1600ms, 2000ms, 2000ms}) {
    const Duration delay = backoff.next();
    CHECK(delay >= whole / 2);
    CHECK(delay <= whole);
  }
  backoff.reset();
  CHECK(backoff.next() <= 50ms);
}

TEST_CASE("nodes with different seeds wait differently") {
  std::set<Duration> delays;
  for (unsigned seed = 0; seed != 100; ++seed) delays.insert(Backoff{50ms, 2s, seed}.next());
  CHECK(delays.size() > 90);
}

TEST_CASE("a most below the least, zero and the largest durations are taken") {
  CHECK(Backoff{1s, 1ms, 1}.next() <= 1s);
  CHECK(Backoff{0s, 0s, 1}.next() <= 1ns);
  Backoff endless{1s, (Duration::max)(), 1};
  for (int i = 0; i != 100; ++i) CHECK(endless.next() > 0s);
}

TEST_CASE("each attempt may take twice as long as the one before, up to the most, until one succeeds") {
  Doubling limit{1s, 5s};
  for (const Duration allowed : {1s, 2s, 4s, 5s, 5s}) CHECK(limit.next() == allowed);
  limit.reset();
  CHECK(limit.next() == 1s);
  CHECK(Doubling{2s, 1s}.next() == 1s);
  CHECK(Doubling{0s, 0s}.next() > 0s);
}

TEST_CASE("the last attempt at a first session is made when the wait for the broker ends, and none after it") {
  const TimePoint begin{1h};
  Attempts attempts{{.self = {1}, .connect_timeout = 5s, .wait_for_broker = 1s}, {.min_backoff = 1min, .max_backoff = 1min}, 5s, begin};
  CHECK(attempts.due() <= begin);
  CHECK(attempts.failed(Errc::not_connected, begin + 100ms));
  CHECK(attempts.due() == begin + 1s);
  CHECK_FALSE(attempts.failed(Errc::not_connected, begin + 1s));
}

TEST_CASE("without a wait there is one attempt, and none after a refusal; after a session there is always another") {
  const TimePoint begin{1h};
  CHECK_FALSE(Attempts{{.self = {1}, .connect_timeout = 5s}, {}, 5s, begin}.failed(Errc::not_connected, begin));
  Attempts attempts{{.self = {1}, .connect_timeout = 5s, .wait_for_broker = 1min}, {.attempt_timeout = 1s}, 5s, begin};
  CHECK_FALSE(Attempts{attempts}.failed(Errc::permission_denied, begin));
  CHECK(attempts.limit() == 5s);
  CHECK_FALSE(attempts.had_session());
  attempts.succeeded();
  CHECK(attempts.had_session());
  for (const Duration limit : {1s, 2s, 4s, 5s}) {
    CHECK(attempts.failed(Errc::permission_denied, begin + 1h));
    CHECK(attempts.due() > begin + 1h);
    CHECK(attempts.limit() == limit);
  }
}
