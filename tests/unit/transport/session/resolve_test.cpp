// How names of hosts become addresses, and that a name server that does not answer keeps nobody beyond his deadline.
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>

#include <syncbus/base/wake_fd.hpp>
#include <syncbus/transport/session/detachable_call.hpp>
#include <syncbus/transport/session/resolve.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/fake_names.hpp"

using namespace std::chrono_literals;
using support::FakeName;
using syncbus::detail::DetachableCall, syncbus::detail::Resolved, syncbus::detail::Resolver;

namespace {

syncbus::TimePoint in(syncbus::Duration time) { return std::chrono::steady_clock::now() + time; }

}  // namespace

TEST_CASE("a name has all its addresses, in their order, and an address is its own name") {
  const FakeName name{"two.test", {"::1", "127.0.0.1"}};
  Resolver resolver;
  const auto two = resolver.resolve(name.host(), 80, in(30s));
  REQUIRE(two);
  REQUIRE(two->addresses.size() == 2);
  CHECK(two->addresses[0].text() == "::1");
  CHECK(two->addresses[1].text() == "127.0.0.1");
  const auto one = resolver.resolve("127.0.0.1", 80, in(0s));
  REQUIRE(one);
  CHECK(one->addresses.at(0).text() == "127.0.0.1");
}

TEST_CASE("a look-up that does not end is left behind at the deadline, and not begun twice") {
  FakeName name{"slow.test", {"127.0.0.1"}};
  name.hold();
  Resolver resolver;
  CHECK_FALSE(resolver.resolve(name.host(), 80, in(10ms)));
  CHECK_FALSE(resolver.resolve(name.host(), 80, in(10ms)));
  CHECK(support::eventually([&] { return name.waiting() == 1; }));
  syncbus::detail::WakeFd wake;
  wake.signal();
  CHECK_FALSE(resolver.resolve(name.host(), 80, in(1h), wake.fd()));
  name.hold(false);
  CHECK(resolver.resolve(name.host(), 80, in(30s)));
  name.hold();
  {
    Resolver forgotten;
    CHECK_FALSE(forgotten.resolve(name.host(), 80, in(0s)));
    REQUIRE(support::eventually([&] { return name.waiting() == 1; }));
  }
}

TEST_CASE("what a detachable call throws is thrown to who takes its result") {
  DetachableCall<int> call{[]() -> int { throw std::runtime_error{"no"}; }};
  REQUIRE(call.wait(in(30s)));
  CHECK_THROWS_AS(call.take(), std::runtime_error);
}
