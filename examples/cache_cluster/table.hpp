// The live table: one line a second of what the whole cluster did in it, and the totals.
#pragma once

#include <array>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
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
  std::array<std::uint64_t, syncbus::resync_cause_count> resyncs{};

  Totals() = default;
  explicit Totals(const Board& board)
      : reads{board.sum(&NodeRecord::reads)},
        hits{board.sum(&NodeRecord::hits)},
        events_out{board.sum(&NodeRecord::events_out)},
        events_in{board.sum(&NodeRecord::events_in)} {
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
    for (std::size_t cause = 0; cause != resyncs.size(); ++cause) difference.resyncs[cause] -= before.resyncs[cause];
    return difference;
  }

  [[nodiscard]] double hit_percent() const noexcept {
    return reads == 0 ? 0 : 100 * static_cast<double>(hits) / static_cast<double>(reads);
  }

  /// "interrupted 4, overflow 1", or "none".
  [[nodiscard]] std::string resyncs_by_cause() const {
    std::string text;
    for (std::size_t cause = 0; cause != resyncs.size(); ++cause) {
      if (resyncs[cause] == 0) continue;
      if (!text.empty()) text += ", ";
      text += std::string{to_string(static_cast<syncbus::ResyncCause>(cause))} + ' ' + grouped(resyncs[cause]);
    }
    return text.empty() ? "none" : text;
  }
};

class Table {
 public:
  explicit Table(const Board& board) : board_{board} {
    std::printf("\n%7s %11s %12s %7s %13s %13s   %s\n", "second", "connected", "reads", "hit %", "invals out",
                "invals in", "resyncs");
  }

  void line(std::size_t second) {
    const Totals now{board_};
    const Totals change = now.since(before_);
    before_ = now;
    std::size_t connected = 0;
    for (const NodeRecord& node : board_.records) connected += node.connected ? 1U : 0U;
    const std::string nodes = std::to_string(connected) + " of " + std::to_string(board_.records.size());
    std::printf("%7zu %11s %12s %7.1f %13s %13s   %s\n", second, nodes.c_str(), grouped(change.reads).c_str(),
                change.hit_percent(), grouped(change.events_out).c_str(), grouped(change.events_in).c_str(),
                change.resyncs_by_cause().c_str());
    std::fflush(stdout);
  }

  static void remark(std::string_view sentence) {
    std::printf("        -- %.*s\n", static_cast<int>(sentence.size()), sentence.data());
    std::fflush(stdout);
  }

 private:
  const Board& board_;
  Totals before_;
};

inline void print_totals(const Board& board) {
  const Totals totals{board};
  std::printf("\ntotals: %s reads, %.1f %% hits; invalidations %s out, %s in, %s joined; resyncs: %s\n",
              grouped(totals.reads).c_str(), totals.hit_percent(), grouped(totals.events_out).c_str(),
              grouped(totals.events_in).c_str(), grouped(board.sum(&NodeRecord::joined)).c_str(),
              totals.resyncs_by_cause().c_str());
}

/// Whether the audit found enough to say something, and nothing stale.
[[nodiscard]] inline bool print_verdict(const Board& board) {
  const auto entries = board.sum(&NodeRecord::entries);
  const auto stale = board.sum(&NodeRecord::stale);
  std::printf("stale entries: %s of %s\n", grouped(stale).c_str(), grouped(entries).c_str());
  if (entries == 0) std::fprintf(stderr, "cache_cluster: the caches were empty, so the audit says nothing\n");
  return entries != 0 && stale == 0;
}

}  // namespace cache_cluster
