// How a bus begins: it waits until it hears itself, and says so when it does not.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include <syncbus/basic_bus.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using namespace syncbus;

namespace {

/// What became of a transport, which its bus takes with it.
struct Seen {
  int broadcasts = 0;
  int closes = 0;
};

/// Takes all and brings nothing back: a user that may publish to the channel, and whose subscription is another's.
class OneWay {
 public:
  static constexpr bool lossless_sessions = true;

  explicit OneWay(Seen& seen) : seen_{seen} {}

  void open(TransportSink& sink, const TransportSettings&) { sink.on_ready(1, std::size_t{1} << 20U); }
  void broadcast(Bytes, BroadcastToken) noexcept { ++seen_.broadcasts; }
  void send(NodeId, Bytes) noexcept {}
  void reopen(std::uint64_t) noexcept {}
  void close() noexcept { ++seen_.closes; }

 private:
  Seen& seen_;
};

struct OneWayBus : BasicBus<OneWay> {
  OneWayBus(BusOptions options, Seen& seen) : BasicBus{std::move(options), std::in_place, seen} {}
};

}  // namespace

TEST_CASE("a bus that does not hear itself within connect_timeout is not_connected, in a sentence that says why") {
  Seen seen;
  const auto begin = std::chrono::steady_clock::now();
  try {
    const OneWayBus bus{{.connect_timeout = 1s}, seen};
    FAIL("it was made");
  } catch (const std::system_error& error) {
    CHECK(error.code() == Errc::not_connected);
    CHECK(std::string{error.what()}.find("check what the user may subscribe to, or raise connect_timeout") !=
          std::string::npos);
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= 1s);
  CHECK(took < support::patience);
  CHECK(seen.broadcasts >= 2);  // a hello may be lost: it was said again
  CHECK(seen.closes == 1);
}

TEST_CASE("a bus that is publish_only does not wait to hear itself") {
  Seen seen;
  {
    const OneWayBus bus{{.connect_timeout = support::patience, .close_timeout = 0s, .publish_only = true}, seen};
    CHECK(bus.is_healthy());
  }
  CHECK(seen.closes == 1);
}
