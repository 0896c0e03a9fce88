// The sequence tracker against sets of what was seen and what is missing.
#include <syncbus/core/peers/sequence_tracker.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "support/catch.hpp"

using namespace syncbus::core;
using Ranges = std::vector<SequenceRange>;

namespace {

constexpr auto greatest = ~std::uint64_t{0};

Ranges missing(const SequenceTracker& tracker) { return {tracker.missing().begin(), tracker.missing().end()}; }

/// A tracker beside its model, which lists single sequences.
class Checked {
 public:
  explicit Checked(std::uint64_t baseline) : tracker_{baseline}, known_{baseline}, seen_{baseline} {}

  void observe(std::uint64_t sequence) {
    const auto told = tracker_.observe(sequence);
    const bool fresh = sequence > known_ || missing_.contains(sequence);
    require(told.fresh == fresh, "a frame is fresh when it was neither seen nor given up");
    require(told.missed == missing_.contains(sequence), "a frame was missed when it was known and not seen");
    require(told.late == (fresh && sequence < seen_), "a fresh frame is late when a later one was seen");
    expect_gap(told, sequence > known_ ? sequence - 1 : known_);
    missing_.erase(sequence);
    if (fresh) seen_ = (std::max)(seen_, sequence);
    known_ = (std::max)(known_, sequence);
    expect_bound(told);
    check();
  }

  void announce(std::uint64_t last) {
    const auto told = tracker_.announce(last);
    require(!told.fresh && !told.missed && !told.late, "an announcement is no frame");
    expect_gap(told, last);
    known_ = (std::max)(known_, last);
    expect_bound(told);
    check();
  }

  void abandon(std::uint64_t last) {
    const bool any = std::erase_if(missing_, [last](std::uint64_t sequence) { return sequence <= last; }) != 0;
    require(tracker_.abandon(last) == any, "abandoning tells whether anything was missing");
    check();
  }

  bool overflowed = false;

 private:
  static void require(bool condition, const char* what) {
    if (!condition) FAIL(what);
  }

  void expect_gap(const SequenceTracker::Observation& told, std::uint64_t last) {
    require(told.gap.has_value() == (last > known_), "a gap is told when it opens");
    if (told.gap) require(*told.gap == SequenceRange{known_ + 1, last}, "a gap is told exactly");
    for (std::uint64_t sequence = known_ + 1; sequence <= last; ++sequence) missing_.insert(sequence);
  }

  void expect_bound(const SequenceTracker::Observation& told) {
    const Ranges ranges = model();
    require(told.given_up.has_value() == (ranges.size() > SequenceTracker::max_ranges), "only an excess is given up");
    if (!told.given_up) return;
    overflowed = true;
    require(*told.given_up == ranges.front(), "the oldest range is given up");
    std::erase_if(missing_, [last = ranges.front().last](std::uint64_t sequence) { return sequence <= last; });
  }

  [[nodiscard]] Ranges model() const {
    Ranges ranges;
    for (const std::uint64_t sequence : missing_) {
      if (ranges.empty() || ranges.back().last + 1 != sequence) ranges.push_back({sequence, sequence});
      ranges.back().last = sequence;
    }
    return ranges;
  }

  void check() const {
    require(missing(tracker_) == model(), "what is missing is known exactly");
    require(tracker_.last_known() == known_, "the highest sequence is known");
  }

  SequenceTracker tracker_;
  std::uint64_t known_;
  std::uint64_t seen_;
  std::set<std::uint64_t> missing_{};
};

}  // namespace

TEST_CASE("frames in order are fresh and open no gap") {
  SequenceTracker tracker{0};
  for (std::uint64_t sequence = 1; sequence != 100; ++sequence) {
    const auto told = tracker.observe(sequence);
    CHECK((told.fresh && !told.late && !told.gap && !told.given_up));
  }
  CHECK(tracker.missing().empty());
  CHECK(tracker.last_known() == 99);
}

TEST_CASE("a frame seen before is a duplicate, and so is one up to the baseline") {
  SequenceTracker tracker{5};
  CHECK(tracker.observe(6).fresh);
  CHECK_FALSE(tracker.observe(6).fresh);
  CHECK_FALSE(tracker.observe(5).fresh);
  CHECK_FALSE(tracker.observe(0).fresh);
  CHECK(tracker.missing().empty());
}

TEST_CASE("a skipped sequence is a gap, and what fills it is fresh but late") {
  SequenceTracker tracker{0};
  CHECK(tracker.observe(5).gap == SequenceRange{1, 4});
  CHECK(missing(tracker) == Ranges{{1, 4}});
  const auto middle = tracker.observe(2);
  CHECK((middle.fresh && middle.late && !middle.gap));
  CHECK(missing(tracker) == Ranges{{1, 1}, {3, 4}});
  CHECK(tracker.observe(4).late);
  CHECK(tracker.observe(3).late);
  CHECK(tracker.observe(1).late);
  CHECK(tracker.missing().empty());
  CHECK_FALSE(tracker.observe(2).fresh);
}

TEST_CASE("an announcement opens a gap, but a frame that it overtook is not late") {
  SequenceTracker tracker{0};
  CHECK_FALSE(tracker.announce(0).gap);
  CHECK(tracker.announce(3).gap == SequenceRange{1, 3});
  CHECK_FALSE(tracker.announce(3).gap);
  CHECK(tracker.announce(4).gap == SequenceRange{4, 4});
  CHECK(missing(tracker) == Ranges{{1, 4}});
  const auto second = tracker.observe(2);
  CHECK((second.fresh && second.missed && !second.late));
  CHECK(tracker.observe(1).late);
  CHECK_FALSE(tracker.observe(3).late);
  CHECK(tracker.observe(6).gap == SequenceRange{5, 5});
  CHECK(tracker.observe(4).late);
}

TEST_CASE("what was abandoned counts as a duplicate when it comes after all") {
  SequenceTracker tracker{0};
  CHECK_FALSE(tracker.abandon());
  tracker.observe(4);
  tracker.observe(10);
  CHECK_FALSE(tracker.abandon(0));
  CHECK(tracker.abandon(6));
  CHECK(missing(tracker) == Ranges{{7, 9}});
  CHECK_FALSE(tracker.observe(2).fresh);
  CHECK_FALSE(tracker.observe(6).fresh);
  CHECK(tracker.observe(7).fresh);
  CHECK(tracker.abandon());
  CHECK(tracker.missing().empty());
  CHECK_FALSE(tracker.observe(8).fresh);
  CHECK(tracker.observe(11).fresh);
}

TEST_CASE("the missing ranges are bounded: the oldest is given up and told") {
  SequenceTracker tracker{0};
  std::uint64_t sequence = 0;
  for (std::size_t i = 0; i != SequenceTracker::max_ranges; ++i) CHECK_FALSE(tracker.observe(sequence += 3).given_up);
  const auto told = tracker.observe(sequence += 3);
  CHECK(told.gap == SequenceRange{sequence - 2, sequence - 1});
  CHECK(told.given_up == SequenceRange{1, 2});
  CHECK(tracker.missing().size() == SequenceTracker::max_ranges);
  CHECK_FALSE(tracker.observe(1).fresh);

  tracker.observe(sequence + 10);
  const auto split = tracker.observe(sequence + 5);
  CHECK((split.fresh && split.late));
  CHECK(split.given_up == SequenceRange{7, 8});
  CHECK(tracker.missing().size() == SequenceTracker::max_ranges);
}

TEST_CASE("the greatest sequences do no harm") {
  SequenceTracker tracker{greatest - 3};
  SECTION("at the end of the numbers") {
    CHECK(tracker.observe(greatest).gap == SequenceRange{greatest - 2, greatest - 1});
    CHECK_FALSE(tracker.observe(greatest).fresh);
    CHECK_FALSE(tracker.announce(greatest).gap);
    CHECK(tracker.observe(greatest - 1).late);
    CHECK(tracker.abandon(greatest));
    CHECK(tracker.missing().empty());
  }
  SECTION("announced") {
    CHECK(tracker.announce(greatest).gap == SequenceRange{greatest - 2, greatest});
    CHECK(tracker.abandon(greatest - 1));
    CHECK(missing(tracker) == Ranges{{greatest, greatest}});
    CHECK_FALSE(tracker.observe(greatest).late);
    CHECK(tracker.missing().empty());
  }
  SECTION("from the beginning of the numbers") {
    SequenceTracker young{0};
    CHECK(young.observe(greatest).gap == SequenceRange{1, greatest - 1});
    CHECK(young.observe(1).fresh);
    CHECK(young.observe(greatest - 1).fresh);
    CHECK(missing(young) == Ranges{{2, greatest - 2}});
  }
  SECTION("as a baseline") {
    SequenceTracker full{greatest};
    CHECK_FALSE(full.observe(greatest).fresh);
    CHECK_FALSE(full.announce(greatest).gap);
  }
}

TEST_CASE("every short series of sequences agrees with the model") {
  constexpr std::size_t most = 5;
  constexpr std::size_t operations = 3 * most;
  constexpr int length = 5;
  std::size_t series = 1;
  for (int i = 0; i != length; ++i) series *= operations;
  for (std::size_t number = 0; number != series; ++number) {
    Checked checked{0};
    for (std::size_t left = number, step = 0; step != length; ++step, left /= operations) {
      const std::uint64_t sequence = 1 + left % most;
      switch (left % operations / most) {
        case 0: checked.observe(sequence); break;
        case 1: checked.announce(sequence); break;
        default: checked.abandon(sequence); break;
      }
    }
  }
}

TEST_CASE("long random series of sequences agree with the model") {
  const auto seed = static_cast<std::uint64_t>(GENERATE(range(1, 9)));
  std::mt19937_64 random{seed};
  Checked checked{random() % 3};
  for (int step = 0; step != 2'000; ++step) {
    const std::uint64_t what = random() % 1'000;
    const std::uint64_t sequence = random() % (20 + static_cast<std::uint64_t>(step));
    if (what < 950) {
      checked.observe(sequence);
    } else if (what < 998) {
      checked.announce(sequence);
    } else {
      checked.abandon(sequence / 2);
    }
  }
  CHECK(checked.overflowed);
}
