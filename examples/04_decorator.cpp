// A decorator: a bus around a bus that notes what goes through it, here how long each publish took and what became of
// it. How to try it: run it; it shows the lines, and exits with 1 if a verb went past the decorator.
#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/bus.hpp>
#include <syncbus/in_memory_bus.hpp>

namespace {

int lines = 0;

/// Around any bus, which outlives it. It is a bus itself: whatever takes one takes it.
template <syncbus::Bus B>
class TracedBus : public syncbus::BusFacade<TracedBus<B>> {
 public:
  explicit TracedBus(B& next) : next_{next} {}

  // The primitives: every verb is made of one of them.
  std::error_code submit(const syncbus::Submission& what) noexcept {
    return traced(what, [&] { return next_.submit(what); });
  }
  syncbus::AwaitOutcome await(const syncbus::Submission& what, syncbus::Quorum quorum,
                              const syncbus::AwaitOptions& options) {
    syncbus::AwaitOutcome outcome;
    static_cast<void>(traced(what, [&] { return (outcome = next_.await(what, quorum, options)).error; }));
    return outcome;
  }
  void async_await(const syncbus::Submission& what, syncbus::Quorum quorum, const syncbus::AwaitOptions& options,
                   syncbus::Completion completion) {
    next_.async_await(what, quorum, options, std::move(completion));  // a completion can be wrapped: it is a callable
  }
  syncbus::Subscription attach(const syncbus::Interest& interest, syncbus::Subscriber subscriber) {
    return next_.attach(interest, std::move(subscriber));
  }

  // What a bus says about itself.
  std::error_code flush(syncbus::Duration timeout) { return next_.flush(timeout); }
  std::error_code close(syncbus::Duration timeout) { return next_.close(timeout); }
  syncbus::Metrics metrics() const { return next_.metrics(); }
  bool is_healthy() const noexcept { return next_.is_healthy(); }
  syncbus::Duration staleness() const { return next_.staleness(); }
  std::vector<syncbus::Peer> peers() const { return next_.peers(); }
  syncbus::NodeId id() const noexcept { return next_.id(); }

 private:
  template <class Call>
  static std::error_code traced(const syncbus::Submission& what, const Call& call) noexcept {
    const auto begin = std::chrono::steady_clock::now();
    const std::error_code error = call();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    std::printf("%zu keys, %s: %.1f us, error %d\n", what.keys.size(), to_string(what.type).data(), took.count(),
                error.value());
    ++lines;
    return error;
  }

  B& next_;
};

static_assert(syncbus::Bus<TracedBus<syncbus::InMemoryBus>>);

/// A service knows no decorator.
template <syncbus::Bus B>
int serve(B& bus) {
  int heard = 0;
  const auto subscription = bus.subscribe_prefix(
      "user:", [&](const syncbus::Event&) { ++heard; }, [&](const syncbus::Resync&) { heard += 10; });
  auto mailbox = bus.subscribe("user:2");
  const std::vector<std::string> several{"user:2", "user:3"};
  const bool published = !bus.publish("user:1") && !bus.publish(several) && !bus.publish_all() &&
                         !bus.publish_and_await("user:4", 1).error && !bus.revoke_lease("user:1");
  const auto waiting = mailbox.try_receive();
  return published && waiting && waiting->key == "user:2" ? heard : -1;
}

}  // namespace

int main() {
  syncbus::InMemoryBus bus;
  TracedBus traced{bus};
  const int heard = serve(traced);
  std::printf("the subscriber heard %d, the decorator %d calls\n", heard, lines);
  return heard == 4 + 10 && lines == 5 ? 0 : 1;
}
