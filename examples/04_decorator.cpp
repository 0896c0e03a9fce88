// A decorator: a bus around a bus that notes what goes through it, here how long each publish took and what became of
// it. How to try it: run it; it shows the lines, and exits with 1 if a verb went past the decorator.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/bus.hpp>
#include <syncbus/in_memory_bus.hpp>

namespace {

std::atomic<int> lines = 0;  // any thread may call a bus

// [readme: decorator]
/// Around any bus, which outlives it. It is a bus itself, for every function that takes one.
template <syncbus::Bus B>
class TracedBus : public syncbus::BusFacade<TracedBus<B>> {
 public:
  explicit TracedBus(B& next) : next_{next} {}

  // The primitives: every verb is made of one of them.
  std::error_code submit(const syncbus::Submission& what) noexcept {
    const Trace trace{what};
    return trace.end(next_.submit(what));
  }
  syncbus::AwaitOutcome await(const syncbus::Submission& what, syncbus::Quorum quorum,
                              const syncbus::AwaitOptions& options) {
    const Trace trace{what};
    auto outcome = next_.await(what, quorum, options);
    trace.end(outcome.error);
    return outcome;
  }
  void async_await(const syncbus::Submission& what, syncbus::Quorum quorum, const syncbus::AwaitOptions& options,
                   syncbus::Completion completion) {
    auto traced = [trace = Trace{what}, completion = std::move(completion)](syncbus::AwaitOutcome outcome) mutable {
      trace.end(outcome.error);
      completion(std::move(outcome));
    };
    next_.async_await(what, quorum, options, syncbus::Completion{std::move(traced)});
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
  // [end]

 private:
  class Trace {
   public:
    explicit Trace(const syncbus::Submission& what) noexcept : keys_{what.keys.size()}, type_{what.type} {}

    std::error_code end(std::error_code error) const noexcept {
      const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin_;
      std::printf("%zu keys, %s: %.1f us, error %d\n", keys_, to_string(type_).data(), took.count(), error.value());
      ++lines;
      return error;
    }

   private:
    std::size_t keys_;
    syncbus::EventType type_;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  };

  // [readme: decorator]
  B& next_;
};

static_assert(syncbus::Bus<TracedBus<syncbus::InMemoryBus>>);
// [end]

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
  bus.async_publish_and_await("user:5", 1, {}, [&](const syncbus::AwaitOutcome& outcome) { heard += outcome.error ? 0 : 100; });
  const auto waiting = mailbox.try_receive();
  return published && waiting && waiting->key == "user:2" ? heard : -1;
}

}  // namespace

int main() {
  syncbus::InMemoryBus bus;
  TracedBus traced{bus};
  const int heard = serve(traced);
  std::printf("the subscriber heard %d, the decorator %d calls\n", heard, lines.load());
  return heard == 5 + 10 + 100 && lines == 6 ? 0 : 1;
}
