// FillGuard: every interleaving of a load and an invalidation, without it and with it, and many threads at once.
#include <syncbus/fill_guard.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"

using syncbus::FillGuard;

namespace {

static_assert(noexcept(std::declval<FillGuard&>().invalidated("")));
static_assert(noexcept(std::declval<FillGuard&>().invalidated_all()));
static_assert(noexcept(std::declval<const FillGuard&>().may_store(std::declval<const FillGuard&>().begin(""))));

enum class Step : std::uint8_t { begin, read, check, store, write, invalidate, invalidate_all, erase, lock, unlock };
using Program = std::vector<Step>;

/// One cached key, its truth, the lock of the cache, and what one run of some programs made of them.
class World {
 public:
  explicit World(std::size_t programs) : loads_(programs), position_(programs) {}

  [[nodiscard]] bool can_step(const std::vector<Program>& programs, std::size_t who) const {
    if (position_[who] == programs[who].size()) return false;
    return programs[who][position_[who]] != Step::lock || !locked_;
  }

  void step(const std::vector<Program>& programs, std::size_t who) {
    Load& load = loads_[who];
    switch (programs[who][position_[who]++]) {
      case Step::begin: load.ticket = guard_->begin("key"); break;
      case Step::read: load.value = truth_; break;
      case Step::check: load.may_store = guard_->may_store(load.ticket); break;
      case Step::store:
        if (load.may_store) cached_ = load.value;
        break;
      case Step::write: ++truth_; break;
      case Step::invalidate: guard_->invalidated("key"); break;
      case Step::invalidate_all: guard_->invalidated_all(); break;
      case Step::erase: cached_ = nothing; break;
      case Step::lock: locked_ = true; break;
      case Step::unlock: locked_ = false; break;
    }
  }

  [[nodiscard]] bool stale() const { return cached_ != nothing && cached_ != truth_; }
  [[nodiscard]] bool filled() const { return cached_ == truth_; }

 private:
  static constexpr int nothing = -1;

  struct Load {
    FillGuard::Ticket ticket;
    int value = 0;
    bool may_store = true;
  };

  std::unique_ptr<FillGuard> guard_ = std::make_unique<FillGuard>();
  std::vector<Load> loads_;
  std::vector<std::size_t> position_;
  int truth_ = 0;
  int cached_ = nothing;
  bool locked_ = false;
};

struct Outcomes {
  std::size_t all = 0;
  std::size_t stale = 0;
  std::size_t filled = 0;
};

/// Runs the programs in every order that their lock permits. Each order is run from the start: a guard is not copied.
Outcomes run_all(const std::vector<Program>& programs) {
  Outcomes outcomes;
  std::vector<std::size_t> schedule;
  const std::function<void()> extend = [&] {
    World world{programs.size()};
    for (const std::size_t who : schedule) world.step(programs, who);
    bool ended = true;
    for (std::size_t who = 0; who != programs.size(); ++who) {
      if (!world.can_step(programs, who)) continue;
      ended = false;
      schedule.push_back(who);
      extend();
      schedule.pop_back();
    }
    if (!ended) return;
    ++outcomes.all;
    outcomes.stale += world.stale() ? 1 : 0;
    outcomes.filled += world.filled() ? 1 : 0;
  };
  extend();
  return outcomes;
}

const Program unguarded_load{Step::read, Step::lock, Step::store, Step::unlock};
const Program load{Step::begin, Step::read, Step::lock, Step::check, Step::store, Step::unlock};
const Program unguarded_change{Step::write, Step::lock, Step::erase, Step::unlock};
const Program change{Step::write, Step::invalidate, Step::lock, Step::erase, Step::unlock};

}  // namespace

TEST_CASE("without the guard a load in flight resurrects a stale value") {
  const Outcomes outcomes = run_all({unguarded_load, unguarded_change});
  CHECK(outcomes.stale != 0);
  CHECK(outcomes.stale != outcomes.all);
}

TEST_CASE("with the guard no interleaving leaves a stale value, and loads still fill the cache") {
  const Program change_inside{Step::write, Step::lock, Step::invalidate, Step::erase, Step::unlock};
  const Program change_inside_last{Step::write, Step::lock, Step::erase, Step::invalidate, Step::unlock};
  const Program change_of_all{Step::write, Step::invalidate_all, Step::lock, Step::erase, Step::unlock};
  for (const Program& writer : {change, change_inside, change_inside_last, change_of_all}) {
    const Outcomes one = run_all({load, writer});
    CHECK(one.all > 20);
    CHECK(one.stale == 0);
    CHECK(one.filled != 0);
  }
}

TEST_CASE("two loads at once, or two changes at once, leave no stale value either") {
  const Outcomes two_loads = run_all({load, load, change});
  CHECK(two_loads.stale == 0);
  CHECK(two_loads.filled != 0);
  const Outcomes two_changes = run_all({load, change, change});
  CHECK(two_changes.stale == 0);
  CHECK(two_changes.filled != 0);
}

TEST_CASE("each rule is needed: broken, some interleaving leaves a stale value") {
  const Program invalidated_after_the_erase{Step::write, Step::lock, Step::erase, Step::unlock, Step::invalidate};
  CHECK(run_all({load, invalidated_after_the_erase}).stale != 0);
  const Program begun_after_the_read{Step::read, Step::begin, Step::lock, Step::check, Step::store, Step::unlock};
  CHECK(run_all({begun_after_the_read, change}).stale != 0);
  const Program checked_before_the_lock{Step::begin, Step::read, Step::check, Step::lock, Step::store, Step::unlock};
  CHECK(run_all({checked_before_the_lock, change}).stale != 0);
  CHECK(run_all({load, unguarded_change}).stale != 0);
}

TEST_CASE("a ticket permits until its key or everything is invalidated, and never again") {
  FillGuard guard;
  const auto ticket = guard.begin("key");
  const auto copy = ticket;
  CHECK(guard.may_store(ticket));
  CHECK(guard.may_store(copy));
  SECTION("the key") { guard.invalidated("key"); }
  SECTION("everything") { guard.invalidated_all(); }
  CHECK_FALSE(guard.may_store(ticket));
  CHECK_FALSE(guard.may_store(copy));
  CHECK(guard.may_store(guard.begin("key")));
}

TEST_CASE("a ticket that no begin returned permits nothing") {
  CHECK_FALSE(FillGuard{}.may_store(FillGuard::Ticket{}));
}

TEST_CASE("other keys are refused only when they share a stripe") {
  FillGuard guard;
  std::vector<FillGuard::Ticket> tickets;
  for (int i = 0; i != 10'000; ++i) tickets.push_back(guard.begin(std::to_string(i)));
  guard.invalidated("key");
  int refused = 0;
  for (const auto& ticket : tickets) refused += guard.may_store(ticket) ? 0 : 1;
  CHECK(refused < 40);

  syncbus::BasicFillGuard<1> single;
  const auto ticket = single.begin("other key");
  single.invalidated("key");
  CHECK_FALSE(single.may_store(ticket));
}

TEST_CASE("under many threads no value outlives its invalidation") {
  constexpr std::uint64_t rounds = 20'000;
  FillGuard guard;
  std::atomic<std::uint64_t> truth{0};
  std::mutex mutex;
  std::optional<std::uint64_t> cached;
  std::atomic<bool> done{false};

  std::array<std::thread, 2> loaders;
  for (std::thread& loader : loaders) {
    loader = std::thread{[&] {
      bool last = false;
      while (!last) {
        last = done.load(std::memory_order_acquire);
        const auto ticket = guard.begin("key");
        const std::uint64_t value = truth.load(std::memory_order_relaxed);
        std::this_thread::yield();
        const std::scoped_lock lock{mutex};
        if (guard.may_store(ticket)) cached = value;
      }
    }};
  }
  std::uint64_t stale = 0;
  for (std::uint64_t version = 1; version <= rounds; ++version) {
    truth.store(version, std::memory_order_relaxed);
    guard.invalidated("key");
    {
      const std::scoped_lock lock{mutex};
      cached.reset();
    }
    std::this_thread::yield();
    const std::scoped_lock lock{mutex};
    stale += cached && *cached != version ? 1 : 0;
  }
  done.store(true, std::memory_order_release);
  for (std::thread& loader : loaders) loader.join();
  CHECK(stale == 0);
  CHECK(cached == rounds);
}
