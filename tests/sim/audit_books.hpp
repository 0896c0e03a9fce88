// The auditor's books: all records of one world, the rules for it, and the first thing that was wrong.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

#include "sim/audit_records.hpp"

namespace sim {

/// Knows the vocabulary that users know, and of the machine under test nothing.
class Books {
 public:
  /// What may be expected of a world.
  struct Rules {
    bool nothing_fails = false;
    bool lied = false;           ///< somebody tells lies, of which the books know nothing: resyncs, awaits may come of them
    bool lied_over = false;      ///< and frames are lost besides, also while a lie hides it
    bool strict_order = false;   ///< nothing is ever sent again, so nothing may come late
    bool heard_once = false;     ///< nobody asks for what was heard already
    bool remembered = false;     ///< whoever asks is answered from memory
    bool lossless = false;       ///< within a session
    std::size_t places = 0;      ///< nodes are told where they are, by turns; at one place nothing is lost in a session
    bool one_order = true;       ///< all receivers get broadcasts in one order
    bool ample_history = false;
    bool some_end = false;       ///< nodes crash or leave
    bool some_move = false;      ///< to other servers, from where they may not be heard: only a resync tells of that
    std::size_t losses = 0;      ///< resyncs for what was lost that a node may raise, where there is one outage; 0: any
    std::size_t most_event_bytes = 256;  ///< no event takes more, wherever it waits
    Duration peer_timeout{};
    Duration heard_within{};     ///< when nothing happens any more
    Duration repair_timeout{};
    Duration way_back{};         ///< of an answer, from when handlers have returned
    Duration answer_time{};      ///< within it an answer is with whoever asked, if nothing is lost
    Duration await_time{};       ///< within it an await is satisfied that nothing hinders
    Duration patience{};         ///< nor has hindered for so long, whatever did before; 0: this is not looked at
    Duration waits{};            ///< a resync may, so long, for what others tell of the same incident
    Duration least_staleness{};  ///< nobody says more when nothing happens any more
    Duration joining_time{};     ///< within it a constructor returns if nothing fails
    Duration heartbeat{};        ///< between two of a node, if the control rate allows it
    std::size_t control_rate = 10'000;
    std::size_t most_nodes = 20;
    std::size_t max_peers = (std::numeric_limits<std::size_t>::max)();
    std::size_t answers_of_strangers = 0;  ///< that a node keeps, of nodes that it does not know
    Duration crowd_pause{};      ///< between two resyncs for peers that are left out
    std::size_t history_bytes = 0;
    std::size_t queue_bytes = 0;
    std::size_t pending_bytes = 0;

    /// Whether every node has room for all others, so that it knows how many there are, and who has said what.
    [[nodiscard]] bool room_for_all() const noexcept { return max_peers >= most_nodes; }
  };

  /// What is wrong, in a sentence; empty: nothing so far.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

  void fail(std::string sentence) {
    if (problem_.empty()) problem_ = std::move(sentence);
  }

 protected:
  [[nodiscard]] records::Pair& pair(NodeNumber from, NodeNumber to) noexcept {
    return pairs_[from * rules_.most_nodes + to];
  }
  [[nodiscard]] const records::Pair& pair(NodeNumber from, NodeNumber to) const noexcept {
    return pairs_[from * rules_.most_nodes + to];
  }

  /// Whether two are where neither loses anything of the other while its session lasts.
  [[nodiscard]] bool at_one_place(NodeNumber a, NodeNumber b) const noexcept {
    return records::at_one_place(rules_.places, a, b);
  }

  [[nodiscard]] std::string name(SubscriberNumber number) const {
    const records::Subscriber& subscriber = subscribers_[number];
    return std::to_string(number) + " (node " + std::to_string(subscriber.node) +
           (subscriber.key == every_key ? ", all keys)" : ", " + text_of(subscriber.key) + ")");
  }
  [[nodiscard]] std::string number_of(syncbus::NodeId id) const {
    const auto node = std::ranges::find(nodes_, id, &records::Node::id);
    return node == nodes_.end() ? "none" : std::to_string(node - nodes_.begin());
  }
  [[nodiscard]] static std::string microseconds(Duration duration) {
    return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(duration).count()) + " us";
  }
  [[nodiscard]] static std::string text_of(Key key) {
    return key < first_lease ? "key " + std::to_string(key) : "lease " + std::to_string(key - first_lease);
  }
  [[nodiscard]] static std::string text_of(const records::Event& event) {
    return "version " + std::to_string(event.version) + " of " + text_of(event.key) + " of " +
           (event.publisher == stranger ? "nobody here" : "node " + std::to_string(event.publisher));
  }

  Rules rules_;
  std::uint64_t step_ = 0;  ///< of whatever has an order; time stands still too often
  std::vector<records::Node> nodes_;
  std::vector<records::Event> events_;
  std::vector<records::Subscriber> subscribers_;

  std::vector<records::Pair> pairs_;
  std::string problem_;
};

}  // namespace sim
