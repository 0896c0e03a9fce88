// What will happen in a simulated world, in the order of virtual time, and the frames that are under way in it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include <syncbus/core/wire/wire.hpp>

#include "sim/audit_records.hpp"

namespace sim {

/// Something that will happen. What `stamp` and `what` mean is each kind's own affair.
struct Moment {
  enum class Kind : std::uint8_t {
    operation,       ///< something befalls the world
    sample,          ///< look at all nodes
    begin,           ///< a node's transport has its first session
    ready,           ///< a session of the node begins
    wake,            ///< its machine asked for it
    at_broker,       ///< frame `what` reaches the broker, sent in session `stamp`
    copy,            ///< frame `what` reaches the node, in session `stamp`
    confirmation,    ///< of sequence `what`, in session `stamp`
    dispatch,        ///< its dispatcher looks for work
    handled,         ///< the handlers of the item in hand return
    patience_ends,   ///< a publish has waited for room long enough
    goodbye,         ///< it has said goodbye, or waited long enough for its last confirmation
    session_ends,    ///< that is `stamp`
    session_ended,   ///< the node learns of it, after a pause
    reachable_again, ///< node `what` hears it again
    half_is_cut_off, ///< half of all nodes
    is_cut_off,      ///< whatever its session
    speaks,          ///< it publishes
    dies,            ///< without a goodbye
  };

  TimePoint at{};
  std::uint64_t order = 0;  ///< of two at one time the one that was planned first comes first
  std::uint64_t what = 0;
  std::uint32_t stamp = 0;
  std::uint16_t node = 0;
  Kind kind = Kind::operation;
};

class Timeline {
 public:
  void clear() noexcept {
    moments_.clear();
    order_ = 0;
  }

  void plan(Moment moment) {
    moment.order = ++order_;
    moments_.push_back(moment);
    std::ranges::push_heap(moments_, later);
  }

  [[nodiscard]] bool empty() const noexcept { return moments_.empty(); }
  [[nodiscard]] TimePoint next_at() const noexcept { return moments_.front().at; }

  [[nodiscard]] Moment take() {
    std::ranges::pop_heap(moments_, later);
    const Moment moment = moments_.back();
    moments_.pop_back();
    return moment;
  }

 private:
  static bool later(const Moment& a, const Moment& b) noexcept {
    return a.at != b.at ? a.at > b.at : a.order > b.order;
  }

  std::vector<Moment> moments_;
  std::uint64_t order_ = 0;
};

/// Frames under way, each until its last copy has come or is lost; their memory is used again.
class Flight {
 public:
  struct Frame {
    std::vector<std::byte> bytes;
    Label label;
    NodeNumber from = 0;
    syncbus::NodeId destination{};  ///< 0: everybody
    std::uint64_t sequence = 0;     ///< that its confirmation names
    std::size_t copies = 0;
  };

  void clear() {
    unused_.clear();
    for (std::size_t i = 0; i != frames_.size(); ++i) unused_.push_back(i);
  }

  [[nodiscard]] std::size_t add(syncbus::Bytes bytes, NodeNumber from, syncbus::NodeId destination,
                                std::uint64_t sequence) {
    if (unused_.empty()) {
      unused_.push_back(frames_.size());
      frames_.emplace_back();
    }
    const std::size_t number = unused_.back();
    unused_.pop_back();
    Frame& frame = frames_[number];
    frame.bytes.assign(bytes.begin(), bytes.end());
    frame.label = LabelReader::read(bytes);
    frame.from = from;
    frame.destination = destination;
    frame.sequence = sequence;
    frame.copies = 1;
    return number;
  }

  [[nodiscard]] Frame& operator[](std::size_t number) noexcept { return frames_[number]; }

  void release(std::size_t number) {
    if (--frames_[number].copies == 0) unused_.push_back(number);
  }

 private:
  std::deque<Frame> frames_;  ///< each stays where it is while others are added
  std::vector<std::size_t> unused_;
};

}  // namespace sim
