// Bad input, each with its error; and that nothing else comes of it.
#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::BusOptions, syncbus::Errc, syncbus::Event, syncbus::EventType, syncbus::Resync, syncbus::Scope;

CONTRACT_TEST_CASE("an empty key is an invalid key", "[contract]", Everything) {
  const auto bus = fixture.node();
  Heard heard;
  CHECK(bus->publish("") == Errc::invalid_key);
  CHECK(bus->publish(std::string_view{}) == Errc::invalid_key);
  CHECK(bus->revoke_lease("") == Errc::invalid_key);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe("", heard.on_event())); }) == Errc::invalid_key);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe("")); }) == Errc::invalid_key);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_lease("", heard.on_event())); }) == Errc::invalid_key);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_lease("")); }) == Errc::invalid_key);
  CHECK_FALSE(thrown_by([&] { static_cast<void>(bus->subscribe_prefix("", heard.on_event(), heard.on_resync())); }));
}

CONTRACT_TEST_CASE("a key above max_key_bytes is an invalid key, one of max_key_bytes is not", "[contract]",
                   Everything) {
  const auto bus = fixture.node();
  const auto strict = fixture.node({.max_key_bytes = 8});
  Heard heard;
  CHECK_FALSE(bus->publish(std::string(4'096, 'x')));
  CHECK(bus->publish(std::string(4'097, 'x')) == Errc::invalid_key);
  CHECK(bus->revoke_lease(std::string(4'097, 'x')) == Errc::invalid_key);
  CHECK_FALSE(strict->publish("12345678"));
  CHECK(strict->publish("123456789") == Errc::invalid_key);
  CHECK(thrown_by([&] { static_cast<void>(strict->subscribe("123456789", heard.on_event())); }) == Errc::invalid_key);
  CHECK(thrown_by([&] { static_cast<void>(strict->subscribe_prefix("123456789")); }) == Errc::invalid_key);
  CHECK_FALSE(thrown_by([&] { static_cast<void>(strict->subscribe("12345678", heard.on_event())); }));
}

CONTRACT_TEST_CASE("one invalid key and none of a publish is heard", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_prefix("k", heard.on_event(), heard.on_resync());
  std::vector<std::string> many(300, "k");
  many.back().clear();
  CHECK(publisher->publish({"k1", "", "k2"}) == Errc::invalid_key);
  CHECK(publisher->publish(std::array<std::string_view, 2>{"k1", ""}) == Errc::invalid_key);
  CHECK(publisher->publish(many) == Errc::invalid_key);
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.lines().empty());
}

CONTRACT_TEST_CASE("types that are only received cannot be published", "[contract]", Everything) {
  const auto publisher = fixture.node();
  const auto listener = fixture.peer_of(publisher);
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  for (const auto type : {EventType::lease_revoked, EventType::resync, static_cast<EventType>(200)}) {
    CHECK(publisher->publish("k", {.type = type}) == Errc::invalid_argument);
    CHECK(publisher->publish({"k", "l"}, {.type = type}) == Errc::invalid_argument);
    CHECK(publisher->publish(std::vector<std::string>{"k"}, {.type = type}) == Errc::invalid_argument);
  }
  CHECK_FALSE(publisher->publish("end"));
  CHECK(eventually([&] { return heard.count() == 1; }));
  CHECK(publisher->metrics().published == 1);
}

CONTRACT_TEST_CASE("a null callable is refused at once", "[contract]", Everything) {
  const auto bus = fixture.node();
  Heard heard;
  const std::function<void(const Event&)> no_handler;
  const std::function<void(const Resync&)> no_resync;
  void (*const no_function)(const Event&) = nullptr;
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe("k", no_handler)); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe("k", no_function)); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_lease("k", no_handler)); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_all(no_handler, heard.on_resync())); }) ==
        Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_all(heard.on_event(), no_resync)); }) ==
        Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_prefix("p", heard.on_event(), no_resync)); }) ==
        Errc::invalid_argument);
  CHECK_FALSE(bus->publish("k"));
  CHECK(bus->metrics().handler_errors == 0);
}

CONTRACT_TEST_CASE("a mailbox without capacity is refused", "[contract]", Everything) {
  const auto bus = fixture.node();
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe("k", {.capacity = 0})); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(bus->subscribe_all({.capacity = 0})); }) == Errc::invalid_argument);
  const auto largest = bus->subscribe("k", {.capacity = (std::numeric_limits<std::size_t>::max)()});
  CHECK_FALSE(bus->publish("k"));
  CHECK_FALSE(largest.closed());
}

CONTRACT_TEST_CASE("a name or a zone above 255 bytes is refused when the bus is made", "[contract]", Everything) {
  const std::string longest(255, 'n'), longer(256, 'n');
  CHECK_FALSE(thrown_by([&] { static_cast<void>(fixture.node({.name = longest, .zone = longest})); }));
  CHECK(thrown_by([&] { static_cast<void>(fixture.node({.name = longer})); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(fixture.node({.zone = longer})); }) == Errc::invalid_argument);
}

CONTRACT_TEST_CASE("a bus that could take no key is refused when it is made", "[contract]", Everything) {
  CHECK(thrown_by([&] { static_cast<void>(fixture.node({.max_key_bytes = 0})); }) == Errc::invalid_argument);
}

CONTRACT_TEST_CASE("no time for peers to answer is refused, and all the time there is is taken", "[contract]",
                   Clusters) {
  CHECK(thrown_by([&] { static_cast<void>(fixture.node({.peer_timeout = 0s})); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(fixture.node({.heartbeat = -1s})); }) == Errc::invalid_argument);
  const auto forever = (syncbus::Duration::max)();
  const auto a = fixture.node({.peer_timeout = forever}), b = fixture.node({.repair_timeout = forever});
  const auto subscription = b->subscribe("k", [](const syncbus::Event&) {});
  CHECK_FALSE(a->publish_and_await("k", 1, {.timeout = 20s}).error);
  CHECK(a->metrics().reconnects == 0);
}

CONTRACT_TEST_CASE("a handler that throws harms nobody else and is reported", "[contract]", Everything) {
  Heard log;
  const auto publisher = fixture.node();
  const BusOptions options{.on_log = [note = log.on_event()](std::string_view line) mutable { note({.key = line}); }};
  const auto listener = fixture.node(options);
  const auto source = fixture.has_peers() ? publisher : listener;
  Heard first, last;
  const auto a = listener->subscribe("k", first.on_event());
  const auto b = listener->subscribe("k", [](const Event&) { throw std::runtime_error{"the reason"}; });
  const auto c = listener->subscribe("k", [](const Event&) { throw 42; });
  const auto d = listener->subscribe("k", last.on_event());

  CHECK_FALSE(source->publish("k", {.version = 1}));
  CHECK_FALSE(source->publish("k", {.version = 2}));
  REQUIRE(caught_up(*source, *listener));

  CHECK(first.lines() == Lines{"invalidate k v1", "invalidate k v2"});
  CHECK(last.lines() == first.lines());
  CHECK(eventually([&] { return listener->metrics().handler_errors == 4; }));
  CHECK(eventually([&] { return log.count() == 4; }));
  const Lines lines = log.lines();
  CHECK(std::ranges::count_if(lines, [](const auto& line) { return line.find("the reason") != line.npos; }) == 2);
  CHECK(std::ranges::none_of(lines, [](const auto& line) { return line.find('\n') != line.npos; }));
}

CONTRACT_TEST_CASE("a hook that throws harms nobody", "[contract]", Everything) {
  const BusOptions options{.on_health = [](const syncbus::Health&) { throw 1; },
                           .on_log = [](std::string_view) { throw std::runtime_error{"log"}; }};
  const auto publisher = fixture.node(options);
  const auto listener = fixture.has_peers() ? fixture.node(options) : publisher;
  Heard heard;
  const auto a = listener->subscribe("k", [](const Event&) { throw 1; });
  const auto b = listener->subscribe("k", heard.on_event());
  CHECK_FALSE(publisher->publish("k"));
  REQUIRE(caught_up(*publisher, *listener));
  CHECK(heard.count() == 1);
}

CONTRACT_TEST_CASE("a publish_only bus publishes, hears itself only, and says so", "[contract]", Clusters) {
  const auto mute = fixture.node({.publish_only = true});
  const auto listener = fixture.node();
  Heard own, heard;
  CHECK(thrown_by([&] { static_cast<void>(mute->subscribe("k", own.on_event())); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(mute->subscribe("k", own.on_event(), Scope::remote)); }) ==
        Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(mute->subscribe("k")); }) == Errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(mute->subscribe_all(own.on_event(), own.on_resync())); }) ==
        Errc::invalid_argument);
  const auto a = mute->subscribe("k", own.on_event(), Scope::local);
  const auto box = mute->subscribe("k", {.scope = Scope::local});
  const auto b = listener->subscribe("k", heard.on_event());

  CHECK_FALSE(listener->publish("k", {.version = 1}));
  CHECK_FALSE(listener->flush(10s));
  CHECK_FALSE(mute->publish("k", {.version = 2}));
  CHECK_FALSE(mute->flush(10s));

  CHECK(eventually([&] { return heard.count() == 2; }));
  CHECK(own.lines() == Lines{"invalidate k v2"});
  CHECK(mute->metrics().frames_received == 0);
  CHECK(mute->is_healthy());
}

CONTRACT_TEST_CASE("an event that no frame can hold is refused, with all that it came with", "[contract]", Clusters) {
  const auto publisher =
      fixture.node({.max_key_bytes = std::size_t{1} << 20U, .history_bytes = std::size_t{64} << 10U});
  const auto listener = fixture.node();
  Heard heard, own;
  const auto a = listener->subscribe_all(heard.on_event(), heard.on_resync());
  const auto b = publisher->subscribe_all(own.on_event(), own.on_resync());
  const std::string large(std::size_t{100} << 10U, 'x');

  CHECK(publisher->publish(large) == Errc::frame_too_large);
  CHECK(publisher->publish({"small", large}) == Errc::frame_too_large);
  CHECK(own.lines().empty());
  CHECK(publisher->metrics().published == 0);
  CHECK_FALSE(publisher->publish(large, {.scope = Scope::local}));
  CHECK(own.count() == 1);
  CHECK_FALSE(publisher->publish("end"));
  CHECK(eventually([&] { return heard.count() == 1; }));
  CHECK(heard.lines() == Lines{"invalidate end"});
}
