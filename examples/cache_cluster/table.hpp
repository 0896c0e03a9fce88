// The live table: one line a second of what the whole cluster did in it, and the totals.
#pragma once

#include <array>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <string>
#include <string_view>

#include <syncbus/event.hpp>

#include "board.hpp"

namespace cache_cluster {

/// 1234567 as 1,234,567.
inline std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t end = text.size(); end > 3; end -= 3) text.insert(end - 3, 1, ',');
  return text;
}

/// The sums of all nodes' counters, since the beginning.
struct Totals {
  std::uint64_t reads = 0;
  std::uint64_t hits = 0;
  std::uint64_t events_out = 0;
  std::uint64_t events_in = 0;
  std::uint64_t gaps = 0;
  std::uint64_t repaired = 0;
  std::uint64_t quorums_satisfied = 0;
  std::uint64_t quorums_failed = 0;
  std::array<std::uint64_t, syncbus::resync_cause_count> resyncs{};

  Totals() = default;
  explicit Totals(const Board& board)
      : reads{board.sum(&NodeRecord::reads)},
        hits{board.sum(&NodeRecord::hits)},
        events_out{board.sum(&NodeRecord::events_out)},
        events_in{board.sum(&NodeRecord::events_in)},
        gaps{board.sum(&NodeRecord::gaps)},
        repaired{board.sum(&NodeRecord::repaired)},
        quorums_satisfied{board.sum(&NodeRecord::quorums_satisfied)},
        quorums_failed{board.sum(&NodeRecord::quorums_failed)} {
    for (const NodeRecord& node : board.records) {
      for (std::size_t cause = 0; cause != resyncs.size(); ++cause) resyncs[cause] += node.resyncs[cause].load();
    }
  }

  [[nodiscard]] Totals since(const Totals& before) const {
    Totals difference = *this;
    difference.reads -= before.reads;
    difference.hits -= before.hits;
    difference.events_out -= before.events_out;
    difference.events_in -= before.events_in;
    difference.gaps -= before.gaps;
    difference.repaired -= before.repaired;
    difference.quorums_satisfied -= before.quorums_satisfied;
    difference.quorums_failed -= before.quorums_failed;
    for (std::size_t cause = 0; cause != resyncs.size(); ++cause) difference.resyncs[cause] -= before.resyncs[cause];
    return difference;
  }

  [[nodiscard]] double hit_percent() const noexcept {
    return reads == 0 ? 0 : 100 * static_cast<double>(hits) / static_cast<double>(reads);
  }

  [[nodiscard]] std::uint64_t all_resyncs() const noexcept {
    return std::accumulate(resyncs.begin(), resyncs.end(), std::uint64_t{0});
  }

  /// "interrupted 4, overflow 1", or "-".
  [[nodiscard]] std::string resyncs_by_cause() const {
    std::string text;
    for (std::size_t cause = 0; cause != resyncs.size(); ++cause) {
      if (resyncs[cause] == 0) continue;
      if (!text.empty()) text += ", ";
      text += std::string{to_string(static_cast<syncbus::ResyncCause>(cause))} + ' ' + grouped(resyncs[cause]);
    }
    return text.empty() ? "-" : text;
  }
};

class Table {
 public:
  explicit Table(Board& board) : board_{board} {
    std::printf("\n%29s%17s%7s%17s%14s\n", "", "invalidations", "stale", "frames", "quorums");
    std::printf("%6s%6s%11s%6s%8s%9s%7s%8s%9s%7s%7s  %s\n", "second", "nodes", "reads", "hit %", "out", "in", "ms",
                "gaps", "repaired", "ok", "failed", "resyncs");
  }

  void line(std::size_t second) {
    const Totals now{board_};
    const Totals change = now.since(before_);
    before_ = now;
    std::size_t connected = 0;
    for (const NodeRecord& node : board_.records) connected += node.connected ? 1U : 0U;
    const std::string nodes = std::to_string(connected) + '/' + std::to_string(board_.records.size());
    std::printf("%6zu%6s%11s%6.1f%8s%9s%7s%8s%9s%7s%7s  %s\n", second, nodes.c_str(),
                grouped(change.reads).c_str(), change.hit_percent(), grouped(change.events_out).c_str(),
                grouped(change.events_in).c_str(), grouped(board_.take_worst_staleness_ms()).c_str(),
                grouped(change.gaps).c_str(), grouped(change.repaired).c_str(),
                grouped(change.quorums_satisfied).c_str(), grouped(change.quorums_failed).c_str(),
                change.resyncs_by_cause().c_str());
    std::fflush(stdout);
  }

  static void remark(std::string_view sentence) {
    std::printf("      -- %.*s\n", static_cast<int>(sentence.size()), sentence.data());
    std::fflush(stdout);
  }

 private:
  Board& board_;
  Totals before_;
};

inline void print_totals(const Board& board) {
  const Totals totals{board};
  std::printf("\ntotals: %s reads, %.1f %% hits; invalidations %s out, %s in, %s joined\n",
              grouped(totals.reads).c_str(), totals.hit_percent(), grouped(totals.events_out).c_str(),
              grouped(totals.events_in).c_str(), grouped(board.sum(&NodeRecord::joined)).c_str());
  std::printf("frames: %s found missing, %s repaired; quorums: %s satisfied, %s not satisfied\n",
              grouped(totals.gaps).c_str(), grouped(totals.repaired).c_str(),
              grouped(totals.quorums_satisfied).c_str(), grouped(totals.quorums_failed).c_str());
  const auto resyncs = totals.all_resyncs();
  std::printf("resyncs: %s%s\n", grouped(resyncs).c_str(),
              resyncs == 0 ? "" : (" (" + totals.resyncs_by_cause() + ')').c_str());
}

/// What a run must show besides caches without a stale entry.
struct Expected {
  bool no_resync = false;  ///< nothing goes wrong in it
  bool repairs = false;    ///< frames are lost in it
  bool quorums = false;    ///< some of its writes wait for one
};

/// Whether the audit found enough to say something, and nothing stale, and all that was expected was seen.
[[nodiscard]] inline bool print_verdict(const Board& board, const Expected& expected) {
  const auto entries = board.sum(&NodeRecord::entries);
  const auto stale = board.sum(&NodeRecord::stale);
  std::printf("stale entries: %s of %s\n", grouped(stale).c_str(), grouped(entries).c_str());
  bool well = stale == 0;
  const auto expect = [&well](bool true_that, const char* sentence) {
    if (!true_that) std::fprintf(stderr, "cache_cluster: %s\n", sentence);
    well = well && true_that;
  };
  const Totals totals{board};
  expect(entries != 0, "the caches were empty, so the audit says nothing");
  expect(!expected.no_resync || totals.all_resyncs() == 0, "nothing went wrong, and yet there was a resync");
  expect(!expected.repairs || totals.repaired != 0, "frames were lost, and yet none was repaired");
  expect(!expected.quorums || totals.quorums_satisfied != 0, "no quorum was satisfied");
  return well;
}

}  // namespace cache_cluster
