// What a node owes for the events of others: to have them heard, and to tell publishers that await it what became of
// them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <new>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>

#include <syncbus/core/actions.hpp>
#include <syncbus/core/peers/oldest_waiting.hpp>
#include <syncbus/core/receiving/outcome_memory.hpp>
#include <syncbus/core/receiving/receive_queue.hpp>
#include <syncbus/core/wire/acknowledgement_frame.hpp>
#include <syncbus/core/wire/acknowledgement_outbox.hpp>
#include <syncbus/event.hpp>
#include <syncbus/metrics.hpp>

namespace syncbus::inline v1::core {

/// Frames and resyncs wait in the queue for the dispatcher. Once handlers have returned from an awaited event, the
/// answer goes to its publisher and into the memory, from which a question is answered. A question about an event that
/// is not known here, because its frame was lost or its answer forgotten, makes the frame *wanted*: it is asked for,
/// and dispatched whatever its sequence.
class Inbox {
 public:
  static constexpr std::size_t max_wanted = 1'024;
  static constexpr std::size_t wanted_at_once = 64;
  static constexpr std::size_t least_answers = 1'024;  ///< kept for the awaits of others, of whom there are many
  static constexpr Duration asked_again_after = std::chrono::milliseconds{60};
  static constexpr Duration wanted_for = std::chrono::seconds{10};
  static constexpr Duration longest_drain =
      std::chrono::milliseconds{1};  ///< an answer waits so long for those behind it

  Inbox(const ProtocolOptions& options, Metrics& metrics)
      : self_{options.self},
        observer_{options.observer},
        metrics_{metrics},
        inbox_{options.queue_bytes, options.pending_bytes, options.hash_secret},
        memory_{(std::max)(options.max_awaits, least_answers), options.hash_secret},
        answers_{(std::max)(options.max_awaits, least_answers)},
        wanted_{0, FrameNameHash{options.hash_secret}} {}

  [[nodiscard]] ReceiveQueue& queue() noexcept { return inbox_; }
  [[nodiscard]] const ReceiveQueue& queue() const noexcept { return inbox_; }
  [[nodiscard]] const AcknowledgementOutbox& answers() const noexcept { return answers_; }

  /// `since`: when it became known that there is such a frame, or reason for such a resync.
  void push(const EventsView& events, Bytes frame, bool late, TimePoint since) {
    pushes(since);
    metrics_.joined += inbox_.push_frame(frame, late).absorbed;
    grew_ = true;
    if (events.has_awaited()) memory_.queued({events.origin(), events.sequence()}, inbox_.pushed());
  }

  /// The same for a frame of a node for which there is no room among the peers: nobody knows how old it is.
  void push_of_left_out(const EventsView& events, Bytes frame, TimePoint now) {
    ++metrics_.frames_left_out;
    push(events, frame, true, now);
  }

  void push(const Resync& resync, TimePoint since) noexcept {
    pushes(since);
    metrics_.joined += inbox_.push_resync(resync);
    grew_ = true;
  }

  /// Since when the oldest is known of what handlers have not returned from; `now`: they have from all.
  [[nodiscard]] TimePoint waiting_since(TimePoint now) noexcept {
    return inbox_.settled() == inbox_.pushed() ? now : waiting_.since(inbox_.settled());
  }

  /// Whether something was pushed since the last call.
  [[nodiscard]] bool grew() noexcept { return std::exchange(grew_, false); }

  /// Handlers have returned from awaited events. The answer that no subscriber matches may wait for other answers. An
  /// answer that finds no memory will be asked for.
  void answered(std::span<const Acknowledgement> answers, TimePoint now) noexcept try {
    for (Acknowledgement answer : answers) {
      if (observer_) answer.status = AcknowledgementStatus::no_subscriber;  // whatever its handlers did
      memory_.answered(answer);
      const bool nobody = answer.status == AcknowledgementStatus::no_subscriber;
      answers_.add(answer.publisher, answer, now + (nobody ? no_subscriber_delay : longest_drain));
    }
  } catch (const std::bad_alloc&) {
    return;
  }

  /// Encodes answers that are to go now: all that was dispatched in one go together, once nothing waits behind it.
  [[nodiscard]] std::optional<AcknowledgementOutbox::Outgoing> next_answers(std::span<std::byte> out, TimePoint now) {
    return answers_.next(self_, out, inbox_.empty() ? now + longest_drain : now);
  }

  /// `publisher` asks what became of its own events. A frame that we have asked for may take `answer_time` to come.
  void asked(NodeId publisher, const Acknowledgement& question, TimePoint now, Duration answer_time, FrameWork& work) {
    const FrameName name{publisher, question.sequence};
    if (observer_) {
      const Acknowledgement word{publisher, question.sequence, question.index, question.count,
                                 AcknowledgementStatus::no_subscriber};
      static_cast<void>(answers_.add(publisher, word, now));
      return;
    }
    const std::uint32_t end = question.index + question.count;
    for (std::uint32_t index = question.index; index != end && work.spend();) {
      const auto word = memory_.find(name, index, end - index, inbox_.settled());
      if (!word) return want(name, now, answer_time);
      if (!answers_.add(publisher, {publisher, question.sequence, index, word->count, word->status}, now)) return;
      index += word->count;
    }
  }

  /// Whether an events frame is asked for, though it may be no news.
  [[nodiscard]] bool wants(FrameName name) const { return wanted_.contains(name); }
  /// Whether a frame that is no news was wanted and is to be heard all the same. It is not wanted any longer then.
  [[nodiscard]] bool take_wanted(FrameName name) { return wanted_.erase(name) != 0; }

  /// A wanted frame that is to be asked for now: so many at once, for what they bring is as large as other repairs.
  [[nodiscard]] std::optional<FrameName> next_wanted(TimePoint now) {
    while (now >= wanted_due()) {
      if (now - turn_began_ >= asked_again_after) {
        turn_began_ = now;
        asked_in_turn_ = 0;
      }
      const FrameName name = to_ask_.front();
      to_ask_.pop_front();
      const auto wanted = wanted_.find(name);
      if (wanted == wanted_.end()) continue;  // it has come
      wanted->second = {now, false};
      ++asked_in_turn_;
      return name;
    }
    return std::nullopt;
  }
  [[nodiscard]] TimePoint wanted_due() const noexcept {
    if (to_ask_.empty()) return detail::never;
    return asked_in_turn_ < wanted_at_once ? turn_began_ : turn_began_ + asked_again_after;
  }

 private:
  struct Wanted {
    TimePoint since;     ///< it was asked for last, or waits
    bool waits = false;  ///< to be asked for
  };

  void pushes(TimePoint since) noexcept { waiting_.added(inbox_.pushed(), inbox_.settled(), since); }

  void want(FrameName name, TimePoint now, Duration answer_time) {
    if (wanted_.size() >= max_wanted && !wanted_.contains(name) && !forget_wanted(now)) return;
    const auto [place, fresh] = wanted_.try_emplace(name, Wanted{now});
    Wanted& wanted = place->second;
    if (wanted.waits || (!fresh && now - wanted.since < (std::max)(asked_again_after, answer_time))) return;
    if (to_ask_.size() >= max_wanted) return;
    to_ask_.push_back(name);
    wanted = {now, true};
  }

  /// Makes room for one more wanted frame, and returns whether there is some. After a vain attempt it rests for a
  /// while.
  [[nodiscard]] bool forget_wanted(TimePoint now) {
    if (now < forget_wanted_at_) return false;
    std::erase_if(wanted_, [now](const auto& entry) { return now - entry.second.since >= wanted_for; });
    if (wanted_.size() < max_wanted) return true;
    forget_wanted_at_ = now + asked_again_after;
    return false;
  }

  NodeId self_;
  bool observer_;
  Metrics& metrics_;
  ReceiveQueue inbox_;
  OldestWaiting waiting_;
  OutcomeMemory memory_;
  AcknowledgementOutbox answers_;
  std::unordered_map<FrameName, Wanted, FrameNameHash> wanted_;
  std::deque<FrameName> to_ask_;
  TimePoint turn_began_{};
  std::size_t asked_in_turn_ = 0;
  TimePoint forget_wanted_at_{};
  bool grew_ = false;
};

}  // namespace syncbus::inline v1::core
