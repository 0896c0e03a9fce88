// The open awaits of one publisher: their events, their acknowledgements, when to ask again, and how each ends.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/core/frame_keeper.hpp>
#include <syncbus/core/quorum/await_overflow.hpp>
#include <syncbus/core/quorum/await_request.hpp>
#include <syncbus/core/quorum/electorate.hpp>
#include <syncbus/core/quorum/quorum_tracker.hpp>
#include <syncbus/core/wire/acknowledgement_frame.hpp>
#include <syncbus/core/wire/acknowledgement_outbox.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::core {

/// An await fails early only when nothing more can come: when the electorate is whole, and `answer_time` has passed,
/// within which every node that hears a broadcast has answered.
class AwaitTable final : public FrameKeeper {
 public:
  /// `max_awaits` bounds the events that are awaited, and with `max_peers` the answers that are kept; `max_bytes` the
  /// frames that are kept for awaits beyond the ring and the events that wait for the ring.
  AwaitTable(NodeId self, std::size_t max_awaits, std::size_t max_peers, std::size_t max_bytes,
             Metrics& metrics) noexcept
      : self_{self}, max_awaits_{max_awaits}, metrics_{metrics}, room_{max_awaits, max_peers}, reserve_{max_bytes} {}

  AwaitTable(const AwaitTable&) = delete;
  AwaitTable& operator=(const AwaitTable&) = delete;
  ~AwaitTable() = default;

  /// None: too many are open, or hold too much memory.
  [[nodiscard]] std::optional<AwaitId> open(const AwaitRequest& request, TimePoint now) {
    if (reserve_.full()) reserve_.drop_ended([this](AwaitId other) { return awaits_.contains(other); });
    if (reserve_.full() || request.events > max_awaits_ - awaited_) return std::nullopt;
    const AwaitId await_id = ++last_id_;
    const auto place = awaits_.try_emplace(await_id, request, now, &room_).first;
    try {
      schedule(await_id, place->second, request.deadline);
    } catch (...) {
      awaits_.erase(place);
      throw;
    }
    awaited_ += request.events;
    for_everyone_ += is_for_everyone(request);
    return await_id;
  }

  /// All of its events are on their way; with nobody to wait for, it ends here.
  void submitted(AwaitId await_id, const Electorate& electorate) {
    if (const auto await = awaits_.find(await_id); await != awaits_.end()) judge(await, electorate);
  }

  // --- where its events are

  /// An event of the await is in the ring.
  void placed(AwaitId await_id, std::uint32_t event, EventId place) {
    const auto await = awaits_.find(await_id);
    if (await == awaits_.end()) return;
    waiters_.emplace(place, Waiter{await_id, event});
    await->second.places.push_back({place, event});
  }

  /// There is no room in the ring. The event itself waits in the outbox, in its order. For the answers it is sent once
  /// more behind those, as an invalidation: hearing it twice does no harm.
  void wait_for_room(AwaitId await_id, std::uint32_t event, const WireEvent& what) {
    const bool lease = what.type == EventType::lease_revoked;
    reserve_.add({await_id, event, lease ? what.type : EventType::invalidate, std::string{what.key}, what.version});
  }

  /// The first event that waits for room, of an await that is still open.
  [[nodiscard]] std::optional<WireEvent> first_waiting() {
    while (reserve_.first() != nullptr && !awaits_.contains(reserve_.first()->await_id)) reserve_.drop_first();
    const AwaitOverflow::Waiting* const first = reserve_.first();
    if (first == nullptr) return std::nullopt;
    return WireEvent{.type = first->type, .key = first->key, .version = first->version, .awaited = true};
  }
  void placed_first_waiting(EventId place) {
    placed(reserve_.first()->await_id, reserve_.first()->event, place);
    reserve_.drop_first();
  }
  /// No frame can take it any more: its await ends at the deadline.
  void drop_first_waiting() { reserve_.drop_first(); }

  /// A frame went to the transport.
  void handed_over(std::uint64_t sequence, TimePoint now, Duration answer_time) {
    handed_over_ = (std::max)(handed_over_, sequence);
    if (waiters_.empty()) return;
    for (auto at = waiters_.lower_bound({sequence, 0}); at != waiters_.end() && at->first.sequence == sequence; ++at) {
      Await& await = awaits_.at(at->second.await_id);
      await.handed_over += std::exchange(at->second.handed_over, true) ? 0U : 1U;
      if (await.handed_over == await.request.events) {
        schedule(at->second.await_id, await, now + (std::max)(first_question_after, answer_time));
      }
    }
  }

  // --- answers

  /// This node's own handlers have returned from an event.
  void heard_here(AwaitId await_id, std::uint32_t event, AcknowledgementStatus status, const Electorate& electorate) {
    const auto await = awaits_.find(await_id);
    if (await == awaits_.end() || !await->second.tracker.answer(self_, event, status, true)) return;
    judge(await, electorate);
  }

  /// How many events are awaited.
  [[nodiscard]] std::size_t awaited() const noexcept { return awaited_; }

  void acknowledged(NodeId from, const Acknowledgement& run, TimePoint now, const Electorate& electorate,
                    FrameWork& work) {
    std::vector<AwaitId> changed;
    const bool known = electorate.knows(from);
    for (auto at = first_of(run); is_in(run, at) && work.spend(); ++at) {
      Await& await = awaits_.at(at->second.await_id);
      if (!await.tracker.answer(from, at->second.event, run.status, known)) continue;
      if (run.status == AcknowledgementStatus::applied)
        metrics_.acknowledgement_latency.record(now - await.submitted_at);
      if (changed.empty() || changed.back() != at->second.await_id) changed.push_back(at->second.await_id);
    }
    for (const AwaitId await_id : changed) {
      if (const auto await = awaits_.find(await_id); await != awaits_.end()) judge(await, electorate);
    }
  }

  /// Our question to everybody has come back, in this session: everything that the broker had taken before it has been
  /// heard here. For an await of several events the question about the one that was placed last counts, which is asked
  /// last.
  void question_returned(const Acknowledgement& run, TimePoint now, Duration answer_time, const Electorate& electorate,
                         FrameWork& work) {
    returned(run.sequence, electorate);
    for (auto at = first_of(run); is_in(run, at) && work.spend(); ++at) {
      Await& await = awaits_.at(at->second.await_id);
      const bool out = await.handed_over == await.request.events;  // or it was another await's question
      if (!out || await.everyone_asked_at || await.places.back().place != at->first) continue;
      await.everyone_asked_at = now;
      schedule(at->second.await_id, await, now + answer_time);
    }
  }

  /// Whether an await can only be judged once its last frame has come back.
  [[nodiscard]] bool waits_for_echo() const noexcept { return for_everyone_ != 0; }

  /// All our frames up to this sequence have come back: hellos before them in the common order are known.
  void returned(std::uint64_t sequence, const Electorate& electorate) {
    const std::uint64_t before = returned_;
    sequence = (std::min)(sequence, handed_over_);
    if (sequence <= before) return;
    returned_ = sequence;
    if (for_everyone_ == 0) return;
    std::vector<AwaitId> back;
    const auto end = waiters_.lower_bound({sequence + 1, 0});
    for (auto at = waiters_.lower_bound({before + 1, 0}); at != end; ++at) back.push_back(at->second.await_id);
    for (const AwaitId await_id : back) {
      if (const auto await = awaits_.find(await_id); await != awaits_.end()) judge(await, electorate);
    }
  }

  // --- time

  /// A session begins: what was asked in the last one may have been lost with it.
  void begin_session() noexcept {
    for (auto& [await_id, await] : awaits_) await.everyone_asked_at.reset();
  }

  [[nodiscard]] TimePoint due() const noexcept { return agenda_.empty() ? detail::never : agenda_.begin()->first; }

  /// Ends what is due to end and puts the questions that are due into `questions`.
  void tick(TimePoint now, Duration answer_time, const Electorate& electorate, AcknowledgementOutbox& questions) {
    while (due() <= now) {
      const auto await = awaits_.find(agenda_.begin()->second);
      if (now >= await->second.request.deadline) {
        finish(await, Errc::quorum_not_satisfied);
      } else {
        review(await, now, answer_time, electorate, questions);
      }
    }
  }

  /// Who can answer has changed.
  void electorate_changed(const Electorate& electorate) {
    for (auto await = awaits_.begin(); await != awaits_.end();) judge(await++, electorate);
  }

  void cancel(AwaitId await_id, Errc why) {
    if (const auto await = awaits_.find(await_id); await != awaits_.end()) finish(await, why);
  }
  void cancel_all(Errc why) {
    while (!awaits_.empty()) finish(awaits_.begin(), why);
  }

  /// Whether one ended since the last call.
  [[nodiscard]] bool grew() noexcept { return std::exchange(grew_, false); }
  [[nodiscard]] std::optional<AwaitCompletion> take_completion() {
    if (completions_.empty()) return std::nullopt;
    AwaitCompletion completion = std::move(completions_.front());
    completions_.pop_front();
    return completion;
  }

  // --- frames that the ring no longer has

  void before_overwriting(std::uint64_t sequence, Bytes frame) noexcept override {
    const auto waiter = waiters_.lower_bound({sequence, 0});
    if (waiter != waiters_.end() && waiter->first.sequence == sequence) reserve_.save(sequence, frame);
  }
  [[nodiscard]] const AwaitOverflow& reserve() const noexcept { return reserve_; }

 private:
  static constexpr Duration first_question_after = no_subscriber_delay + std::chrono::milliseconds{5};
  static constexpr Duration longest_pause = std::chrono::milliseconds{400};

  struct Placed {
    EventId place;
    std::uint32_t event;
  };

  struct Await {
    Await(const AwaitRequest& what, TimePoint now, VoterRoom* room)
        : request{what}, submitted_at{now}, tracker{what.quorum, what.events, room} {}

    AwaitRequest request;
    TimePoint submitted_at;
    QuorumTracker tracker;
    std::vector<Placed> places{};
    std::uint32_t handed_over = 0;
    TimePoint due{};
    Duration pause = first_question_after;
    std::optional<TimePoint> everyone_asked_at{};  ///< when the question to everybody came back
  };
  using Awaits = std::unordered_map<AwaitId, Await>;

  struct Waiter {
    AwaitId await_id;
    std::uint32_t event;
    bool handed_over = false;
  };

  struct PlaceOrder {
    [[nodiscard]] bool operator()(const EventId& a, const EventId& b) const noexcept {
      return std::pair{a.sequence, a.index} < std::pair{b.sequence, b.index};
    }
  };

  using Waiters = std::multimap<EventId, Waiter, PlaceOrder>;

  /// The awaited events among those that an acknowledgement names.
  [[nodiscard]] Waiters::const_iterator first_of(const Acknowledgement& run) const {
    return waiters_.lower_bound({run.sequence, run.index});
  }
  [[nodiscard]] bool is_in(const Acknowledgement& run, Waiters::const_iterator at) const noexcept {
    return at != waiters_.end() && at->first.sequence == run.sequence && at->first.index - run.index < run.count;
  }

  [[nodiscard]] bool back(const Await& await) const noexcept {
    return await.places.size() == await.request.events &&
           std::ranges::all_of(await.places, [this](const Placed& at) { return at.place.sequence <= returned_; });
  }
  [[nodiscard]] static std::size_t is_for_everyone(const AwaitRequest& request) noexcept {
    return request.heard_elsewhere && request.quorum.unit() == Quorum::Unit::everyone ? 1 : 0;
  }

  /// No answer can be under way any more: all were given, again after everyone was asked, and nobody was out of reach.
  /// A question that has come back proves that this node hears broadcasts, however busy the machine is; answers, which
  /// may come another way, have their time from then on.
  [[nodiscard]] static bool may_fail_early(const Await& await, TimePoint now, Duration answer_time) noexcept {
    return await.everyone_asked_at && now - *await.everyone_asked_at >= answer_time;
  }

  /// Ends it if it is satisfied now. An await that only this node hears also ends here if it is impossible.
  void judge(Awaits::iterator at, const Electorate& electorate) {
    const Await& await = at->second;
    const AwaitVoters voters{electorate, await.request, self_, back(await)};
    if (await.tracker.satisfied(voters)) return finish(at, {});
    if (await.request.heard_elsewhere) return;
    if (await.tracker.verdict(voters) == QuorumVerdict::impossible) finish(at, Errc::quorum_not_satisfied);
  }

  void review(Awaits::iterator at, TimePoint now, Duration answer_time, const Electorate& electorate,
              AcknowledgementOutbox& questions) {
    Await& await = at->second;
    const bool out = await.request.heard_elsewhere && await.handed_over == await.request.events;
    if (!out) return schedule(at->first, await, await.request.deadline);  // hastened when the last frame goes out
    const AwaitVoters voters{electorate, await.request, self_, back(await)};
    const QuorumVerdict word = await.tracker.verdict(voters);
    if (word == QuorumVerdict::satisfied) return finish(at, {});
    if (word == QuorumVerdict::impossible && electorate.whole() && back(await) &&
        may_fail_early(await, now, answer_time)) {
      return finish(at, Errc::quorum_not_satisfied);
    }
    if (electorate.can_be_asked()) ask(await, word, now, electorate, questions);
    Duration pause = await.pause;
    if (word == QuorumVerdict::impossible) {  // everybody answers a question: it is not repeated before it can be back
      pause = await.everyone_asked_at && electorate.whole() ? answer_time : (std::max)(pause, answer_time);
    }
    await.pause = (std::min)(2 * await.pause, longest_pause);
    schedule(at->first, await, now + pause);
  }

  /// Asks the nodes whose answers are missing. Before an await is given up it asks everybody, until that question has
  /// come back: there may be a node that was never heard, or that is left out.
  void ask(Await& await, QuorumVerdict word, TimePoint now, const Electorate& electorate,
           AcknowledgementOutbox& questions) {
    if (word != QuorumVerdict::impossible) {
      electorate.for_each([&](NodeId node) { static_cast<void>(ask_one(await, node, now, questions)); });
    } else if (!await.everyone_asked_at || !electorate.whole()) {
      static_cast<void>(ask_one(await, NodeId{}, now, questions));
    }
  }

  /// Asks a node about the events that it has not answered; false: there are too many questions already.
  [[nodiscard]] bool ask_one(const Await& await, NodeId node, TimePoint now, AcknowledgementOutbox& questions) const {
    return std::ranges::all_of(await.places, [&](const Placed& placed) {
      return await.tracker.answered(node, placed.event) ||
             questions.add(
                 node, {self_, placed.place.sequence, placed.place.index, 1, AcknowledgementStatus::requested}, now);
    });
  }

  void schedule(AwaitId await_id, Await& await, TimePoint at) {
    auto place = agenda_.extract({await.due, await_id});  // its memory is there: each await keeps its entry
    await.due = (std::min)(at, await.request.deadline);
    if (place) {
      place.value().first = await.due;
      agenda_.insert(std::move(place));
    } else {
      agenda_.insert({await.due, await_id});
    }
  }

  void finish(Awaits::iterator at, std::error_code error) {
    Await& await = at->second;
    completions_.push_back({at->first, error, await.tracker.replicas()});
    ++(error ? metrics_.quorums_not_satisfied : metrics_.quorums_satisfied);
    grew_ = true;
    agenda_.erase({await.due, at->first});
    for (const Placed& placed : await.places) forget(placed.place, at->first);
    awaited_ -= await.request.events;
    for_everyone_ -= is_for_everyone(await.request);
    awaits_.erase(at);
  }

  void forget(EventId place, AwaitId await_id) {
    for (auto [first, last] = waiters_.equal_range(place); first != last;) {
      first = first->second.await_id == await_id ? waiters_.erase(first) : std::next(first);
    }
    const auto other = waiters_.lower_bound({place.sequence, 0});
    if (other == waiters_.end() || other->first.sequence != place.sequence) reserve_.drop(place.sequence);
  }

  NodeId self_;
  std::size_t max_awaits_;
  Metrics& metrics_;
  AwaitId last_id_ = 0;
  std::size_t awaited_ = 0;       ///< events of open awaits
  std::size_t for_everyone_ = 0;  ///< open awaits of all peers
  std::uint64_t handed_over_ = 0, returned_ = 0;  ///< the newest frame that went out, that is known to have come back
  VoterRoom room_;  // of the trackers in awaits_
  Awaits awaits_;
  std::set<std::pair<TimePoint, AwaitId>> agenda_;
  Waiters waiters_;
  AwaitOverflow reserve_;
  std::deque<AwaitCompletion> completions_;
  bool grew_ = false;
};

}  // namespace syncbus::inline v1::core
