// The executor of the options: it runs the handlers of remote events, one task at a time, whenever it likes.
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "contract/fixtures/crank.hpp"
#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::BusOptions, syncbus::Event;

CONTRACT_TEST_CASE("an executor runs the handlers of remote events, one task at a time", "[contract]", Clusters) {
  Crank crank;
  const auto listener = fixture.node({.executor = crank.post()});
  const auto publisher = fixture.node();
  Heard heard;
  std::atomic<bool> elsewhere = false;
  const auto test_thread = std::this_thread::get_id();
  const auto a = listener->subscribe_all(heard.on_event(), heard.on_resync());
  const auto b =
      listener->subscribe_all([&](const Event&) { elsewhere = elsewhere || std::this_thread::get_id() != test_thread; },
                              [](const syncbus::Resync&) {});

  for (int i = 0; i != 50; ++i) CHECK_FALSE(publisher->publish(std::to_string(i)));
  CHECK_FALSE(publisher->flush(10s));
  CHECK(heard.count() == 0);
  CHECK(eventually([&] {
    crank.turn();
    return heard.count() == 50;
  }));
  CHECK_FALSE(elsewhere);
  CHECK(crank.most() == 1);

  CHECK_FALSE(listener->publish("own"));  // local events stay on the publisher's thread
  CHECK(heard.count() == 51);
}

CONTRACT_TEST_CASE("a task that an executor runs late, or after the bus has ended, is harmless", "[contract]",
                   Clusters) {
  Crank crank;
  Heard heard;
  {
    const auto listener = fixture.node({.executor = crank.post()});
    const auto publisher = fixture.node();
    const auto subscription = listener->subscribe("k", heard.on_event());
    CHECK_FALSE(publisher->publish("k"));
    CHECK(eventually([&] { return crank.waiting() == 1; }));
  }
  CHECK(heard.count() == 0);
  while (crank.turn()) {
  }
  CHECK(heard.count() == 0);
}

CONTRACT_TEST_CASE("handlers of an executor may publish, subscribe and unsubscribe", "[contract]", Clusters) {
  Crank crank;
  const auto listener = fixture.node({.executor = crank.post()});
  const auto publisher = fixture.node();
  Heard answers;
  const auto a = publisher->subscribe("answer", answers.on_event());
  std::vector<syncbus::Subscription> more;
  const auto b = listener->subscribe("question", [&](const Event& event) {
    more.clear();
    more.push_back(listener->subscribe("later", [](const Event&) {}));
    if (listener->publish("answer", {.version = event.version})) throw 1;
  });
  for (std::uint64_t i = 1; i <= 10; ++i) {
    CHECK_FALSE(publisher->publish("question", {.version = i}));
    CHECK(eventually([&] {
      crank.turn();
      return answers.count() == i;
    }));
  }
}

CONTRACT_TEST_CASE("an executor that throws is asked again", "[contract]", Clusters) {
  Crank crank;
  std::atomic<int> refusals = 2;
  const auto listener = fixture.node({.executor = [&, post = crank.post()](std::function<void()> task) {
    if (refusals-- > 0) throw std::runtime_error{"busy"};
    post(std::move(task));
  }});
  const auto publisher = fixture.node();
  Heard heard;
  const auto subscription = listener->subscribe_all(heard.on_event(), heard.on_resync());
  std::uint64_t published = 0;
  CHECK(eventually([&] {
    if (publisher->publish("k", {.version = ++published})) return false;
    crank.turn();
    return heard.count() != 0;
  }));
  CHECK(eventually([&] {
    crank.turn();
    return heard.count() == published;
  }));
  CHECK(heard.lines().front() == "invalidate k v1");
}
