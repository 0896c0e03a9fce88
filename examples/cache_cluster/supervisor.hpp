// The supervisor: takes the nodes from stage to stage, watches them, has things go wrong when it is time, and judges.
#pragma once

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "board.hpp"
#include "incident.hpp"
#include "node_host.hpp"
#include "table.hpp"

namespace cache_cluster {

/// Somebody asked the program to stop.
class Interrupted {};

class Supervisor {
 public:
  Supervisor(Board& board, NodeHost& host, Incidents incidents, const Expected& expected)
      : board_{board}, host_{host}, incidents_{std::move(incidents)}, expected_{expected} {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, [](int) { stop_requested = 1; });
  }

  /// The program's exit status. Throws what ended the run early; the nodes have been told to leave then.
  [[nodiscard]] int run(std::size_t seconds) {
    const Ending ending{board_};
    start_nodes();
    traffic(std::chrono::seconds{seconds});
    settle();
    board_.enter(Stage::ended);
    if (const auto problem = host_.join()) throw std::runtime_error{*problem};
    print_totals(board_);
    return print_verdict(board_, expected_) ? EXIT_SUCCESS : EXIT_FAILURE;
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// However run() is left, the nodes leave too.
  struct Ending {
    Board& board;
    ~Ending() { board.enter(Stage::ended); }
  };

  /// The first one alone: what is wrong with the server or its URL is then said once.
  void start_nodes() {
    const std::size_t nodes = board_.records.size();
    for (std::size_t node = 0; node != nodes; ++node) {
      host_.start(node);
      if (node == 0) wait("the first node to subscribe", [&] { return board_.records[0].ready.load(); });
    }
    wait("the nodes to subscribe", [&] { return board_.all(&NodeRecord::ready); });
  }

  void traffic(Clock::duration length) {
    Table table{board_};
    const auto begin = Clock::now();
    board_.enter(Stage::traffic);
    auto next_line = begin + std::chrono::seconds{1};
    auto next_trend = begin;
    std::size_t second = 0;
    auto incident = incidents_.begin();
    while (Clock::now() < begin + length) {
      check();
      if (Clock::now() >= next_line) {
        table.line(++second);
        next_line += std::chrono::seconds{1};
      }
      if (incident != incidents_.end() && Clock::now() >= begin + part(length, incident->at)) happen(*incident++);
      if (Clock::now() >= next_trend) {
        board_.next_trend();
        next_trend += std::chrono::milliseconds{100};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    for (; incident != incidents_.end(); ++incident) happen(*incident);  // the last ones put right what went wrong
    table.line(++second);
  }

  static void happen(const Incident& incident) {
    incident.happen();
    Table::remark(incident.remark);
  }

  [[nodiscard]] static Clock::duration part(Clock::duration length, double fraction) noexcept {
    return std::chrono::duration_cast<Clock::duration>(length * fraction);
  }

  void settle() {
    const auto begin = Clock::now();
    board_.enter(Stage::settling);
    wait("the nodes to hear what was under way", [&] { return board_.all(&NodeRecord::audited); });
    const std::chrono::duration<double> took = Clock::now() - begin;
    char text[96];
    std::snprintf(text, sizeof(text), "the writes ended; every cache was audited %.3f s later", took.count());
    Table::remark(text);
  }

  template <class Done>
  void wait(const std::string& what, const Done& done) {
    const bool in_time = wait_until(Clock::now() + std::chrono::seconds{60}, [&] {
      check();
      return done();
    });
    if (!in_time) throw std::runtime_error{"a minute was not enough for " + what};
  }

  void check() {
    if (stop_requested != 0) throw Interrupted{};
    if (const auto problem = host_.problem()) throw std::runtime_error{*problem};
  }

  static inline volatile std::sig_atomic_t stop_requested = 0;

  Board& board_;
  NodeHost& host_;
  const Incidents incidents_;
  const Expected expected_;
};

}  // namespace cache_cluster
