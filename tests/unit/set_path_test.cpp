// Every order in which the steps of the Set path (examples/user_cache.hpp) can happen on two nodes: none leaves a copy
// that is stale when all is quiet.
#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/fill_guard.hpp>

#include "support/catch.hpp"

using namespace syncbus;

namespace {

enum class Operation : std::uint8_t { load, set, remove };

/// How versions are given.
enum class Versions : std::uint8_t {
  growing,         ///< each change takes the next
  none,            ///< events carry 0
  equal,           ///< timestamps, and all is done within a tick
  remove_repeats,  ///< a remove carries the version of the row that it removes
  from_one_again,  ///< a row that is made again begins with 1
};

/// A row; `change` tells its states apart.
struct Row {
  int change = 0;
  std::uint64_t version = 1;
  bool exists = true;

  friend auto operator<=>(const Row&, const Row&) = default;
};

struct Program {
  std::array<std::vector<Operation>, 2> operations;  ///< of each node, side by side
  std::array<bool, 2> cached;                        ///< whether the node has the row when they begin
};

/// One operation under way: how far it is, and what it knows.
struct Thread {
  std::size_t node = 0;
  Operation operation{};
  int step = 0;
  int ticket = 0;  ///< invalidations before the ticket was drawn
  bool undisturbed = false;
  Row row{};

  friend auto operator<=>(const Thread&, const Thread&) = default;
};

struct Node {
  std::optional<Row> cached{};
  int invalidations = 0;
  bool locked = false;
  std::vector<std::uint64_t> arriving{};  ///< versions of the events that are still to be handled
  bool handling = false;                  ///< the first of them has told the guard

  friend auto operator<=>(const Node&, const Node&) = default;
};

struct State {
  Row truth{};
  std::array<Node, 2> nodes{};
  std::vector<Thread> threads{};

  friend auto operator<=>(const State&, const State&) = default;
};

/// What a guard says of a ticket that was drawn after so many invalidations, of all that there were.
bool may_store(int before, int all) {
  BasicFillGuard<1> guard;
  for (int i = 0; i != before; ++i) guard.invalidated("k");
  const auto ticket = guard.begin("k");
  for (int i = before; i != all; ++i) guard.invalidated("k");
  return guard.may_store(ticket);
}

class Explorer {
 public:
  explicit Explorer(Versions versions, bool guarded = true) : versions_{versions}, guarded_{guarded} {}

  /// Whether some order of the program's steps leaves a stale copy.
  [[nodiscard]] bool can_be_stale(const Program& program) {
    State state;
    for (std::size_t node = 0; node != 2; ++node) {
      if (program.cached[node]) state.nodes[node].cached = state.truth;
      for (const Operation operation : program.operations[node]) {
        state.threads.push_back({.node = node, .operation = operation});
      }
    }
    seen_.clear();
    stale_ = false;
    explore(state);
    states_ += seen_.size();
    return stale_;
  }

  /// Explored so far.
  [[nodiscard]] std::size_t states() const noexcept { return states_; }

 private:
  static constexpr int done = 100;

  void explore(const State& state) {
    if (stale_ || !seen_.insert(state).second) return;
    bool quiet = true;
    const auto follow = [&](auto step) {
      State next = state;
      if (!step(next)) return;
      quiet = false;
      explore(next);
    };
    for (std::size_t i = 0; i != state.threads.size(); ++i) {
      follow([&](State& next) { return advance(next, next.threads[i]); });
    }
    for (std::size_t node = 0; node != 2; ++node) {
      follow([&](State& next) { return handle(next.nodes[node]); });
    }
    if (!quiet) return;
    for (const Node& node : state.nodes) stale_ |= node.cached && node.cached->change != state.truth.change;
  }

  /// The next step of an operation. False: it has none now.
  bool advance(State& state, Thread& thread) const {
    if (thread.step == done) return false;
    Node& node = state.nodes[thread.node];
    return thread.operation == Operation::load ? load(state, node, thread) : change(state, node, thread);
  }

  /// UserCache::get.
  bool load(const State& state, Node& node, Thread& thread) const {
    switch (thread.step++) {
      case 0:
        if (node.cached) thread.step = done;
        return !node.locked;
      case 1: thread.ticket = node.invalidations; return true;
      case 2: thread.row = state.truth; return true;
      default:
        thread.step = done;
        if (permitted(node, thread)) node.cached = thread.row;
        return !node.locked;
    }
  }

  /// UserCache::set and remove. From the third step on the lock is held.
  bool change(State& state, Node& node, Thread& thread) const {
    switch (thread.step++) {
      case 0: thread.ticket = node.invalidations; return true;
      case 1: write(state.truth, thread); return true;
      case 2:
        thread.undisturbed = permitted(node, thread);
        return !std::exchange(node.locked, true);
      case 3: ++node.invalidations; return true;
      case 4:
        node.cached = thread.undisturbed ? std::optional{thread.row} : std::nullopt;
        node.locked = false;
        return true;
      default:
        thread.step = done;
        state.nodes[1 - thread.node].arriving.push_back(versions_ == Versions::none ? 0 : thread.row.version);
        return true;
    }
  }

  void write(Row& truth, Thread& thread) const {
    const bool removes = thread.operation == Operation::remove;
    const bool made_again = !truth.exists && !removes;
    ++truth.change;
    truth.exists = !removes;
    if (versions_ == Versions::from_one_again && made_again) {
      truth.version = 1;
    } else if (versions_ != Versions::equal && !(versions_ == Versions::remove_repeats && removes)) {
      ++truth.version;
    }
    thread.row = truth;
  }

  /// UserCache::drop.
  static bool handle(Node& node) {
    if (node.arriving.empty()) return false;
    if (!std::exchange(node.handling, true)) return ++node.invalidations, true;
    if (node.locked) return false;
    const Event event{.version = node.arriving.front()};
    if (node.cached && event.supersedes(node.cached->version)) node.cached.reset();
    node.arriving.erase(node.arriving.begin());
    node.handling = false;
    return true;
  }

  [[nodiscard]] bool permitted(const Node& node, const Thread& thread) const {
    return !guarded_ || may_store(thread.ticket, node.invalidations);
  }

  const Versions versions_;
  const bool guarded_;
  std::set<State> seen_;
  std::size_t states_ = 0;
  bool stale_ = false;
};

/// What one node does: some operations side by side, so in no order.
std::vector<std::vector<Operation>> sides(std::size_t most) {
  std::vector<std::vector<Operation>> all;
  for (std::size_t loads = 0; loads <= most; ++loads) {
    for (std::size_t sets = 0; loads + sets <= most; ++sets) {
      for (std::size_t removes = 0; loads + sets + removes <= most; ++removes) {
        std::vector<Operation> side(loads, Operation::load);
        side.insert(side.end(), sets, Operation::set);
        side.insert(side.end(), removes, Operation::remove);
        all.push_back(std::move(side));
      }
    }
  }
  return all;
}

/// Up to three operations on two nodes, each of which has the row at the beginning or not. The nodes are alike, so of
/// two programs that differ by which node is which there is one.
std::vector<Program> programs() {
  constexpr std::size_t most = 3;
  std::vector<Program> programs;
  for (const auto& a : sides(most)) {
    for (const auto& b : sides(most)) {
      if (a.size() + b.size() > most) continue;
      for (const bool cached_a : {false, true}) {
        for (const bool cached_b : {false, true}) {
          if (std::tie(a, cached_a) <= std::tie(b, cached_b)) programs.push_back({{a, b}, {cached_a, cached_b}});
        }
      }
    }
  }
  return programs;
}

/// Whether some order of the steps of some program leaves a stale copy.
bool any_is_stale(Explorer& explorer) {
  const auto all = programs();
  return std::any_of(all.begin(), all.end(), [&](const Program& program) { return explorer.can_be_stale(program); });
}

}  // namespace

TEST_CASE("no order of the steps of the Set path leaves a stale copy, with versions that grow, or without any") {
  for (const Versions versions : {Versions::growing, Versions::none}) {
    Explorer explorer{versions};
    CHECK_FALSE(any_is_stale(explorer));
    CHECK(explorer.states() > 100'000);
  }
}

TEST_CASE("equal versions, a remove that repeats one, and a row that begins anew leave stale copies") {
  for (const Versions versions : {Versions::equal, Versions::remove_repeats, Versions::from_one_again}) {
    Explorer explorer{versions};
    CHECK(any_is_stale(explorer));
  }
}

TEST_CASE("without the guard loads in flight leave stale copies, whatever the versions") {
  for (const Versions versions : {Versions::growing, Versions::none}) {
    Explorer explorer{versions, false};
    CHECK(any_is_stale(explorer));
  }
}
