// A bus belongs to the process that made it: what is left of it in a child that was forked off later.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <semaphore>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

#include "contract/fixtures/crank.hpp"
#include "contract/fixtures/fixtures.hpp"
#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/thrown_by.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::ChildProcess;
using syncbus::Errc, syncbus::Mailbox, syncbus::Subscription;

namespace {

/// The number of the first expectation that did not hold: a child's exit status.
class Expectations {
 public:
  void operator()(bool holds) noexcept {
    ++count_;
    if (!holds && failed_ == 0) failed_ = count_;
  }
  [[nodiscard]] int failed() const noexcept { return failed_; }

 private:
  int count_ = 0;
  int failed_ = 0;
};

/// Everything that a child may try with a bus of its parent's, up to destroying it.
int use_in_child(AnyNode node, Subscription& subscription, Mailbox& mailbox) {
  Expectations expect;
  expect(node->publish("k") == Errc::forked);
  expect(node->publish({"k", "l"}, {.scope = syncbus::Scope::local}) == Errc::forked);
  expect(node->publish_all() == Errc::forked);
  expect(node->revoke_lease("k") == Errc::forked);
  expect(node->publish_and_await("k", 1).error == Errc::forked);
  std::error_code ended;
  node->async_publish_and_await("k", 1, {}, [&](const syncbus::AwaitOutcome& outcome) { ended = outcome.error; });
  expect(ended == Errc::forked);
  expect(thrown_by([&] { static_cast<void>(node->subscribe("k", ignore)); }) == Errc::forked);
  expect(thrown_by([&] { static_cast<void>(node->subscribe("k")); }) == Errc::forked);
  expect(node->flush(10s) == Errc::forked);
  expect(!node->is_healthy());
  expect(node->staleness() == (syncbus::Duration::max)());
  expect(node->peers().empty());
  expect(node->metrics().published == 0);
  expect(mailbox.closed());
  expect(!mailbox.try_receive());
  expect(!mailbox.receive(1h));
  subscription.unsubscribe();
  mailbox.unsubscribe();
  expect(node->close(10s) == Errc::forked);
  node.reset();
  return expect.failed();
}

/// A number that parent and child see.
class SharedCount {
 public:
  SharedCount()
      : count_{static_cast<std::atomic<int>*>(
            ::mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))} {}
  SharedCount(const SharedCount&) = delete;
  SharedCount& operator=(const SharedCount&) = delete;
  ~SharedCount() { ::munmap(count_, sizeof *count_); }

  std::atomic<int>& operator*() const noexcept { return *count_; }

 private:
  std::atomic<int>* count_;
};

}  // namespace

CONTRACT_TEST_CASE("in a forked child a bus says so and does nothing, and its parent's node stays as it was",
                   "[contract]", Everything) {
  Heard heard;
  AnyNode node = fixture.node();
  const AnyNode peer = fixture.peer_of(node);
  REQUIRE(fixture.has_met(peer, fixture.has_peers() ? 1 : 0));
  const auto listening = peer->subscribe_all(heard.on_event(), heard.on_resync());
  Subscription subscription = node->subscribe("k", ignore);
  Mailbox mailbox = node->subscribe_prefix("k");
  CHECK_FALSE(node->publish("k"));
  CHECK_FALSE(node->flush(10s));

  ChildProcess child{[&] { return use_in_child(std::exchange(node, nullptr), subscription, mailbox); }};
  CHECK(child.ends() == 0);
  ChildProcess daemon{[&] {
    const pid_t grandchild = ::fork();
    if (grandchild == 0) ::_exit(use_in_child(std::exchange(node, nullptr), subscription, mailbox));
    int status = 0;
    if (::waitpid(grandchild, &status, 0) != grandchild || !WIFEXITED(status)) return 98;
    return WEXITSTATUS(status);
  }};
  CHECK(daemon.ends() == 0);

  CHECK_FALSE(node->publish("k"));
  CHECK(node->is_healthy());
  CHECK(mailbox.try_receive());
  REQUIRE(caught_up(*node, *peer));
  CHECK(heard.count("invalidate k") == 2);
  if (fixture.has_peers()) {
    REQUIRE(peer->peers().size() == 1);
    CHECK(peer->peers().front().id == node->id());
  }
  CHECK(peer->metrics().duplicates == 0);
  CHECK(peer->metrics().gaps == 0);
}

CONTRACT_TEST_CASE("what a program has kept of a bus, an executor's task or a stop token, does nothing in a forked child",
                   "[contract]", Clusters) {
  Crank crank;
  const AnyNode publisher = fixture.node();
  const AnyNode listener = fixture.node({.executor = crank.post()});
  REQUIRE(fixture.has_met(publisher, 1));
  Heard heard;
  std::stop_source stop;
  std::atomic<int> ends = 0;
  const auto subscription = listener->subscribe("k", heard.on_event());
  publisher->async_publish_and_await("k", 1, {.timeout = 1h, .stop_token = stop.get_token()},
                                     [&](const syncbus::AwaitOutcome&) { ++ends; });
  CHECK(eventually([&] { return crank.waiting() == 1; }));

  ChildProcess child{[&] {
    static_cast<void>(stop.request_stop());
    crank.turn();
    return ends == 0 && heard.count() == 0 ? 0 : 1;
  }};
  CHECK(child.ends() == 0);

  CHECK(eventually([&] {
    crank.turn();
    return ends == 1;
  }));
  CHECK(heard.count() == 1);
}

CONTRACT_TEST_CASE("a child that returns from the handler in which it was forked ends there, and hears and sends no more",
                   "[contract]", Everything) {
  const AnyNode node = fixture.node();
  const AnyNode peer = fixture.peer_of(node);
  REQUIRE(fixture.has_met(peer, fixture.has_peers() ? 1 : 0));
  const pid_t parent = ::getpid();
  SharedCount heard_in_child;
  std::atomic<pid_t> child = 0;
  std::atomic<int> status = 0, heard = 0;
  const auto forking = peer->subscribe("k", [&](const syncbus::Event&) {
    if (child != 0) return;
    child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::signal(SIGABRT, SIG_DFL);  // Catch2 would tell of it
      ::close(STDERR_FILENO);      // where the sentence goes
      ::alarm(20);                 // it may be in the middle of the parent's locks
      static_cast<void>(peer->publish("put off"));
      return;
    }
    int word = 0;
    ::waitpid(child, &word, 0);
    status = word;
  });
  const auto behind = peer->subscribe_all(
      [&](const syncbus::Event&) { ++(::getpid() == parent ? heard : *heard_in_child); },
      [](const syncbus::Resync&) {});
  CHECK_FALSE(node->publish("k"));
  CHECK(eventually([&] { return heard == 1; }));
  CHECK_FALSE(node->publish("k"));
  CHECK(eventually([&] { return heard == 2; }));
  CHECK(WIFSIGNALED(status.load()));
  CHECK(WTERMSIG(status.load()) == SIGABRT);
  CHECK(*heard_in_child == 0);
  CHECK(peer->is_healthy());
  CHECK(peer->metrics().duplicates == 0);
}

CONTRACT_TEST_CASE("a stop that a forked child requests ends no await of its parent, though a handler there holds it open",
                   "[contract]", Everything) {
  const AnyNode node = fixture.node();
  std::stop_source stop;
  std::binary_semaphore awaits{0}, go_on{0};
  std::atomic<int> ends = 0;
  const auto heard = node->subscribe("k", ignore);
  const auto asking = node->subscribe("ask", [&](const syncbus::Event&) {
    node->async_publish_and_await("k", 1, {.timeout = 1h, .stop_token = stop.get_token()},
                                  [&](const syncbus::AwaitOutcome&) { ++ends; });
    awaits.release();
    go_on.acquire();
  });
  {
    const std::jthread publisher{[&] { static_cast<void>(node->publish("ask", {.scope = syncbus::Scope::local})); }};
    awaits.acquire();
    ChildProcess child{[&] {
      static_cast<void>(stop.request_stop());
      return ends == 0 ? 0 : 1;
    }};
    CHECK(child.ends() == 0);
    go_on.release();
  }
  CHECK(eventually([&] { return ends == 1; }));
}
