// What the contract suite runs over, and how its cases are written.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "contract/fixture.hpp"
#include "contract/in_memory_fixtures.hpp"
#include "contract/kafka_fixture.hpp"
#include "contract/nats_fixture.hpp"
#include "contract/redis_fixture.hpp"
#include "support/eventually.hpp"

namespace contract {

using support::eventually;

/// Buses over a real broker, in real time. A broker is added to the suite here.
using Servers = std::tuple<OnRedis, OnNats, OnKafka>;
using Brokers = decltype(std::tuple_cat(std::declval<Servers>(), std::declval<std::tuple<OnKafkaMock>>()));

/// The same for what is below the buses, with clients that a caller lends.
using ServerTransports = decltype(std::tuple_cat(std::declval<Servers>(), std::declval<std::tuple<OnLentNats>>()));
using Transports =
    decltype(std::tuple_cat(std::declval<Brokers>(), std::declval<std::tuple<OnLentNats, OnLentKafkaMock>>()));

using Clusters = decltype(std::tuple_cat(std::declval<std::tuple<OnHub>>(), std::declval<Brokers>()));
using Everything = decltype(std::tuple_cat(std::declval<std::tuple<Alone>>(), std::declval<Clusters>()));

/// Clusters on the steady clock, and all ways to keep time: for what depends on it.
using InRealTime = decltype(std::tuple_cat(std::declval<std::tuple<OnHubInRealTime>>(), std::declval<Brokers>()));
using ClustersOfAnyTime = decltype(std::tuple_cat(std::declval<std::tuple<OnHub>>(), std::declval<InRealTime>()));

/// For publishers that do not wait for those who hear them: what a broker drops before somebody has read it is a
/// resync, and the log of the mock cluster, of 5 MiB, is written anew in less time than a busy machine keeps a thread
/// waiting.
using ThatKeepWhatIsUnread =
    decltype(std::tuple_cat(std::declval<std::tuple<OnHub, OnHubInRealTime>>(), std::declval<Servers>()));

inline constexpr std::string_view fence_prefix = "the fence ";

/// Publishes something more and waits until `listener` has heard it, and with it everything that `publisher` published
/// before.
template <class Publisher, class Listener>
[[nodiscard]] bool caught_up(Publisher& publisher, Listener& listener) {
  static std::atomic<int> number = 0;
  const std::string fence = std::string{fence_prefix} + std::to_string(++number);
  std::atomic<bool> heard = false;
  const auto subscription = listener.subscribe(fence, [&heard](const syncbus::Event& event) {
    if (event.type == syncbus::EventType::invalidate) heard = true;
  });
  // Where a queue overflows a resync may stand for the fence: then it takes another.
  return eventually(
      [&] { return !publisher.publish(fence) && eventually([&] { return heard.load(); }, std::chrono::seconds{2}); });
}

/// What fixtures have in common, as a case over a list of them sees it.
template <class List>
struct CommonFixture;
template <class... Fixtures>
struct CommonFixture<std::tuple<Fixtures...>> {
  using type = std::conditional_t<
      (std::is_base_of_v<ServerFixture, Fixtures> && ...), ServerFixture,
      std::conditional_t<(std::is_base_of_v<BrokerFixture, Fixtures> && ...), BrokerFixture, Fixture>>;
};

}  // namespace contract

/// A case for each fixture of the list; its body, compiled once, has a fresh one of each as `fixture`.
#define CONTRACT_TEST_CASE(name, tags, list) SYNCBUS_CONTRACT_TEST_CASE(name, tags, list, __COUNTER__)
#define SYNCBUS_CONTRACT_TEST_CASE(name, tags, list, number) SYNCBUS_CONTRACT_TEST_CASE_AS(name, tags, list, number)
#define SYNCBUS_CONTRACT_TEST_CASE_AS(name, tags, list, number)                                   \
  static void contract_test_case_##number([[maybe_unused]] contract::CommonFixture<list>::type&); \
  TEMPLATE_LIST_TEST_CASE(name, tags, list) {                                                     \
    TestType fixture;                                                                             \
    contract_test_case_##number(fixture);                                                         \
  }                                                                                               \
  static void contract_test_case_##number([[maybe_unused]] contract::CommonFixture<list>::type& fixture)
