// Which verb, and which overload of it, a call means; and what the facade checks before a bus hears of it.
#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <semaphore>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <syncbus/bus.hpp>
#include <syncbus/in_memory_bus.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/awaiting.hpp>
#include <syncbus/local/local_node.hpp>
#include <syncbus/subscribe_once.hpp>

#include "support/catch.hpp"
#include "support/lines.hpp"

using namespace syncbus;
using support::line_of, support::Lines;

namespace {

/// A bus that notes what the facade hands to it: the keys of each submission.
class RecordingBus : public BusFacade<RecordingBus> {
 public:
  struct Submitted {
    EventType type;
    std::uint64_t version;
    Scope scope;
    Lines keys;

    friend bool operator==(const Submitted&, const Submitted&) = default;
  };

  /// The only submission since the last call, or a nonsense that equals no expectation.
  Submitted one() {
    if (submissions.size() != 1) return {EventType::resync, submissions.size(), Scope::local, {"not one submission"}};
    return std::exchange(submissions, {}).front();
  }

  std::vector<Submitted> submissions;
  std::error_code answer;

  // Awaits: the latest, and whether they end at once, with one replica, or only when they are canceled.
  Quorum quorum{1};
  Duration timeout{};
  bool ends_awaits = true;
  int cancels = 0;

  std::error_code submit(const Submission& submission) noexcept {
    submissions.push_back(
        {submission.type, submission.version, submission.scope, Lines(submission.keys.begin(), submission.keys.end())});
    return answer;
  }
  AwaitOutcome await(const Submission& submission, Quorum asked_for, const AwaitOptions& options) {
    return detail::await_blocking(
        *local_.subscribers(), options, [&](const auto& call) { return open(submission, asked_for, options, call); },
        [this](const auto& call) { return canceller(call); },
        [](detail::AwaitCall& call) {
          call.wait();
          return std::error_code{};
        });
  }
  void async_await(const Submission& submission, Quorum asked_for, const AwaitOptions& options, Completion completion) {
    detail::await_async(
        *local_.subscribers(), options, std::move(completion),
        [&](const auto& call) { return open(submission, asked_for, options, call); },
        [this](const auto& call) { return canceller(call); });
  }
  Subscription attach(const Interest& interest, Subscriber subscriber) {
    return local_.attach(interest, std::move(subscriber));
  }

 private:
  using Call = std::shared_ptr<detail::AwaitCall>;

  std::error_code open(const Submission& submission, Quorum asked_for, const AwaitOptions& options, const Call& call) {
    if (submission.keys.empty()) return Errc::invalid_argument;
    quorum = asked_for;
    timeout = options.timeout;
    if (const auto error = submit(submission)) return error;
    open_ = call;  // as a bus does, until it has ended
    if (ends_awaits) end(*call, {{}, {NodeId{7}}});
    return {};
  }
  std::function<void()> canceller(const Call& call) {
    return [this, call = call.get()] {
      ++cancels;
      if (!call->ended()) end(*call, {.error = Errc::canceled});
    };
  }
  void end(detail::AwaitCall& call, AwaitOutcome outcome) {
    call.end(std::move(outcome));
    if (call.has_completion()) local_.subscribers()->complete(call);
  }

  detail::LocalNode local_{BusOptions{.max_key_bytes = 100}};
  std::shared_ptr<detail::AwaitCall> open_;
};

RecordingBus::Submitted keys(Lines expected) { return {EventType::invalidate, 0, Scope::all, std::move(expected)}; }

template <class Keys>
concept Publishable = requires(RecordingBus& bus, Keys&& keys) {
  bus.publish(std::forward<Keys>(keys));
};

template <class Keys, class Count>
concept Awaitable = requires(RecordingBus& bus, Keys&& keys, Count count) {
  { bus.publish_and_await(std::forward<Keys>(keys), count) } -> std::same_as<AwaitOutcome>;
};

template <class Completion>
concept Completable = requires(RecordingBus& bus, Completion completion) {
  bus.async_publish_and_await("k", 1, {}, completion);
};

}  // namespace

// Every bus is one; what is only half a bus is none.
static_assert(Bus<InMemoryBus>);
static_assert(!Bus<RecordingBus> && !Bus<int>);  // it cannot flush, close or be measured

// A handler is kept, so it is made from what is passed.
struct Immovable {
  void operator()(const Event&) {}
  void operator()(const Resync&) {}
  void operator()(const AwaitOutcome&) {}
  std::mutex mutex;
};
static_assert(!EventHandler<Immovable&> && !ResyncHandler<Immovable&> && !AwaitHandler<Immovable&>);
struct MoveOnly {
  void operator()(const Event&) {}
  std::unique_ptr<int> owned;
};
static_assert(EventHandler<MoveOnly> && !EventHandler<MoveOnly&>);
static_assert(EventHandler<void(const Event&)> && EventHandler<void (&)(Event)>);

// Publishing views never throws, so that it can be called anywhere.
static_assert(noexcept(std::declval<InMemoryBus&>().publish("k")));
static_assert(noexcept(std::declval<InMemoryBus&>().publish("k", {.version = 1})));
static_assert(noexcept(std::declval<InMemoryBus&>().publish({"a", "b"})));
static_assert(noexcept(std::declval<InMemoryBus&>().publish(std::span<const std::string_view>{})));
static_assert(noexcept(std::declval<InMemoryBus&>().publish_all()));
static_assert(noexcept(std::declval<InMemoryBus&>().revoke_lease("l")));

// What a key, or a range of keys, may be.
static_assert(Publishable<const char*> && Publishable<std::string> && Publishable<std::string_view>);
static_assert(Publishable<std::vector<std::string>> && Publishable<const std::set<std::string>&>);
static_assert(!Publishable<std::nullptr_t> && !Publishable<int> && !Publishable<std::vector<int>>);

// What can be awaited, from how many, and who can be told.
static_assert(Awaitable<const char*, int> && Awaitable<std::string, std::size_t>);
static_assert(Awaitable<std::string_view, Quorum>);
static_assert(Awaitable<std::vector<std::string>, int> && Awaitable<const std::set<std::string>&, int>);
static_assert(!Awaitable<std::nullptr_t, int> && !Awaitable<int, int> && !Awaitable<std::vector<int>, int>);
static_assert(!Awaitable<const char*, char> && !Awaitable<const char*, char8_t> && !Awaitable<const char*, wchar_t>);
static_assert(Awaitable<const char*, signed char> && Awaitable<const char*, std::uint8_t>);  // small integers
static_assert(!Awaitable<const char*, bool> && !Awaitable<const char*, double> && !Awaitable<const char*, const char*>);
static_assert(Completable<void (*)(AwaitOutcome)> && Completable<std::function<void(const AwaitOutcome&)>>);
static_assert(!Completable<void (*)()> && !Completable<void (*)(std::error_code)> && !Completable<std::nullptr_t>);

TEST_CASE("a string in any form is one key") {
  RecordingBus bus;
  const std::string string = "string";
  const char* const pointer = "pointer";
  const char array[] = "array";
  CHECK_FALSE(bus.publish("literal"));
  CHECK(bus.one() == keys({"literal"}));
  CHECK_FALSE(bus.publish(string));
  CHECK(bus.one() == keys({"string"}));
  CHECK_FALSE(bus.publish(std::string{"temporary"}));
  CHECK(bus.one() == keys({"temporary"}));
  CHECK_FALSE(bus.publish(std::string_view{"view"}));
  CHECK(bus.one() == keys({"view"}));
  CHECK_FALSE(bus.publish(pointer));
  CHECK(bus.one() == keys({"pointer"}));
  CHECK_FALSE(bus.publish(array));
  CHECK(bus.one() == keys({"array"}));
}

TEST_CASE("braces are a list of keys, also when two pointers could make one view") {
  RecordingBus bus;
  CHECK_FALSE(bus.publish({"a", "b"}));
  CHECK(bus.one() == keys({"a", "b"}));
  CHECK_FALSE(bus.publish({"a", "b", "c"}));
  CHECK(bus.one() == keys({"a", "b", "c"}));
  const std::string x = "x";
  CHECK_FALSE(bus.publish({x, "y"}, {.version = 2}));
  CHECK(bus.one() == RecordingBus::Submitted{EventType::invalidate, 2, Scope::all, {"x", "y"}});
  CHECK_FALSE(bus.publish({"single"}));
  CHECK(bus.one() == keys({"single"}));
}

TEST_CASE("ranges of views, lvalue strings and pointers are many keys") {
  RecordingBus bus;
  const std::array<std::string_view, 2> views{"a", "b"};
  const std::vector<std::string> strings{"c", "d"};
  const std::set<std::string> set{"f", "e"};
  const std::deque<std::string_view> deque{"g"};
  const char* const pointers[]{"h", "i"};
  CHECK_FALSE(bus.publish(views));
  CHECK(bus.one() == keys({"a", "b"}));
  CHECK_FALSE(bus.publish(std::span{views}));
  CHECK(bus.one() == keys({"a", "b"}));
  CHECK_FALSE(bus.publish(std::vector<std::string_view>{"v", "w"}));
  CHECK(bus.one() == keys({"v", "w"}));
  CHECK_FALSE(bus.publish(strings));
  CHECK(bus.one() == keys({"c", "d"}));
  CHECK_FALSE(bus.publish(std::vector<std::string>{"t"}));  // it lives until the call returns
  CHECK(bus.one() == keys({"t"}));
  CHECK_FALSE(bus.publish(set));
  CHECK(bus.one() == keys({"e", "f"}));
  CHECK_FALSE(bus.publish(deque));
  CHECK(bus.one() == keys({"g"}));
  CHECK_FALSE(bus.publish(pointers));
  CHECK(bus.one() == keys({"h", "i"}));
}

TEST_CASE("a long range is handed over in one piece: all of it is published, or nothing") {
  RecordingBus bus;
  std::list<std::string> range;
  for (int i = 0; i != 300; ++i) range.push_back(std::to_string(i));
  CHECK_FALSE(bus.publish(range, {.type = EventType::set, .version = 4, .scope = Scope::remote}));
  CHECK(bus.one() == RecordingBus::Submitted{EventType::set, 4, Scope::remote, Lines(range.begin(), range.end())});

  bus.answer = Errc::frame_too_large;
  CHECK(bus.publish(range) == Errc::frame_too_large);
  CHECK(bus.submissions.size() == 1);

  range.back().clear();
  InMemoryBus alone;
  int heard = 0;
  const auto subscription = alone.subscribe("0", [&](const Event&) { ++heard; });
  CHECK(alone.publish(range) == Errc::invalid_key);
  CHECK(heard == 0);
}

TEST_CASE("options travel, and types that are only received are refused") {
  RecordingBus bus;
  CHECK_FALSE(bus.publish("k", {.type = EventType::remove, .version = 9, .scope = Scope::local}));
  CHECK(bus.one() == RecordingBus::Submitted{EventType::remove, 9, Scope::local, {"k"}});
  CHECK(bus.publish("k", {.type = EventType::lease_revoked}) == Errc::invalid_argument);
  CHECK(bus.publish("k", {.type = EventType::resync}) == Errc::invalid_argument);
  CHECK(bus.submissions.empty());
}

TEST_CASE("publish_all is a resync without keys, of whose options only the scope counts") {
  RecordingBus bus;
  CHECK_FALSE(bus.publish_all());
  CHECK(bus.one() == RecordingBus::Submitted{EventType::resync, 0, Scope::all, {}});
  CHECK_FALSE(bus.publish_all({.type = EventType::set, .version = 3, .scope = Scope::remote}));
  CHECK(bus.one() == RecordingBus::Submitted{EventType::resync, 0, Scope::remote, {}});
}

TEST_CASE("revoke_lease is an event of the leases, of whose options the type does not count") {
  RecordingBus bus;
  CHECK_FALSE(bus.revoke_lease("l", {.type = EventType::set, .version = 3, .scope = Scope::remote}));
  CHECK(bus.one() == RecordingBus::Submitted{EventType::lease_revoked, 3, Scope::remote, {"l"}});
}

TEST_CASE("an await is one submission, of one key or of many, whatever their number") {
  RecordingBus bus;
  const auto replicas = std::vector{NodeId{7}};
  CHECK(bus.publish_and_await("k", 2).replicas == replicas);
  CHECK(bus.one() == keys({"k"}));
  CHECK(bus.quorum == Quorum{2});
  CHECK(bus.timeout == AwaitOptions{}.timeout);
  CHECK_FALSE(bus.publish_and_await(std::string{"k"}, Quorum::everyone(), {.timeout = Duration{5}}).error);
  CHECK(bus.one() == keys({"k"}));
  CHECK(bus.quorum == Quorum::everyone());
  CHECK(bus.timeout == Duration{5});
  CHECK_FALSE(bus.publish_and_await({"a", "b"}, Quorum::zones(3)).error);
  CHECK(bus.one() == keys({"a", "b"}));
  CHECK(bus.quorum == Quorum::zones(3));
  const std::array<std::string_view, 2> views{"c", "d"};
  CHECK_FALSE(bus.publish_and_await(views, 1).error);
  CHECK(bus.one() == keys({"c", "d"}));
  CHECK_FALSE(bus.publish_and_await(std::span{views}, 1).error);
  CHECK(bus.one() == keys({"c", "d"}));
  CHECK_FALSE(bus.publish_and_await(std::set<std::string>{"f", "e"}, 1).error);
  CHECK(bus.one() == keys({"e", "f"}));
  std::list<std::string> range;
  for (int i = 0; i != 300; ++i) range.push_back(std::to_string(i));
  CHECK_FALSE(bus.publish_and_await(range, 1).error);
  CHECK(bus.one() == keys(Lines(range.begin(), range.end())));
}

TEST_CASE("the publish options of an await travel, and types that are only received are refused") {
  RecordingBus bus;
  AwaitOptions options{.publish = {.type = EventType::set, .version = 4, .scope = Scope::remote}};
  CHECK_FALSE(bus.publish_and_await("k", 1, options).error);
  CHECK(bus.one() == RecordingBus::Submitted{EventType::set, 4, Scope::remote, {"k"}});
  CHECK_FALSE(bus.revoke_lease_and_await("l", 1, options).error);
  CHECK(bus.one() == RecordingBus::Submitted{EventType::lease_revoked, 4, Scope::remote, {"l"}});
  for (const EventType type : {EventType::resync, EventType::lease_revoked}) {
    options.publish.type = type;
    CHECK(bus.publish_and_await("k", 1, options).error == Errc::invalid_argument);
    CHECK(bus.publish_and_await({"k", "l"}, 1, options).error == Errc::invalid_argument);
    std::error_code told;
    bus.async_publish_and_await("k", 1, options, [&](const AwaitOutcome& outcome) { told = outcome.error; });
    CHECK(told == Errc::invalid_argument);
  }
  CHECK(bus.submissions.empty());
}

TEST_CASE("an await that the bus refuses ends with that error, told once") {
  RecordingBus bus;
  bus.answer = Errc::too_many_awaits;
  const auto refused = bus.publish_and_await("k", 1);
  CHECK(refused.error == Errc::too_many_awaits);
  CHECK_FALSE(refused.published);
  int calls = 0;
  bus.async_publish_and_await("k", 1, {}, [&](const AwaitOutcome& outcome) {
    calls += outcome.error == Errc::too_many_awaits && !outcome.published ? 1 : 100;
  });
  CHECK(calls == 1);
}

TEST_CASE("a completion may be any callable, is called once, and never when it is null") {
  RecordingBus bus;
  int calls = 0;
  bus.async_publish_and_await("k", 1, {}, [&calls, owned = std::make_unique<int>(1)](AwaitOutcome outcome) mutable {
    calls += outcome.replicas.size() == 1 ? *owned : 100;
  });
  bus.async_publish_and_await({"a", "b"}, 1, {}, [&](auto&&) { ++calls; });
  const std::array<std::string_view, 1> views{"c"};
  bus.async_publish_and_await(std::span{views}, 1, {}, std::function<void(const AwaitOutcome&)>{[&](auto&&) {
    ++calls;
  }});
  bus.async_publish_and_await(std::set<std::string>{"d", "e"}, 1, {}, [&](auto&&) { ++calls; });
  CHECK(calls == 4);
  CHECK(bus.submissions.back() == keys({"d", "e"}));
  bus.submissions.clear();
  const std::function<void(AwaitOutcome)> null;
  CHECK_THROWS_AS(bus.async_publish_and_await("k", 1, {}, null), std::system_error);
  CHECK(bus.submissions.empty());
}

TEST_CASE("a stop cancels the await that is open, and leaves one alone that has ended") {
  RecordingBus bus;
  bus.ends_awaits = false;
  std::stop_source stop;
  std::vector<std::error_code> told;
  const auto note = [&](const AwaitOutcome& outcome) { told.push_back(outcome.error); };
  bus.async_publish_and_await("k", 1, {.stop_token = stop.get_token()}, note);
  CHECK(told.empty());
  stop.request_stop();
  CHECK(told == std::vector{make_error_code(Errc::canceled)});
  CHECK(bus.cancels == 1);

  CHECK(bus.publish_and_await("k", 1, {.stop_token = stop.get_token()}).error == Errc::canceled);
  CHECK(bus.cancels == 2);  // what a bus checks before it takes anything is its own business

  bus.ends_awaits = true;
  std::stop_source later;
  CHECK_FALSE(bus.publish_and_await("k", 1, {.stop_token = later.get_token()}).error);
  later.request_stop();
  CHECK(bus.cancels == 2);
}

TEST_CASE("what people see is made with the members that matter, without a warning") {
  const Peer peer{.name = "cache-7"};
  const Metrics metrics{.published = 3};
  const AwaitOutcome outcome{.error = Errc::closed};
  CHECK((peer.id == NodeId{} && peer.zone.empty() && peer.lag == 0));
  CHECK((metrics.published == 3 && metrics.acknowledgement_latency.count == 0));
  CHECK((outcome.replicas.empty() && !outcome.published));
}

TEST_CASE("braces without a handler are a mailbox") {
  RecordingBus bus;
  static_assert(std::same_as<decltype(bus.subscribe("k")), Mailbox>);
  static_assert(std::same_as<decltype(bus.subscribe("k", {})), Mailbox>);
  static_assert(std::same_as<decltype(bus.subscribe("k", {.capacity = 5})), Mailbox>);
  static_assert(std::same_as<decltype(bus.subscribe_prefix("k", {})), Mailbox>);
  static_assert(std::same_as<decltype(bus.subscribe_all()), Mailbox>);
  static_assert(std::same_as<decltype(bus.subscribe_all({})), Mailbox>);
  static_assert(std::same_as<decltype(bus.subscribe_all({.capacity = 5})), Mailbox>);
  static_assert(std::same_as<decltype(bus.subscribe_lease("l", {})), Mailbox>);
  CHECK_FALSE(bus.subscribe("k", {}).closed());
}

TEST_CASE("a handler may be any callable: generic, mutable, move-only, a pointer, a member of something") {
  InMemoryBus bus;
  int calls = 0;
  struct Functor {
    int* calls;
    void operator()(const Event&) { ++*calls; }
    void operator()(const Resync&) { ++*calls; }
  };
  static int by_pointer;
  by_pointer = 0;
  void (*const pointer)(const Event&) = [](const Event&) { ++by_pointer; };
  Functor functor{&calls};
  std::vector<Subscription> subscriptions;
  subscriptions.push_back(bus.subscribe("k", [&](auto&&...) { ++calls; }));
  subscriptions.push_back(bus.subscribe("k", [&calls, n = 0](const Event&) mutable { calls += ++n; }));
  subscriptions.push_back(
      bus.subscribe("k", [&calls, owned = std::make_unique<int>(1)](const Event&) { calls += *owned; }));
  subscriptions.push_back(bus.subscribe("k", functor));
  subscriptions.push_back(bus.subscribe("k", std::ref(functor)));
  subscriptions.push_back(bus.subscribe("k", std::function<void(Event)>{functor}));
  subscriptions.push_back(bus.subscribe("k", pointer));
  subscriptions.push_back(bus.subscribe("k", [](Event) { return 7; }));  // what it returns is nobody's
  subscriptions.push_back(bus.subscribe_all(functor, functor));
  CHECK_FALSE(bus.publish("k"));
  CHECK(calls == 7);
  CHECK(by_pointer == 1);
}

TEST_CASE("what cannot be subscribed to is refused before the bus is asked") {
  RecordingBus bus;
  const auto refused = [](const auto& call) {
    try {
      call();
      return std::error_code{};
    } catch (const std::system_error& error) {
      return error.code();
    }
  };
  const std::function<void(const Event&)> null;
  const auto ignore = [](const Event&) {};
  CHECK(refused([&] { static_cast<void>(bus.subscribe("", ignore)); }) == Errc::invalid_key);
  CHECK(refused([&] { static_cast<void>(bus.subscribe(std::string(101, 'x'), ignore)); }) == Errc::invalid_key);
  CHECK(refused([&] { static_cast<void>(bus.subscribe("k", null)); }) == Errc::invalid_argument);
  CHECK(refused([&] { static_cast<void>(bus.subscribe("k", MailboxOptions{.capacity = 0})); }) ==
        Errc::invalid_argument);
  CHECK_FALSE(refused([&] { static_cast<void>(bus.subscribe(std::string(100, 'x'), ignore)); }));
}

namespace {

template <class Key>
concept Named = requires(RecordingBus& bus, Key key, void (*on_event)(const Event&), void (*on_outcome)(AwaitOutcome)) {
  requires requires { bus.publish(key); } || requires { bus.publish_and_await(key, 1);
  } || requires {
    bus.async_publish_and_await(key, 1, {}, on_outcome);
  } || requires {
    bus.revoke_lease(key);
  } || requires {
    bus.revoke_lease_and_await(key, 1);
  } || requires {
    bus.subscribe(key, on_event);
  } || requires {
    bus.subscribe(key);
  };
};
static_assert(Named<const char*> && !Named<std::nullptr_t>);  // a null pointer names nothing

/// A range whose end is of another type than its begin.
struct TwoKeys {
  struct End {};
  struct Iterator {
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    int at = 0;

    std::string_view operator*() const { return at == 0 ? "a" : "b"; }
    Iterator& operator++() {
      ++at;
      return *this;
    }
    Iterator operator++(int) { return {at++}; }
    [[maybe_unused]] friend bool operator==(const Iterator&, const Iterator&) = default;
    friend bool operator==(const Iterator& iterator, End) { return iterator.at == 2; }
  };

  [[nodiscard]] Iterator begin() const { return {}; }
  [[nodiscard]] End end() const { return {}; }
};

}  // namespace

TEST_CASE("a range may end at a sentinel of another type") {
  RecordingBus bus;
  CHECK_FALSE(bus.publish(TwoKeys{}));
  CHECK(bus.one() == keys({"a", "b"}));
  CHECK_FALSE(bus.publish_and_await(TwoKeys{}, 1).error);
  CHECK(bus.one() == keys({"a", "b"}));
}

TEST_CASE("subscribe_once hears one event, of several at once too, also while it subscribes") {
  InMemoryBus bus;
  for (int round = 0; round != 50; ++round) {
    std::atomic<bool> begun = false, over = false;
    std::atomic<int> calls = 0;
    {
      std::vector<std::jthread> publishing;
      for (int i = 0; i != 2; ++i) {
        publishing.emplace_back([&] {
          for (; !over; begun = true) static_cast<void>(bus.publish("k"));
        });
      }
      while (!begun) std::this_thread::yield();
      const auto once = subscribe_once(bus, "k", [&](const Event&) { ++calls; });
      while (calls == 0) std::this_thread::yield();
      over = true;
    }
    CHECK(calls == 1);
    const auto delivered = bus.metrics().delivered;
    CHECK_FALSE(bus.publish("k"));
    CHECK(bus.metrics().delivered == delivered);  // nothing of it is left on the bus
  }
}

TEST_CASE("who ends a subscribe_once while its handler runs waits for that, unless it only requests the end") {
  InMemoryBus bus;
  const bool waits = GENERATE(true, false);
  std::binary_semaphore entered{0}, go_on{0};
  std::atomic<bool> returned = false;
  auto once = subscribe_once(bus, "k", [&](const Event&) {
    entered.release();
    go_on.acquire();
    returned = true;
  });
  std::jthread publishing{[&] { static_cast<void>(bus.publish("k")); }};
  entered.acquire();
  if (waits) {
    const std::jthread opening{[&] { go_on.release(); }};
    once.unsubscribe();
    CHECK(returned);
  } else {
    once.request_unsubscribe();
    CHECK_FALSE(returned);
    go_on.release();
  }
  publishing.join();
  CHECK(returned);
}

TEST_CASE("request_unsubscribe destroys no callable, when the bus is gone neither: the end of the Subscription does") {
  const bool of_once = GENERATE(true, false);
  auto bus = std::make_unique<InMemoryBus>();
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> lives = owned;
  auto handler = [owned = std::move(owned)](const Event&) {};
  {
    auto subscription = of_once ? subscribe_once(*bus, "k", std::move(handler)) : bus->subscribe("k", std::move(handler));
    bus.reset();
    subscription.request_unsubscribe();
    CHECK_FALSE(subscription.active());
    CHECK_FALSE(lives.expired());
  }
  CHECK(lives.expired());
}

TEST_CASE("subscribe_once lets go of its handler when it has heard, and hears nothing when its owner has ended it") {
  InMemoryBus bus;
  const auto owned = std::make_shared<int>(0);
  const auto count = [owned](const Event& event) { *owned += event.type == EventType::resync ? 10 : 1; };
  auto lease = subscribe_lease_once(bus, "l", count);
  auto key = subscribe_once(bus, "k", count);
  auto ended = subscribe_once(bus, "k", count);
  CHECK(owned.use_count() == 5);
  ended.unsubscribe();
  CHECK(owned.use_count() == 4);
  CHECK_FALSE(bus.publish("k"));
  CHECK_FALSE(bus.publish("k"));
  CHECK(*owned == 1);
  CHECK(owned.use_count() == 3);
  CHECK_FALSE(bus.publish_all());  // it may hide the event
  CHECK_FALSE(bus.revoke_lease("l"));
  CHECK(*owned == 11);
  CHECK(owned.use_count() == 2);
  CHECK(bus.metrics().handler_errors == 0);
}

TEST_CASE("a handler of subscribe_once that throws has had its event") {
  InMemoryBus bus;
  int calls = 0;
  const auto once = subscribe_once(bus, "k", [&](const Event&) {
    ++calls;
    throw 1;
  });
  CHECK_FALSE(bus.publish("k"));
  CHECK_FALSE(bus.publish("k"));
  CHECK(calls == 1);
  CHECK(bus.metrics().handler_errors == 1);
  CHECK_THROWS_AS(static_cast<void>(subscribe_once(bus, "k", std::function<void(const Event&)>{})), std::system_error);
  CHECK_THROWS_AS(static_cast<void>(subscribe_once(bus, "", [](const Event&) {})), std::system_error);
}
