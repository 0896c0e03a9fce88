// Delivers one received item to its handlers.
#pragma once

#include <cstdint>
#include <new>
#include <vector>

#include <syncbus/core/receiving/receive_queue.hpp>
#include <syncbus/core/wire/acknowledgement_frame.hpp>
#include <syncbus/core/wire/events_frame.hpp>
#include <syncbus/event.hpp>
#include <syncbus/local/subscribers.hpp>

namespace syncbus::inline v1::detail {

/// What an acknowledgement says of an event that has been dispatched.
[[nodiscard]] constexpr core::AcknowledgementStatus status_of(const DispatchTally& tally) noexcept {
  if (tally.failed != 0) return core::AcknowledgementStatus::failed;
  return tally.matched != 0 ? core::AcknowledgementStatus::applied : core::AcknowledgementStatus::no_subscriber;
}

/// Adds an answer; one that continues the last run extends it. Without memory it is lost, and will be asked for again.
inline void add_answer(std::vector<core::Acknowledgement>& answers, NodeId publisher, const core::EventId& place,
                       core::AcknowledgementStatus status) noexcept try {
  if (!answers.empty()) {
    core::Acknowledgement& last = answers.back();
    if (last.publisher == publisher && last.sequence == place.sequence && last.status == status &&
        last.index + last.count == place.index) {
      ++last.count;
      return;
    }
  }
  answers.push_back({publisher, place.sequence, place.index, 1, status});
} catch (const std::bad_alloc&) {
  return;
}

/// Has subscribers hear every event of a frame, in its order. Late ones say invalidate: what they set may be older than
/// what has been heard since.
inline void deliver_frame(Bytes frame, bool late, Subscribers& subscribers,
                          std::vector<core::Acknowledgement>& answers) noexcept {
  core::EventsView events = core::reread_events(frame);
  const NodeId origin = events.origin();
  core::WireEvent event;
  for (std::uint32_t index = 0; events.next(event); ++index) {
    if (event.type == EventType::resync) {  // never answered: only strangers and later versions await one
      subscribers.dispatch_resync({event.cause, origin}, false);
      continue;
    }
    if (late && event.type != EventType::lease_revoked) event.type = EventType::invalidate;
    const Event heard{event.type, event.key, event.version, origin};
    if (event.awaited) [[unlikely]] {
      const auto status = status_of(subscribers.dispatch_counted(heard, false));
      add_answer(answers, origin, {events.sequence(), index}, status);
    } else {
      subscribers.dispatch(heard, false);
    }
  }
}

/// The same for an event that others have joined into: its outcome is the outcome of all of them.
inline void deliver_joined(const core::PendingEvent& joined, Subscribers& subscribers,
                           std::vector<core::Acknowledgement>& answers) noexcept {
  const Event heard{joined.type, joined.key, joined.version, joined.origin};
  if (joined.awaited.empty()) return subscribers.dispatch(heard, false);
  const auto status = status_of(subscribers.dispatch_counted(heard, false));
  for (const core::EventId& place : joined.awaited) add_answer(answers, joined.origin, place, status);
}

/// Has subscribers hear an item, and appends to `answers` what became of each of its awaited events.
inline void deliver(const core::ReceiveQueue::Item& item, Subscribers& subscribers,
                    std::vector<core::Acknowledgement>& answers) noexcept {
  using Kind = core::ReceiveQueue::Item::Kind;
  switch (item.kind) {
    case Kind::frame: deliver_frame(item.frame, item.late, subscribers, answers); return;
    case Kind::resync: subscribers.dispatch_resync(item.resync, false); return;
    case Kind::event: deliver_joined(item.event, subscribers, answers); return;
  }
}

}  // namespace syncbus::inline v1::detail
